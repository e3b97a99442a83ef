"""The boxes of ground truth and results that a protocol compares, and their IoU by frame.

MOT17 (Milan et al., "MOT16: A Benchmark for Multi-Object Tracking", 2016, section 4; the numbers of the classes are
those of the benchmark's ground truth): results are first assigned to all boxes of the truth, whatever their flag and
class, at an IoU of at least 0.5, and those which fall on a distractor are removed: a tracker is neither rewarded
nor penalized for a person in a car, on a poster or in a mirror. Then the boxes whose flag is not 0 and whose class is
pedestrian count. MOT15 has no classes: the boxes whose flag is not 0 count, nothing is removed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise, starmap
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from fairmot.core.errors import UserError
from fairmot.core.motchallenge import LARGEST_CLASS, LEAST_CLASS, PEDESTRIAN, Boxes

Benchmark = Literal["mot17", "mot15"]
BENCHMARKS: tuple[Benchmark, ...] = get_args(Benchmark)
MATCH_IOU = 0.5
DISTRACTORS = (2, 7, 8, 12)  # person on a vehicle, static person, distractor, reflection
# Largest sequence that is scored. MOT20-05, the largest of the benchmarks, has 1,200 people and 130 million pairs.
_MOST_IDENTITIES = 10_000  # on both sides; motmetrics needs 4 GB for a matrix of all of them with each other
_MOST_PAIRS = 400_000_000  # of boxes in one frame, over all frames; 3 GB of IoU
EPSILON = float(np.finfo(np.float64).eps)  # an IoU of 0.5 that rounding has made smaller is one

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class FrameOverlap:
    """The boxes that count in one frame.

    Attributes:
        number: of the frame.
        truth: `(n,)`, person of each row of the ground truth: 0 to `Overlaps.people` - 1.
        found: `(m,)`, identity of each row of the results: 0 to `Overlaps.identities` - 1.
        iou: `(n, m)`.
    """

    number: int
    truth: Ints
    found: Ints
    iou: Floats


@dataclass(frozen=True, eq=False)
class Overlaps:
    """The compared boxes of a sequence.

    Attributes:
        frames: those in which any box counts, in order.
        people: number of identities in the ground truth.
        identities: number of identities in the results.
    """

    frames: list[FrameOverlap]
    people: int
    identities: int


def benchmark_of(truth: Boxes) -> Benchmark:
    """Return the benchmark of a ground truth: only MOT17's has classes."""
    return "mot15" if truth.class_ids is None or (truth.class_ids == -1).all() else "mot17"


def chosen_frames(frames: Ints, wanted: Iterable[int]) -> Mask:
    """Return which of `frames` `(n,)` are wanted."""
    if isinstance(wanted, range) and wanted.step == 1:
        return (frames >= wanted.start) & (frames < wanted.stop)
    return np.isin(frames, np.array([*wanted], np.int64))


def overlaps_of(truth: Boxes, found: Boxes, benchmark: Benchmark) -> Overlaps:
    """Select the boxes that count by the rules of a benchmark, and compute their IoU.

    Args:
        truth: all rows of the ground truth in the frames that are scored.
        found: all rows of the results in them.
        benchmark: the protocol.

    Raises:
        UserError: if the ground truth is not of this benchmark, or the sequence is too large to be scored.
    """
    counts, distracts = _roles(truth, benchmark)
    numbers = np.unique(np.concatenate((truth.frames, found.frames)))
    truth_ends, found_ends = (np.searchsorted(boxes.frames, numbers, "right") for boxes in (truth, found))
    truth_rows, found_rows = (_slices(ends) for ends in (truth_ends, found_ends))
    pairs = int((np.diff(truth_ends, prepend=0) * np.diff(found_ends, prepend=0)).sum())
    if pairs > _MOST_PAIRS:
        raise UserError(f"there are {pairs} pairs of boxes, more than the {_MOST_PAIRS} that can be scored.")
    kept = np.ones(len(found), np.bool_)
    ious = []
    for a, b in zip(truth_rows, found_rows, strict=True):
        iou = iou_matrix(truth.tlwh[a], found.tlwh[b])
        kept[b] = ~_on_distractors(iou, distracts[a])
        ious.append(iou[counts[a]][:, kept[b]])
    people, truth_ids = np.unique(truth.ids[counts], return_inverse=True)
    identities, found_ids = np.unique(found.ids[kept], return_inverse=True)
    if len(people) + len(identities) > _MOST_IDENTITIES:
        raise UserError(
            f"there are {len(people)} people and {len(identities)} identities in the results, more than the "
            f"{_MOST_IDENTITIES} that can be scored; score parts of the sequence."
        )
    truth_rows, found_rows = (
        _slices(np.concatenate(([0], np.cumsum(mask)))[ends])
        for mask, ends in ((counts, truth_ends), (kept, found_ends))
    )
    frames = [
        FrameOverlap(number, truth_ids[a], found_ids[b], iou)
        for number, a, b, iou in zip(numbers.tolist(), truth_rows, found_rows, ious, strict=True)
        if iou.shape != (0, 0)
    ]
    return Overlaps(frames, len(people), len(identities))


