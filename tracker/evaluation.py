"""How good results are: CLEAR MOT and identity measures against ground truth, computed by motmetrics.

The protocol is the plain one for any sequence with ground truth: a box of the results and one of the truth may match
at an IoU of 0.5 or more (no pixel is added, as MOTChallenge's own evaluation does it). Of the truth count the rows
whose flag is not 0 and whose class, where the file has one, is 1 (pedestrian) or -1. Frames that are missing from
the results are misses.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import motmetrics
import numpy as np
import numpy.typing as npt
from rich.table import Table

from tracker.motchallenge import Boxes, read_ground_truth, read_results

MATCH_IOU = 0.5
_COUNTED_CLASSES = (1, -1)
_TO_MOTMETRICS = {
    "frames": "num_frames",
    "gt_boxes": "num_objects",
    "result_boxes": "num_predictions",
    "gt_tracks": "num_unique_objects",
    "matches": "num_detections",
    "misses": "num_misses",
    "false_positives": "num_false_positives",
    "switches": "num_switches",
    "fragmentations": "num_fragmentations",
    "mostly_tracked": "mostly_tracked",
    "mostly_lost": "mostly_lost",
    "id_true_positives": "idtp",
}


@dataclass(frozen=True)
class Scores:
    """What was counted in one sequence or in several together, and the measures that follow from it.

    Measures are shares (MOTA can be negative), NaN where there is nothing to divide by.

    Attributes:
        frames: frames that were scored.
        gt_boxes, result_boxes: boxes of the ground truth and of the results in them.
        gt_tracks: people in the ground truth.
        matches: boxes of the truth that were found, switches included.
        misses, false_positives: boxes of the truth and of the results without a partner.
        switches: matches with another identity than the last one.
        fragmentations: times that a person was lost between two matches.
        mostly_tracked, mostly_lost: people found in at least 80 % and in less than 20 % of their boxes.
        id_true_positives: boxes that agree under the best one-to-one mapping of identities over all frames.
    """

    frames: int
    gt_boxes: int
    result_boxes: int
    gt_tracks: int
    matches: int
    misses: int
    false_positives: int
    switches: int
    fragmentations: int
    mostly_tracked: int
    mostly_lost: int
    id_true_positives: int

    @property
    def mota(self) -> float:
        """1 - (misses + false positives + switches) / boxes of the truth (Bernardin and Stiefelhagen, 2008)."""
        return 1.0 - _share(self.misses + self.false_positives + self.switches, self.gt_boxes)

    @property
    def idf1(self) -> float:
        """Boxes that agree in identity, over the mean number of boxes (Ristani et al., 2016)."""
        return _share(2 * self.id_true_positives, self.gt_boxes + self.result_boxes)

    @property
    def precision(self) -> float:
        """Share of the results' boxes that match."""
        return _share(self.matches, self.result_boxes)

    @property
    def recall(self) -> float:
        """Share of the truth's boxes that were found."""
        return _share(self.matches, self.gt_boxes)

    @classmethod
    def combined(cls, scores: Iterable[Scores]) -> Scores:
        """Return the scores of several sequences as of one: counts are added, people are those of each."""
        scores = list(scores)
        return cls(*(sum(getattr(score, field.name) for score in scores) for field in fields(cls)))

    def to_dict(self) -> dict[str, float | int | None]:
        """Return measures and counts for JSON; a measure that does not exist is none."""
        measures = {name: getattr(self, name) for name in ("mota", "idf1", "precision", "recall")}
        counts = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**{name: None if math.isnan(value) else value for name, value in measures.items()}, **counts}


def evaluate(ground_truth: Path | str, results: Path | str, frames: Iterable[int] | None = None) -> Scores:
    """Score a MOTChallenge result file.

    Args:
        ground_truth: `gt.txt` of MOT15 (10 columns) or later.
        results: text of a tracker.
        frames: numbers of the frames that were processed; boxes in others do not count. None means all.

    Raises:
        UserError: if a file cannot be read or holds a line that is not a box.
    """
    truth, found = read_ground_truth(ground_truth), read_results(results)
    counts = truth.scores != 0
    if truth.class_ids is not None:
        counts &= np.isin(truth.class_ids, _COUNTED_CLASSES)
    return score(truth[counts], found, frames)


def score(truth: Boxes, found: Boxes, frames: Iterable[int] | None = None) -> Scores:
    """Score `found` against `truth`; both as read, every row counts. See `evaluate`."""
    numbers = np.unique(
        np.concatenate((truth.frames, found.frames)) if frames is None else np.array([*frames], np.int64)
    )
    accumulator = motmetrics.MOTAccumulator()
    truth_rows, found_rows = (
        zip(*(np.searchsorted(boxes.frames, numbers, side).tolist() for side in ("left", "right")), strict=True)
        for boxes in (truth, found)
    )
    for number, a, b in zip(numbers.tolist(), truth_rows, found_rows, strict=True):
        distance = _distance(truth.tlwh[slice(*a)], found.tlwh[slice(*b)])
        accumulator.update(truth.ids[slice(*a)], found.ids[slice(*b)], distance, frameid=number)
    if not len(numbers):
        return Scores(*(0 for _ in fields(Scores)))
    values = _host().compute(accumulator, metrics=list(_TO_MOTMETRICS.values()), return_dataframe=False)
    return Scores(**{name: round(float(values[theirs])) for name, theirs in _TO_MOTMETRICS.items()})


def score_table(scores: Mapping[str, Scores], title: str | None = None) -> Table:
    """Return a rich table with a row for each named sequence, and one for all where there are several."""
    table = Table(title=title)
    table.add_column("sequence")
    for heading in ("MOTA", "IDF1", "recall", "precision", "switches", "FP", "misses", "GT boxes", "frames"):
        table.add_column(heading, justify="right")
    rows = list(scores.items())
    for name, value in rows:
        table.add_row(name, *_cells(value))
    if len(rows) > 1:
        table.add_section()
        table.add_row("combined", *_cells(Scores.combined(scores.values())), style="bold")
    return table


def _cells(value: Scores) -> Sequence[str]:
    measures = (value.mota, value.idf1, value.recall, value.precision)
    counts = (value.switches, value.false_positives, value.misses, value.gt_boxes, value.frames)
    shares = ("-" if math.isnan(share) else f"{100 * share:.1f}" for share in measures)
    return [*shares, *map(str, counts)]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


@cache
def _host() -> Any:
    """Return motmetrics' registry of measures."""
    return motmetrics.metrics.create()


def _distance(truth: npt.NDArray[np.float64], found: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return 1 - IoU, `(n, m)`, of boxes `(n, 4)` and `(m, 4)` in left, top, width, height; NaN where none may match.

    `motmetrics.distances.iou_matrix` calls a function that NumPy 2 has dropped.
    """
    a, b = truth[:, None], found[None]
    corner = np.maximum(a[..., :2], b[..., :2])
    sides = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:]) - corner
    overlap = sides.clip(min=0).prod(axis=2)
    union = a[..., 2:].prod(axis=2) + b[..., 2:].prod(axis=2) - overlap
    iou = np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)
    return np.where(1.0 - iou <= 1.0 - MATCH_IOU, 1.0 - iou, np.nan)
