"""CLEAR MOT and identity measures, counted by motmetrics from events that are matched by TrackEval's rules.

CLEAR: Bernardin and Stiefelhagen, "Evaluating Multiple Object Tracking Performance", 2008. Identity: Ristani et al.,
"Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking", 2016.

motmetrics' own accumulator is not used, since it differs from TrackEval, the reference, in four respects:

- It keeps a person with the identity of the last match however long ago that was; TrackEval only with that of the
  frame before (the last one with boxes on both sides).
- Of the other boxes it matches as many as possible; TrackEval maximizes the sum of IoU.
- A person is mostly tracked from 80 % on; TrackEval requires more than 80 %.
- A fragmentation needs a miss between two matches; for TrackEval the person may also have been absent from the
  ground truth, and frames without any detection, or without any person, are no gap.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import motmetrics
import numpy as np
from scipy.optimize import linear_sum_assignment

from fairmot.tracker.evaluation.overlap import EPSILON, MATCH_IOU, Floats, Ints, Mask, Overlaps

_CONTINUES = 1000.0  # bonus for keeping an identity, in IoU
_MOSTLY_TRACKED, _MOSTLY_LOST = 0.8, 0.2
_TO_MOTMETRICS = {
    "gt_boxes": "num_objects",
    "result_boxes": "num_predictions",
    "gt_tracks": "num_unique_objects",
    "matches": "num_detections",
    "misses": "num_misses",
    "false_positives": "num_false_positives",
    "switches": "num_switches",
    "id_true_positives": "idtp",
}


@dataclass(frozen=True, eq=False)
class _Matches:
    """Pairs of boxes, sorted by person and then by frame, as arrays `(n,)`.

    Attributes:
        truth: person.
        found: identity.
        frame: index into `Overlaps.frames`.
        step: the same among the frames that hold boxes of both sides.
        iou: of the two boxes.
    """

    truth: Ints
    found: Ints
    frame: Ints
    step: Ints
    iou: Floats


def count_clear(overlaps: Overlaps) -> tuple[dict[str, int], float]:
    """Return the counts of one sequence by their names in `Scores`, and the sum of the IoU of the matches."""
    if not overlaps.frames:
        return dict.fromkeys((*_TO_MOTMETRICS, "fragmentations", "mostly_tracked", "mostly_lost"), 0), 0.0
    matches = _match(overlaps)
    again = matches.truth[1:] == matches.truth[:-1]
    switched = np.zeros(len(matches.truth), np.bool_)
    switched[1:] = again & (matches.found[1:] != matches.found[:-1])
    names = [*_TO_MOTMETRICS.values(), "track_ratios"]
    values = _host().compute(_events(overlaps, matches, switched), metrics=names, return_dataframe=False)
    ratios = values["track_ratios"]
    counts = {name: round(float(values[theirs])) for name, theirs in _TO_MOTMETRICS.items()}
    counts["fragmentations"] = int((again & (np.diff(matches.step) > 1)).sum())
    counts["mostly_tracked"] = int((ratios > _MOSTLY_TRACKED).sum())
    counts["mostly_lost"] = int((ratios < _MOSTLY_LOST).sum())
    return counts, float(matches.iou.sum())


def _match(overlaps: Overlaps) -> _Matches:
    """Match the boxes of every frame: identities of the previous frame first, then by the largest sum of IoU."""
    previous = np.full(overlaps.people, -1)
    columns: list[tuple[Ints, Ints, Ints, Ints, Floats]] = []
    step = 0
    for index, frame in enumerate(overlaps.frames):
        if not frame.iou.size:
            continue
        continues = previous[frame.truth][:, None] == frame.found
        score = np.where(frame.iou >= MATCH_IOU - EPSILON, _CONTINUES * continues + frame.iou, 0.0)
        a, b = linear_sum_assignment(score, maximize=True)
        matched = score[a, b] > 0
        a, b = a[matched], b[matched]
        truth, found = frame.truth[a], frame.found[b]
        previous[:] = -1
        previous[truth] = found
        columns.append((truth, found, np.full(len(a), index), np.full(len(a), step), frame.iou[a, b]))
        step += 1
    if not columns:
        nothing = np.zeros(0, np.int64)
        return _Matches(nothing, nothing, nothing, nothing, np.zeros(0))
    people, identities, frames, steps, ious = map(np.concatenate, zip(*columns, strict=True))
    order = np.argsort(people, kind="stable")
    return _Matches(people[order], identities[order], frames[order], steps[order], ious[order])


def _events(overlaps: Overlaps, matches: _Matches, switched: Mask) -> Any:
    """Return the event log that motmetrics reads, a table with a row for each event.

    Args:
        overlaps: of the sequence.
        matches: pairs of boxes.
        switched: `(n,)`, which of them are with another identity than the last one of that person.
    """
    frames = overlaps.frames
    truth, truth_frame = _flat([frame.truth for frame in frames])
    found, found_frame = _flat([frame.found for frame in frames])
    may_match = [np.nonzero(frame.iou >= MATCH_IOU) for frame in frames]
    pair_truth, pair_frame = _flat([frame.truth[a] for frame, (a, _) in zip(frames, may_match, strict=True)])
    pair_found, _ = _flat([frame.found[b] for frame, (_, b) in zip(frames, may_match, strict=True)])
    missed = ~np.isin(truth_frame * overlaps.people + truth, matches.frame * overlaps.people + matches.truth)
    ghost = ~np.isin(found_frame * overlaps.identities + found, matches.frame * overlaps.identities + matches.found)
    absent = np.full(max(len(truth), len(found)), np.nan)
    blocks = [  # type, frame, person, identity
        ("RAW", truth_frame, truth, absent[: len(truth)]),
        ("RAW", found_frame, absent[: len(found)], found),
        ("RAW", pair_frame, pair_truth, pair_found),
        ("MATCH", matches.frame[~switched], matches.truth[~switched], matches.found[~switched]),
        ("SWITCH", matches.frame[switched], matches.truth[switched], matches.found[switched]),
        ("MISS", truth_frame[missed], truth[missed], absent[: missed.sum()]),
        ("FP", found_frame[ghost], absent[: ghost.sum()], found[ghost]),
    ]
    kinds, *columns = zip(*blocks, strict=True)
    frame, person, identity = map(np.concatenate, columns)
    # The value of the distance has no effect, but it must be present where both sides are.
    distance = np.where(np.isnan(person) | np.isnan(identity), np.nan, 0.0)
    return motmetrics.MOTAccumulator.new_event_dataframe_with_data(
        {"FrameId": frame, "Event": np.arange(len(frame))},
        {"Type": np.repeat(kinds, [*map(len, columns[0])]), "OId": person, "HId": identity, "D": distance},
    )


def _flat(parts: list[Ints]) -> tuple[Ints, Ints]:
    """Return the concatenated parts, and for each value the index of its part."""
    return np.concatenate(parts), np.repeat(np.arange(len(parts)), [*map(len, parts)])


@cache
def _host() -> Any:
    """Return motmetrics' registry of measures."""
    return motmetrics.metrics.create()