def iou_matrix(truth: Floats, found: Floats) -> Floats:
    """Return the IoU `(n, m)` of boxes `(n, 4)` and `(m, 4)` in left, top, width, height; no pixel is added.

    A box without an area overlaps nothing. Widths are taken from the corners, as TrackEval does it, so that an IoU
    near a threshold is rounded to the same side.
    """
    low_a, low_b = truth[:, None, :2], found[None, :, :2]
    high_a, high_b = low_a + truth[:, None, 2:], low_b + found[None, :, 2:]
    sides = np.minimum(high_a, high_b) - np.maximum(low_a, low_b)
    overlap = np.maximum(sides[..., 0], 0.0) * np.maximum(sides[..., 1], 0.0)
    area_a, area_b = (high_a - low_a).prod(axis=2), (high_b - low_b).prod(axis=2)
    union = area_a + area_b - overlap
    valid = (area_a > EPSILON) & (area_b > EPSILON) & (union > EPSILON)
    iou: Floats = np.divide(overlap, union, out=np.zeros_like(overlap), where=valid)
    return iou


def _roles(truth: Boxes, benchmark: Benchmark) -> tuple[Mask, Mask]:
    """Return which rows of the truth count and which are distractors, each `(n,)`."""
    flagged = truth.scores.astype(np.int64) != 0
    if benchmark == "mot15":
        return flagged, np.zeros(len(truth), np.bool_)
    if truth.class_ids is None:
        if len(truth):
            raise UserError("the ground truth names no classes, so it is not MOT17's; choose the benchmark mot15.")
        return flagged, flagged
    wrong = (truth.class_ids < LEAST_CLASS) | (truth.class_ids > LARGEST_CLASS)
    if wrong.any():
        raise UserError(
            f"a box in frame {truth.frames[wrong][0]} has class {truth.class_ids[wrong][0]}, and MOT17's classes are 1 "
            f"to {LARGEST_CLASS}; fix the file, or choose the benchmark mot15, which ignores classes."
        )
    return flagged & (truth.class_ids == PEDESTRIAN), np.isin(truth.class_ids, DISTRACTORS)


def _on_distractors(iou: Floats, distracts: Mask) -> Mask:
    """Return which results of a frame fall on a distractor, `(m,)`, from the IoU with every box of the truth."""
    candidates = np.where(iou >= MATCH_IOU - EPSILON, iou, 0.0)
    removed = np.zeros(iou.shape[1], np.bool_)
    if candidates[distracts].any():
        rows, columns = linear_sum_assignment(candidates, maximize=True)
        removed[columns[distracts[rows] & (candidates[rows, columns] > 0)]] = True
    return removed


def _slices(ends: npt.NDArray[np.intp]) -> list[slice]:
    """Return the rows of each frame; `ends` holds the row after its last one."""
    return list(starmap(slice, pairwise([0, *ends.tolist()])))
