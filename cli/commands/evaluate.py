"""`fairmot evaluate`: scores of results in MOTChallenge text."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fairmot.cli.command import Command
from fairmot.core.console import log_to_stderr
from fairmot.core.files import check_writable, write_whole
from fairmot.core.options import argument, option
from fairmot.core.text import printable

if TYPE_CHECKING:
    from fairmot.tracker.evaluation import Scores

_DESCRIPTION = """\
Score tracking results against ground truth: HOTA, CLEAR MOT and identity measures, for each sequence and for all
together. The numbers are those of TrackEval on the same files. Frames that are missing from the results are misses."""
_DECIMALS = 3


@dataclass(frozen=True)
class Options:
    """The options of `fairmot evaluate`."""

    ground_truth: Path = argument("folder of sequences (MOT17/train), one sequence, or a gt.txt", "GT")
    results: Path = argument("folder with SEQUENCE.txt or SEQUENCE/tracks.txt, or a file", "RESULTS")
    benchmark: Literal["auto", "mot17", "mot15"] = option(
        "whose protocol; auto is mot17 if the (first) ground truth names classes, else mot15", "auto"
    )
    split: Literal["full", "val-half"] = option("val-half is the second half of each sequence", "full")
    sequences: tuple[str, ...] = option("only these; * stands for anything (*-SDP)", (), many=True, metavar="NAME")
    json: Path | None = option("write scores and settings to FILE as well", None, metavar="FILE")


def run(options: Options) -> int:
    """Run the command and return its exit code."""
    from fairmot.core.motchallenge import read_ground_truth
    from fairmot.tracker.evaluation import evaluate_sequence, find_sequences
    from fairmot.tracker.evaluation.overlap import benchmark_of
    from fairmot.tracker.evaluation.report import evaluation_report

    log_to_stderr(logging.WARNING, "%(levelname)s: %(message)s")
    if options.json is not None:
        check_writable(options.json)
    sequences = find_sequences(options.ground_truth, options.results, options.sequences)
    benchmark = options.benchmark
    if benchmark == "auto":
        benchmark = benchmark_of(read_ground_truth(sequences[0].ground_truth))
    scores = {sequence.name: evaluate_sequence(sequence, options.split, benchmark) for sequence in sequences}
    _print(scores, f"{options.results}: {benchmark}, {options.split}")
    if options.json is not None:
        settings = {
            "ground_truth": str(options.ground_truth),
            "results": str(options.results),
            "benchmark": benchmark,
            "split": options.split,
            "sequences": list(options.sequences),
        }
        report = evaluation_report(settings, sequences, scores)
        write_whole(options.json, (json.dumps(report, indent=2, allow_nan=False) + "\n").encode())
    return 0


def _print(scores: Mapping[str, Scores], title: str) -> None:
    """Print the table, no narrower than its numbers need."""
    from rich.console import Console
    from rich.markup import escape
    from rich.measure import Measurement

    from fairmot.tracker.evaluation import score_table
    from fairmot.tracker.evaluation.overlap import MATCH_IOU

    table = score_table(
        {escape(printable(name)): each for name, each in scores.items()},
        f"{escape(printable(title))}, IoU {MATCH_IOU:g}",
        decimals=_DECIMALS,
    )
    console = Console()
    needed = Measurement.get(console, console.options.update(width=10_000), table).maximum
    console.width = max(console.width, needed)
    console.print(table)


COMMAND = Command(
    Options,
    run,
    _DESCRIPTION,
    (
        "fairmot evaluate MOT17/train output --split val-half --sequences '*-SDP'",
        "fairmot evaluate PETS/gt/gt.txt output/PETS/tracks.txt --json scores.json",
    ),
    "fairmot.tracker.evaluation.report",
)
