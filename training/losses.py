"""FairMOT's losses (Zhang et al., "FairMOT", IJCV 2021, section 3.4), batched over padded boxes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from fairmot.export.networks import STRIDE
from fairmot.training.augment import Batch
from fairmot.training.samples import Kind

_CHUNK = 16  # images whose people are drawn at once, for memory


@dataclass(eq=False)
class Targets:
    """Targets of the heads.

    Attributes:
        heatmap: `(n, c, h, w)`, 1 at the centers of each class, falling off as Gaussians.
        weight: `(n, c, h, w)`, 0 inside ignore regions of the class, except at centers.
        cells: `(p, 3)` int64, image, row and column of every person's center.
        box: `(p, 4)` left, top, right, bottom distances in cells from the float center.
        offset: `(p, 2)` x and y of the center within its cell.
        detect: `(p,)` bool, whether box and offset count.
        identities: `(p,)` class or -1.
        class_range: `(p, 2)` classes that the identity is distinguished from.
    """

    heatmap: Tensor
    weight: Tensor
    cells: Tensor
    box: Tensor
    offset: Tensor
    detect: Tensor
    identities: Tensor
    class_range: Tensor


def gaussian_radius(size: Tensor, overlap: float = 0.7) -> Tensor:
    """Return the radius in cells of the Gaussian of a box (reference: `gaussian_radius`, `image.py`).

    CornerNet (Law and Deng, ECCV 2018, section 3.2) asks for the shift within which a box keeps an
    IoU of `overlap` and solves three cases; the reference takes half the root of the third, which is
    always the smallest there, and is wider than the true shift. Kept, since the wider peaks train well.

    Args:
        size: `(..., 2)` width and height in cells.
        overlap: least intersection over union.
    """
    area, total = size.prod(-1), size.sum(-1)
    b = 2 * overlap * total
    return ((b * b + 16 * overlap * (1 - overlap) * area).sqrt() - b) / 2


def make_targets(batch: Batch, classes: int = 1) -> Targets:
    """Draw heatmaps of so many classes, weights and regression targets of a batch."""
    count, _, height, width = batch.images.shape
    height, width = height // STRIDE, width // STRIDE
    device = batch.images.device
    tlbr = batch.tlbr / STRIDE
    center = (tlbr[..., :2] + tlbr[..., 2:]) / 2
    cell = center.floor()
    person = batch.kinds == Kind.PERSON
    size = (tlbr[..., 2:] - tlbr[..., :2]).clamp(min=0).ceil()
    sigma = ((2 * gaussian_radius(size).floor() + 1) / 6)[..., None]
    x, y = torch.arange(width, device=device), torch.arange(height, device=device)
    # A Gaussian over cells is the product of its row and its column.
    columns = torch.exp(-((x - cell[..., :1]) ** 2) / (2 * sigma**2))
    columns_of = [columns * (person & (batch.classes == channel))[..., None] for channel in range(classes)]
    rows = torch.exp(-((y - cell[..., 1:]) ** 2) / (2 * sigma**2))
    ignored = batch.kinds == Kind.IGNORE
    in_columns = (x + 1 > tlbr[..., :1]) & (x < tlbr[..., 2:3])
    in_rows = (y + 1 > tlbr[..., 1:2]) & (y < tlbr[..., 3:])
    applies = [ignored & ((batch.classes == channel) | (batch.classes < 0)) for channel in range(classes)]
    ignored_columns = [in_columns & regions[..., None] for regions in applies]
    heatmaps, weights = [], []
    for start in range(0, count, _CHUNK):
        part = slice(start, start + _CHUNK)
        maps = [(rows[part, :, :, None] * columns[part, :, None, :]).amax(1) for columns in columns_of]
        heatmaps.append(torch.stack(maps, 1))
        free = [~(in_rows[part, :, :, None] & inside[part, :, None, :]).any(1) for inside in ignored_columns]
        weights.append(torch.stack(free, 1))
    heatmap, weight = torch.cat(heatmaps), torch.cat(weights).float()
    weight = torch.where(heatmap == 1, torch.ones_like(heatmap), weight)
    chosen = (person | (batch.kinds == Kind.IDENTITY)).nonzero()
    picked, corners, middle = chosen.unbind(1), tlbr[chosen.unbind(1)], center[chosen.unbind(1)]
    return Targets(
        heatmap=heatmap,
        weight=weight,
        cells=torch.stack((chosen[:, 0], cell[picked][:, 1].long(), cell[picked][:, 0].long()), 1),
        box=torch.cat((middle - corners[:, :2], corners[:, 2:] - middle), 1),
        offset=middle - middle.floor(),
        detect=person[picked],
        identities=batch.identities[picked],
        class_range=batch.class_range[picked],
    )


def focal_loss(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Penalty-reduced focal loss with alpha 2, beta 4, per person (CenterNet, equation 1).

    Args:
        logits: `(n, h, w)` heatmap before the sigmoid.
        target: `(n, h, w)` Gaussian peaks.
        weight: `(n, h, w)` 0 where nothing is known.
    """
    probability = logits.sigmoid().clamp(1e-4, 1 - 1e-4)
    positive = target.eq(1)
    at_peak = probability.log() * (1 - probability) ** 2
    elsewhere = (1 - probability).log() * probability**2 * (1 - target) ** 4
    return -(torch.where(positive, at_peak, elsewhere) * weight).sum() / positive.sum().clamp(min=1)


