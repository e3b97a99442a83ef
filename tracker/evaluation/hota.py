"""HOTA: detection and association accuracy at 19 thresholds of the IoU.

Luiten et al., "HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking", International Journal of Computer
Vision, 2021. Numbers in comments are its equations. TrackEval, the authors' own program, decides where the paper
leaves something open: the order of sums (so that ties are broken equally) and the value of a threshold without matches.

The tests compare this module with TrackEval, which is no dependency of the project: it needs matplotlib, Pillow,
pycocotools and newer NumPy, SciPy and OpenCV than anything else here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from fairmot.tracker.evaluation.overlap import EPSILON, Floats, Ints, Overlaps

THRESHOLDS = np.arange(0.05, 0.99, 0.05)


@dataclass(frozen=True)
class HOTACounts:
    """The counts behind HOTA, additive over sequences. Every attribute has one value for each of `THRESHOLDS`.

    Attributes:
        matches: pairs of boxes that match (TP).
        association: sum over the matches of A(c), equation 8.
        overlap: sum over the matches of their IoU.
    """

    matches: tuple[int, ...]
    association: tuple[float, ...]
    overlap: tuple[float, ...]

    @classmethod
    def total(cls, parts: Iterable[HOTACounts]) -> HOTACounts:
        """Return the sum; of nothing that is 0 everywhere."""
        sums = np.zeros((3, len(THRESHOLDS)))
        for part in parts:
            sums += (part.matches, part.association, part.overlap)
        return cls(tuple(sums[0].astype(np.int64).tolist()), tuple(sums[1].tolist()), tuple(sums[2].tolist()))

    def measures(self, gt_boxes: int, result_boxes: int) -> dict[str, float]:
        """Return `hota`, `deta`, `assa` and `loca`, means over the thresholds; NaN where there is nothing to measure.

        Args:
            gt_boxes: boxes of the truth.
            result_boxes: boxes of the results.
        """
        matches = np.array(self.matches, np.float64)
        detection = matches / np.maximum(gt_boxes + result_boxes - matches, 1)  # 2
        association = np.array(self.association) / np.maximum(matches, 1)  # 9
        # Without matches at a threshold, the localization counts as perfect.
        localization = np.divide(self.overlap, matches, out=np.ones_like(matches), where=matches > 0)
        values = {
            "hota": np.sqrt(detection * association),  # 7
            "deta": detection,
            "assa": association,
            "loca": localization,
        }
        empty = {"hota", "deta", "assa", "loca"} if gt_boxes + result_boxes == 0 else set()
        if not self.matches[0]:
            empty.add("loca")
        return {name: math.nan if name in empty else float(np.mean(value)) for name, value in values.items()}


def count_hota(overlaps: Overlaps) -> HOTACounts:
    """Return the counts of one sequence."""
    alignment, boxes = _alignment(overlaps)
    pairs: list[Ints] = [np.zeros(0, np.int64)]  # person and identity as one number, an index into `boxes.ravel()`
    ious: list[Floats] = [np.zeros(0)]
    for frame in overlaps.frames:
        if frame.iou.size:
            score = alignment[frame.truth[:, None], frame.found] * frame.iou
            rows, columns = linear_sum_assignment(score, maximize=True)
            pairs.append(frame.truth[rows] * overlaps.identities + frame.found[columns])
            ious.append(frame.iou[rows, columns])
    kinds, kind = np.unique(np.concatenate(pairs), return_inverse=True)
    boxes_of_kind = boxes.ravel()[kinds]
    iou = np.concatenate(ious)
    matches, association, overlap = [], [], []
    for threshold in THRESHOLDS:
        reached = iou >= threshold - EPSILON
        together = np.bincount(kind[reached], minlength=len(kinds))
        matches.append(int(reached.sum()))
        association.append(float((together * (together / np.maximum(boxes_of_kind - together, 1))).sum()))  # 8
        overlap.append(float(iou[reached].sum()))
    return HOTACounts(tuple(matches), tuple(association), tuple(overlap))


def _alignment(overlaps: Overlaps) -> tuple[Floats, Floats]:
    """Return the alignment of each person with each identity over the whole sequence, and the number of their boxes.

    Returns:
        Two matrices `(people, identities)`: the global alignment score that decides the matches before they are known
        (section 4.4 of the paper, with the soft counts of TrackEval), and the boxes of both added up.
    """
    soft_matches = np.zeros((overlaps.people, overlaps.identities))
    truth_boxes, found_boxes = np.zeros(overlaps.people), np.zeros(overlaps.identities)
    for frame in overlaps.frames:
        iou = frame.iou
        around = iou.sum(0) + iou.sum(1)[:, None] - iou
        share = np.divide(iou, around, out=np.zeros_like(iou), where=around > EPSILON)
        soft_matches[frame.truth[:, None], frame.found] += share
        truth_boxes[frame.truth] += 1
        found_boxes[frame.found] += 1
    boxes = truth_boxes[:, None] + found_boxes
    return soft_matches / (boxes - soft_matches), boxes
