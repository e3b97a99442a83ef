"""Validation of a network on held-out images: detection and embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from fairmot.export.networks import STRIDE
from fairmot.training.augment import Augmenter, Batch
from fairmot.training.samples import Kind
from fairmot.training.separation import separation

FloatArray = npt.NDArray[np.float32]

# The tracker's threshold of 0.4 before the score shift of the bundled model's export: logit(0.4) + 0.405 = logit(0.5).
WORKING_THRESHOLD = 0.5
_LEAST_SCORE = 0.05
_SMALL = 40.0  # px; people lower than this are small
_DISTANT = (10 / 608, 40 / 608)  # of the input's height: 10 to 40 px in FairMOT's own, 1088x608


def decode(outputs: dict[str, Tensor], limit: int = 200) -> tuple[Tensor, Tensor, Tensor]:
    """Return boxes `(n, limit, 4)` in input pixels, scores and channels `(n, limit)` of the highest peaks."""
    heat = outputs["hm"].float().sigmoid()
    heat = heat * (heat == F.max_pool2d(heat, 3, 1, 1))
    scores, index = heat.flatten(1).topk(limit)
    height, width = heat.shape[2:]
    channels, index = index // (height * width), index % (height * width)
    cell = torch.stack((index % width, index // width), -1)

    def at(head: str) -> Tensor:
        values = outputs[head].float().flatten(2)
        return values.gather(2, index[:, None].expand(-1, values.shape[1], -1)).transpose(1, 2)

    center, box = cell + at("reg"), at("wh")
    return torch.cat((center - box[..., :2], center + box[..., 2:]), -1) * STRIDE, scores, channels


def iou(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return the intersection over union of boxes `(n, 4)` and `(m, 4)` as `(n, m)`."""
    overlap = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    inner = overlap.clip(0).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clip(0).prod(-1) for boxes in (a, b)]
    return np.asarray(inner / (areas[0][:, None] + areas[1][None] - inner).clip(1e-6), np.float32)


def match(boxes: FloatArray, people: FloatArray, ignored: FloatArray) -> npt.NDArray[np.int64]:
    """Match one image's boxes, best score first, at IoU 0.5.

    Returns:
        `(n,)` the matched person, -1 for a false positive, -2 for a box in an ignore region.
    """
    overlap = iou(boxes, people)
    center = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    covered = np.all((center >= ignored[None, :, :2]) & (center <= ignored[None, :, 2:]), axis=-1)
    result = np.where(np.any(covered, axis=1), -2, -1)
    for i in range(len(boxes) if len(people) else 0):
        best = int(overlap[i].argmax())
        if overlap[i, best] >= 0.5:
            result[i] = best
            overlap[:, best] = 0
    return result


