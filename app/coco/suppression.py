"""Suppression of boxes that overlap a better one of their class: soft-NMS and NMS, as CenterNet's `external/nms.pyx`.

Overlaps count pixels there: a box of left 0 and right 9 is 10 wide.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fairmot.core.records import Detections, FloatArray

OVERLAP = 0.5
"""Most overlap (IoU) that `nms` keeps; CenterNet names it for soft-NMS as well, whose Gaussian does not use it."""

# Defaults of `soft_nms` in CenterNet's `external/nms.pyx`; sigma also in Bodla et al., "Soft-NMS", section 4.
_SIGMA = 0.5
_LEAST_SCORE = 0.001


def soft_nms(detections: Detections) -> Detections:
    """Lower the scores of boxes by their overlap with better ones of their class.

    The Gaussian form (Bodla et al., 2017, equation 3; `method=2` of CenterNet): in turn the best box left multiplies
    the scores of the others by exp(-IoU^2 / sigma). A box whose score falls below 0.001 by that is dropped. CenterNet
    keeps copies of other boxes in the rows of dropped ones, an oversight that is not copied.

    Returns:
        The boxes with their new scores, sorted by falling score.
    """
    scores = detections.scores.astype(np.float32)
    kept = np.zeros(len(detections), bool)
    for class_id in np.unique(detections.class_ids):
        left = np.flatnonzero(detections.class_ids == class_id)
        while len(left):
            best = left[np.argmax(scores[left])]
            kept[best] = True
            left = left[left != best]
            overlaps = _overlaps(detections.tlbr[best], detections.tlbr[left])
            scores[left] *= np.exp(-np.square(overlaps) / np.float32(_SIGMA))
            left = left[(overlaps <= 0) | (scores[left] >= _LEAST_SCORE)]
    rescored = Detections(detections.tlbr, scores, detections.class_ids, detections.embeddings)[kept]
    return rescored[np.argsort(-rescored.scores, kind="stable")]


def nms(detections: Detections) -> Detections:
    """Keep the boxes that overlap no better kept one of their class by `OVERLAP` or more.

    Args:
        detections: sorted by falling score.

    Returns:
        The rows that are kept, in their order.
    """
    kept = np.ones(len(detections), bool)
    for row in range(len(detections)):
        if kept[row]:
            later = np.flatnonzero(_same_class_after(detections, row) & kept)
            kept[later] = _overlaps(detections.tlbr[row], detections.tlbr[later]) < OVERLAP
    return detections[kept]


def _same_class_after(detections: Detections, row: int) -> npt.NDArray[np.bool_]:
    same: npt.NDArray[np.bool_] = detections.class_ids == detections.class_ids[row]
    same[: row + 1] = False
    return same


def _overlaps(box: FloatArray, others: FloatArray) -> npt.NDArray[np.float32]:
    """Return the IoU of a box `(4,)` with others `(n, 4)`, all tlbr, counted in pixels."""
    one = np.float32(1)
    sides = np.maximum(np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]) + one, 0)
    common = sides[:, 0] * sides[:, 1]
    areas = (others[:, 2] - others[:, 0] + one) * (others[:, 3] - others[:, 1] + one)
    area = (box[2] - box[0] + one) * (box[3] - box[1] + one)
    return np.asarray(common / (area + areas - common), np.float32)
