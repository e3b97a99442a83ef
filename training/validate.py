"""Average precision and recall on held-out pictures, and how far apart embeddings lie."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from export.networks import STRIDE
from training.augment import Augmenter, Batch
from training.samples import Kind


def decode(outputs: dict[str, Tensor], limit: int = 200) -> tuple[Tensor, Tensor]:
    """Return boxes `(n, limit, 4)` in input pixels and scores `(n, limit)` of the highest peaks."""
    heat = outputs["hm"].float().sigmoid()
    heat = heat * (heat == F.max_pool2d(heat, 3, 1, 1))
    scores, index = heat.flatten(1).topk(limit)
    width = heat.shape[3]
    cell = torch.stack((index % width, index // width), -1)

    def at(head: str) -> Tensor:
        values = outputs[head].float().flatten(2)
        return values.gather(2, index[:, None].expand(-1, values.shape[1], -1)).transpose(1, 2)

    center, box = cell + at("reg"), at("wh")
    return torch.cat((center - box[..., :2], center + box[..., 2:]), -1) * STRIDE, scores


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the intersection over union of boxes `(n, 4)` and `(m, 4)` as `(n, m)`."""
    overlap = (torch.minimum(a[:, None, 2:], b[None, :, 2:]) - torch.maximum(a[:, None, :2], b[None, :, :2])).clamp(0)
    inner = overlap.prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(-1) for boxes in (a, b)]
    return inner / (areas[0][:, None] + areas[1][None] - inner).clamp(min=1e-6)


def _match(boxes: Tensor, batch: Batch, picture: int) -> tuple[list[bool | None], int]:
    """Match one picture's boxes, best score first; None stands for a box in an ignore region."""
    kinds, truth = batch.kinds[picture], batch.tlbr[picture]
    people, ignored = truth[kinds == Kind.PERSON], truth[kinds == Kind.IGNORE]
    overlap = iou(boxes, people)
    taken = torch.zeros(len(people), dtype=torch.bool)
    hits: list[bool | None] = []
    for i in range(len(boxes)):
        free = torch.where(taken, torch.zeros(()), overlap[i]) if len(people) else torch.zeros(1)
        if free.max() >= 0.5:
            taken[free.argmax()] = True
            hits.append(True)
            continue
        center = (boxes[i, :2] + boxes[i, 2:]) / 2
        covered = ((center >= ignored[:, :2]) & (center <= ignored[:, 2:])).all(-1).any()
        hits.append(None if covered else False)
    return hits, len(people)


@torch.no_grad()
def validate(network: nn.Module, augmenter: Augmenter, indices: Tensor, threshold: float = 0.4) -> dict[str, float]:
    """Score a network on pictures of the store at IoU 0.5.

    Returns:
        `ap` (area under the precision-recall curve, all points), `recall` and `precision` at `threshold`.
    """
    network.eval()
    found: list[tuple[float, bool]] = []
    total = 0
    for chunk in torch.split(indices, 32):
        batch = augmenter.whole_batch(chunk)
        with torch.autocast(batch.images.device.type, torch.bfloat16):
            outputs = network(batch.images)
        boxes, scores = (values.cpu() for values in decode(outputs))
        batch = Batch(batch.images, batch.tlbr.cpu(), batch.kinds.cpu(), batch.identities, batch.class_range)
        for i in range(len(chunk)):
            keep = scores[i] > 0.05
            hits, people = _match(boxes[i][keep], batch, i)
            total += people
            found += [(s, h) for s, h in zip(scores[i][keep].tolist(), hits, strict=True) if h is not None]
    network.train()
    found.sort(key=lambda pair: -pair[0])
    hits_so_far, area = 0, 0.0
    best_precision: list[float] = []
    for rank, (_, hit) in enumerate(found, start=1):
        hits_so_far += hit
        best_precision.append(hits_so_far / rank)
    for i in range(len(best_precision) - 2, -1, -1):
        best_precision[i] = max(best_precision[i], best_precision[i + 1])
    area = sum(precision for precision, (_, hit) in zip(best_precision, found, strict=True) if hit) / max(total, 1)
    confident = [hit for score, hit in found if score > threshold]
    return {
        "ap": area,
        "recall": sum(confident) / max(total, 1),
        "precision": sum(confident) / max(len(confident), 1),
    }
