"""Evaluation of one sequence, from its files."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from fairmot.core.errors import UserError
from fairmot.core.motchallenge import Boxes, read_ground_truth, read_results
from fairmot.tracker.evaluation.clear import count_clear
from fairmot.tracker.evaluation.hota import count_hota
from fairmot.tracker.evaluation.overlap import Benchmark, benchmark_of, chosen_frames, overlaps_of
from fairmot.tracker.evaluation.scores import Scores
from fairmot.tracker.evaluation.sequences import ScoredSequence, Split

log = logging.getLogger(__name__)


def evaluate(
    ground_truth: Path | str,
    results: Path | str,
    frames: Iterable[int] | None = None,
    benchmark: Benchmark | None = None,
) -> Scores:
    """Score a MOTChallenge result file.

    Args:
        ground_truth: `gt.txt` of MOT15 (10 columns) or later.
        results: text of a tracker.
        frames: numbers of the frames that were processed; boxes in others do not count. None means all.
        benchmark: the protocol; none means MOT17's if the ground truth has classes, else MOT15's.

    Raises:
        UserError: if a file cannot be read or has an invalid line, or the ground truth is not of that benchmark.
    """
    truth, found = read_ground_truth(ground_truth), read_results(results)
    return _score(truth, found, frames, benchmark, Path(ground_truth))


def evaluate_sequence(sequence: ScoredSequence, split: Split = "full", benchmark: Benchmark | None = None) -> Scores:
    """Score a sequence that `find_sequences` has found.

    Args:
        sequence: with its files.
        split: which of its frames.
        benchmark: as for `evaluate`.

    Raises:
        UserError: as for `evaluate`, or if a file has boxes after the last frame, or there is no half of a sequence
            of unknown length.
    """
    frames = sequence.frames(split)
    files = (read_ground_truth(sequence.ground_truth), read_results(sequence.results))
    for boxes, path in zip(files, (sequence.ground_truth, sequence.results), strict=True):
        last = int(boxes.frames.max(initial=0))
        if sequence.length is not None and last > sequence.length:
            raise UserError(
                f"{path} has a box in frame {last}, but {sequence.name} ends with frame {sequence.length}; number the "
                "frames as the sequence does."
            )
    truth, found = files
    if frames and len(found) and not chosen_frames(found.frames, frames).any():
        log.warning(
            "%s has no box in frames %d to %d, so everyone counts as missed; number the frames of a half as those of "
            "the whole sequence.",
            sequence.results,
            frames[0],
            frames[-1],
        )
    return _score(truth, found, frames, benchmark, sequence.ground_truth)


def _score(truth: Boxes, found: Boxes, frames: Iterable[int] | None, benchmark: Benchmark | None, path: Path) -> Scores:
    """Score; errors in the ground truth name its file."""
    try:
        return score(truth, found, frames, benchmark)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def score(
    truth: Boxes, found: Boxes, frames: Iterable[int] | None = None, benchmark: Benchmark | None = None
) -> Scores:
    """Score `found` against `truth`, both as read. See `evaluate`."""
    benchmark = benchmark or benchmark_of(truth)
    if frames is None:
        frame_count = len(np.unique(np.concatenate((truth.frames, found.frames))))
    else:
        frames = frames if isinstance(frames, range) else sorted(set(frames))
        frame_count = len(frames)
        truth, found = (boxes[chosen_frames(boxes.frames, frames)] for boxes in (truth, found))
    overlaps = overlaps_of(truth, found, benchmark)
    counts, overlap = count_clear(overlaps)
    return Scores(frames=frame_count, **counts, overlap=overlap, hota_counts=count_hota(overlaps))