class FairMOTLoss(nn.Module):
    """Detection and identity losses, balanced by learned uncertainties (Kendall et al., CVPR 2018).

    Args:
        embedding: length of the embedding.
        spaces: `(s, 2)` ranges of classes; a softmax never crosses them.
    """

    def __init__(self, embedding: int, spaces: Tensor) -> None:
        super().__init__()
        self.classifier = nn.Linear(embedding, max(int(spaces.max()), 1))
        # Reference start values (FairMOT, `mot.py`).
        self.detection_uncertainty = nn.Parameter(torch.tensor(-1.85))
        self.identity_uncertainty = nn.Parameter(torch.tensor(-1.05))

    def forward(self, outputs: dict[str, Tensor], targets: Targets) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the total and its parts for the log."""
        image, row, column = targets.cells.unbind(1)
        maps = (outputs["hm"].float(), targets.heatmap, targets.weight)
        heatmap = focal_loss(*(values.flatten(0, 1) for values in maps))
        detect = targets.detect
        people = detect.sum().clamp(min=1)
        box = outputs["wh"].float()[image, :, row, column]
        offset = outputs["reg"].float()[image, :, row, column]
        # FairMOT divides the L1 losses by the number of coordinates.
        box_loss = ((box - targets.box).abs().mean(1) * detect).sum() / people
        offset_loss = ((offset - targets.offset).abs().mean(1) * detect).sum() / people
        identity = self._identity_loss(outputs["id"].float()[image, :, row, column], targets)
        detection = heatmap + 0.1 * box_loss + offset_loss
        s_detection, s_identity = self.detection_uncertainty, self.identity_uncertainty
        total = 0.5 * (
            torch.exp(-s_detection) * detection + torch.exp(-s_identity) * identity + s_detection + s_identity
        )
        return total, {"heatmap": heatmap, "box": box_loss, "offset": offset_loss, "identity": identity}

    def _identity_loss(self, embedding: Tensor, targets: Targets) -> Tensor:
        known = targets.identities >= 0
        embedding, labels, bounds = embedding[known], targets.identities[known], targets.class_range[known]
        sizes = (bounds[:, 1] - bounds[:, 0]).clamp(min=2)
        # Scale of the embedding: sqrt(2) log(classes - 1) (FairMOT, `mot.py`, after Zhang et al., "AdaCos"), with 0.99
        # for 1, since the logarithm of 1 would leave two classes no scale at all.
        scale = math.sqrt(2) * torch.log(sizes.float() - 0.99)
        logits = self.classifier(F.normalize(embedding, dim=1) * scale[:, None])
        classes = torch.arange(logits.shape[1], device=logits.device)
        foreign = (classes < bounds[:, :1]) | (classes >= bounds[:, 1:])
        losses = F.cross_entropy(logits.masked_fill(foreign, -1e4), labels, reduction="sum")
        return losses / known.sum().clamp(min=1)