def average_precision(scores: FloatArray, hits: npt.NDArray[np.bool_], people: int) -> float:
    """Return the area under the precision-recall curve, all points, precision made monotonic."""
    hits = hits[np.argsort(-scores, kind="stable")]
    precision = hits.cumsum() / np.arange(1, len(hits) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float(best[hits].sum() / max(people, 1))


@dataclass(eq=False)
class _Found:
    """The matches of one class in the images so far, one entry per box or person."""

    scores: list[FloatArray] = field(default_factory=list)
    hits: list[npt.NDArray[np.bool_]] = field(default_factory=list)
    sizes: list[FloatArray] = field(default_factory=list)  # height of the matched person, or else of the box
    heights: list[FloatArray] = field(default_factory=list)  # of all people
    seen: list[npt.NDArray[np.bool_]] = field(default_factory=list)  # people matched above the working threshold

    def add(self, boxes: FloatArray, scores: FloatArray, people: FloatArray, ignored: FloatArray) -> None:
        matched = match(boxes, people, ignored)
        counted = matched > -2
        hits = matched[counted] >= 0
        sizes = (boxes[:, 3] - boxes[:, 1])[counted]
        sizes[hits] = (people[:, 3] - people[:, 1])[matched[counted][hits]]
        self.scores.append(scores[counted])
        self.hits.append(hits)
        self.sizes.append(sizes)
        self.heights.append(people[:, 3] - people[:, 1])
        self.seen.append(np.isin(np.arange(len(people)), matched[scores > WORKING_THRESHOLD]))

    def summary(self, height: int) -> dict[str, float]:
        """Return the scores in images of a height in px, without those of size ranges that no person is in."""
        scores, hits, sizes = np.concatenate(self.scores), np.concatenate(self.hits), np.concatenate(self.sizes)
        seen, heights = np.concatenate(self.seen), np.concatenate(self.heights)
        confident = hits[scores > WORKING_THRESHOLD]
        result = {"precision": float(confident.sum() / max(len(confident), 1))}
        limits = {"": (-np.inf, np.inf), "_small": (-np.inf, _SMALL)}
        limits["_distant"] = (_DISTANT[0] * height, _DISTANT[1] * height)
        for suffix, (low, high) in limits.items():
            people, boxes = (low <= heights) & (heights < high), (low <= sizes) & (sizes < high)
            if people.any():
                result[f"ap{suffix}"] = average_precision(scores[boxes], hits[boxes], int(people.sum()))
                result[f"recall{suffix}"] = float(seen[people].mean())
        return result


def _averaged(summaries: dict[str, dict[str, float]]) -> dict[str, float]:
    """Return the means over the classes that occur, and also the scores of each class if there are several."""
    present = {name: summary for name, summary in summaries.items() if "ap" in summary}
    keys = {key: None for summary in present.values() for key in summary}  # in their order
    values = {key: [summary[key] for summary in present.values() if key in summary] for key in keys}
    result = {key: float(np.mean(found)) for key, found in values.items()}
    if len(summaries) > 1:
        result |= {f"{key}/{name}": summary[key] for name, summary in present.items() for key in ("ap", "recall")}
    return result


def _known_embeddings(head: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Return embeddings `(p, d)` at the centers of people with identities, the identities and the image indices."""
    center = (batch.tlbr[..., :2] + batch.tlbr[..., 2:]) / (2 * STRIDE)
    height, width = head.shape[2:]
    inside = ((center >= 0) & (center < center.new_tensor([width, height]))).all(-1)
    person = (batch.kinds == Kind.PERSON) | (batch.kinds == Kind.IDENTITY)
    image, number = (inside & person & (batch.identities >= 0)).nonzero(as_tuple=True)
    column, row = center[image, number].long().unbind(-1)
    return head.float()[image, :, row, column], batch.identities[image, number], image


@torch.no_grad()
def validate(
    network: nn.Module, augmenter: Augmenter, indices: Tensor, class_names: Sequence[str] = ("person",)
) -> dict[str, float]:
    """Score a network on images of the store at IoU 0.5.

    People that the augmenter makes ignore regions (lower than its `minimum_height`, or cut) do not count.

    Args:
        network: returns the raw heads.
        augmenter: shrinks and letterboxes the store's images.
        indices: `(n,)` the images.
        class_names: names of the heatmap's channels.

    Returns:
        `ap` (average precision), `recall` and `precision` at the working threshold; `ap_small` and `recall_small` of
        people lower than 40 px of the input (and of false boxes lower than that); `ap_distant` and `recall_distant` of
        those 10 to 40 px high if the input had 608 lines; without those of size ranges that no person is in. With
        several classes these are the means, and there are `ap/NAME` and `recall/NAME` of each. Then the result of
        `separation`, if there are identities.
    """
    network.eval()
    found = {name: _Found() for name in class_names}
    embeddings, identities, scenes = [], [], []
    for chunk in torch.split(indices, 32):
        batch = augmenter.whole_batch(chunk)
        images = batch.images.to(memory_format=torch.channels_last)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=images.is_cuda):
            outputs = network(images)
        if "id" in outputs:
            embedding, identity, image = _known_embeddings(outputs["id"], batch)
            embeddings.append(embedding.cpu().numpy())
            identities.append(identity.cpu().numpy())
            scenes.append(augmenter.store.scene_of[chunk][image].cpu().numpy())
        boxes, scores, channels = (values.cpu().numpy() for values in decode(outputs))
        tlbr, kinds, classes = (values.cpu().numpy() for values in (batch.tlbr, batch.kinds, batch.classes))
        for i, (channel, of_class) in product(range(len(chunk)), enumerate(found.values())):
            keep = (scores[i] > _LEAST_SCORE) & (channels[i] == channel)
            people = tlbr[i][(kinds[i] == Kind.PERSON) & (classes[i] == channel)]
            ignored = tlbr[i][(kinds[i] == Kind.IGNORE) & ((classes[i] == channel) | (classes[i] < 0))]
            of_class.add(boxes[i][keep], scores[i][keep], people, ignored)
    network.train()
    apart = separation(*map(np.concatenate, (embeddings, identities, scenes))) if embeddings else {}
    height = augmenter.size[1]
    return _averaged({name: of_class.summary(height) for name, of_class in found.items()}) | apart
