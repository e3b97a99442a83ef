"""The command `fairmot evaluate GT RESULTS`: scores of results in MOTChallenge text."""

from __future__ import annotations

import argparse
import json
import logging
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement

from fairmot.core.console import ArgumentParser, log_to_stderr
from fairmot.core.files import check_writable, write_whole
from fairmot.core.motchallenge import read_ground_truth
from fairmot.core.text import printable
from fairmot.tracker.evaluation import BENCHMARKS, SPLITS, Scores, evaluate_sequence, find_sequences, score_table
from fairmot.tracker.evaluation.overlap import DISTRACTORS, MATCH_IOU, benchmark_of
from fairmot.tracker.evaluation.sequences import ScoredSequence

_DESCRIPTION = """\
Score tracking results against ground truth: HOTA, CLEAR MOT and identity measures, for each sequence and for all
together. The numbers are those of TrackEval on the same files. Frames that are missing from the results are misses."""
_DECIMALS = 3
_RUN, _RUN_SETTINGS = "run.json", ("configuration", "engine", "model", "versions")
_log = logging.getLogger("fairmot.tracker.evaluation")
_PACKAGES = ("fairmot-tensorrt", "motmetrics", "numpy", "scipy")


def run(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(arguments)
    log_to_stderr(logging.WARNING, "%(levelname)s: %(message)s")
    if options.json:
        check_writable(options.json)
    sequences = find_sequences(options.ground_truth, options.results, options.sequences)
    if options.benchmark is None:
        options.benchmark = benchmark_of(read_ground_truth(sequences[0].ground_truth))
    scores = {sequence.name: evaluate_sequence(sequence, options.split, options.benchmark) for sequence in sequences}
    _print(scores, options)
    if options.json:
        _write(options.json, _report(options, sequences, scores))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = ArgumentParser("fairmot evaluate", description=_DESCRIPTION)
    parser.add_argument(
        "ground_truth", metavar="GT", type=Path, help="folder of sequences (MOT17/train), one sequence, or a gt.txt"
    )
    parser.add_argument(
        "results", metavar="RESULTS", type=Path, help="folder with SEQUENCE.txt or SEQUENCE/tracks.txt, or a file"
    )
    parser.add_argument(
        "--benchmark",
        choices=BENCHMARKS,
        help="whose protocol; by default mot17 if the (first) ground truth names classes, else mot15",
    )
    parser.add_argument(
        "--split", choices=SPLITS, default="full", help="val-half is the second half of each sequence; default full"
    )
    parser.add_argument(
        "--sequences", nargs="+", default=[], metavar="NAME", help="only these; * stands for anything (*-SDP)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write scores and settings to FILE as well")
    return parser


def _print(scores: Mapping[str, Scores], options: argparse.Namespace) -> None:
    """Print the table, no narrower than its numbers need."""
    title = f"{escape(printable(options.results))}: {options.benchmark}, {options.split}, IoU {MATCH_IOU:g}"
    table = score_table({escape(printable(name)): each for name, each in scores.items()}, title, decimals=_DECIMALS)
    console = Console()
    needed = Measurement.get(console, console.options.update(width=10_000), table).maximum
    console.width = max(console.width, needed)
    console.print(table)


def _report(
    options: argparse.Namespace, sequences: Sequence[ScoredSequence], scores: Mapping[str, Scores]
) -> dict[str, Any]:
    """Return everything that `--json` writes: the scores, how they were made, and how the results were."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "settings": {
            "ground_truth": str(options.ground_truth),
            "results": str(options.results),
            "benchmark": options.benchmark,
            "split": options.split,
            "sequences": options.sequences,
            "match_iou": MATCH_IOU,
            "distractor_classes": DISTRACTORS if options.benchmark == "mot17" else (),
            "versions": versions,
        },
        "combined": Scores.combined(scores.values()).to_dict(),
        "sequences": {name: each.to_dict() for name, each in scores.items()},
        "runs": {sequence.name: _run_settings(sequence.results.parent / _RUN) for sequence in sequences},
    }


def _run_settings(path: Path) -> dict[str, Any] | None:
    """Return the settings from the `run.json` that the tracker has left beside its results, if there is one."""
    if not path.is_file():
        return None
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return {name: facts[name] for name in _RUN_SETTINGS if name in facts}
    except (OSError, ValueError, TypeError) as error:
        _log.warning("The settings of the run in %s cannot be read: %s", path, error)
        return None


def _write(path: Path, report: Mapping[str, Any]) -> None:
    write_whole(path, (json.dumps(report, indent=2, allow_nan=False) + "\n").encode())
