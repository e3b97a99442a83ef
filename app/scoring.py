"""Scores of a run: the check of its ground truth before it, the scores and their table after it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.table import Table

from fairmot.app.json_files import write_json
from fairmot.app.options import Options
from fairmot.app.run_folder import SCORES, RunFolder
from fairmot.core import ConfigError, SourceError, UserError
from fairmot.core.motchallenge import Boxes, read_ground_truth, read_tracks
from fairmot.core.sequence_info import read_sequence_info
from fairmot.core.tracked_classes import TrackedClasses
from fairmot.video import Source

if TYPE_CHECKING:  # takes a second to load, which runs that are not scored need not spend
    from fairmot.tracker.evaluation import Benchmark, Scores

# What fits into 80 columns; scores.json has all.
_MEASURES = {"HOTA": "hota", "MOTA": "mota", "IDF1": "idf1"}
_COUNTS = {"switches": "switches", "misses": "misses", "FP": "false_positives", "boxes": "gt_boxes"}


@dataclass(frozen=True)
class Scored:
    """The scores of one source.

    Attributes:
        scores: all measures.
        benchmark: whose rules apply.
        split: part of the source that was tracked.
    """

    scores: Scores
    benchmark: Benchmark
    split: str

    def to_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        return {"benchmark": self.benchmark, "split": self.split, **self.scores.to_dict()}


def sequence_length(spec: str) -> int | None:
    """Return the number of frames that `seqinfo.ini` states for a MOTChallenge sequence, None for anything else."""
    info = Path(spec) / "seqinfo.ini"
    return read_sequence_info(info).length if os.path.isfile(info) else None


def check_ground_truth(source: Source, options: Options) -> None:
    """Raise unless there is ground truth that can be read and is of the benchmark that was asked for.

    Raises:
        UserError: if not.
    """
    from fairmot.tracker.evaluation.overlap import overlaps_of

    if source.ground_truth is None:
        raise SourceError(
            f"{source.name} has no ground truth to score against; leave out --eval, or put it in gt/gt.txt beside the "
            "images of a MOTChallenge sequence."
        )
    truth = read_ground_truth(source.ground_truth)
    try:
        overlaps_of(truth, truth[:0], _benchmark(options, truth))
    except UserError as error:
        raise UserError(f"{source.ground_truth}: {error}") from error


def check_classes(classes: TrackedClasses) -> None:
    """Raise unless the classes of a run can be scored: one, or several of which one is people.

    Raises:
        ConfigError: if they cannot.
    """
    if classes.several and not classes.person_ids:
        raise ConfigError("--eval scores people, and none of the tracked classes is person; leave it out.")


def score_run(source: Source, folder: RunFolder, frames: range, options: Options, classes: TrackedClasses) -> Scored:
    """Score the tracks in `folder` in these frames, of several classes those of people, and write the scores.

    In frames without tracks everybody was missed, also where the image could not be read.

    Raises:
        UserError: if a file cannot be read.
        OutputError: if the scores cannot be written.
    """
    from fairmot.tracker.evaluation import score

    assert source.ground_truth is not None
    truth = read_ground_truth(source.ground_truth)
    benchmark = _benchmark(options, truth)
    found = read_tracks(folder.tracks)
    if classes.several and found.class_ids is not None:
        found = found[np.isin(found.class_ids, np.array(classes.person_ids) + 1)]
    scored = Scored(score(truth, found, frames, benchmark), benchmark, options.split)
    write_json(folder.scores, scored.to_dict())
    return scored


def write_combined(scored: Mapping[str, Scored], folder: Path) -> None:
    """Write the scores of several sources and those of all together into `folder`."""
    from fairmot.tracker.evaluation import Scores

    combined = Scores.combined(each.scores for each in scored.values())
    sequences = {name: each.to_dict() for name, each in scored.items()}
    write_json(folder / SCORES, {"combined": combined.to_dict(), "sequences": sequences})


def table_of(scored: Mapping[str, Scored]) -> Table:
    """Return a table with a row for each source, and one for all where there are several; for 80 columns."""
    from fairmot.tracker.evaluation import Scores

    ways = sorted({f"{each.benchmark}, {each.split}" for each in scored.values()})
    table = Table(title=f"scores ({'; '.join(ways)})", box=box.SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("sequence", overflow="fold")
    for heading in (*_MEASURES, *_COUNTS):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, each in scored.items():
        table.add_row(name, *_cells(each.scores))
    if len(scored) > 1:
        table.add_section()
        table.add_row("combined", *_cells(Scores.combined(each.scores for each in scored.values())), style="bold")
    return table


def _benchmark(options: Options, truth: Boxes) -> Benchmark:
    from fairmot.tracker.evaluation.overlap import benchmark_of

    return benchmark_of(truth) if options.benchmark == "auto" else options.benchmark


def _cells(scores: Scores) -> list[str]:
    """Return the text of one row."""
    shares = [getattr(scores, name) for name in _MEASURES.values()]
    counts = [getattr(scores, name) for name in _COUNTS.values()]
    return [*("-" if math.isnan(share) else f"{100 * share:.1f}" for share in shares), *map(str, counts)]
