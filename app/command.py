"""The command: from its arguments to the exit code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from app.options import Options, parse
from app.report import SCORES, write_json
from app.session import Session
from app.terminal import Terminal
from core import StageClock, UserError
from engine import open_engine
from video import expand_sources

if TYPE_CHECKING:
    from tracker.evaluation import Scores


def run(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code; what the user can mend becomes a sentence on standard error."""
    terminal = Terminal()
    with terminal.logs():
        try:
            options = parse(arguments)
            clock = StageClock()
            with open_engine(
                options.weights,
                engine=options.engine,
                size=options.input_size,
                score_threshold=options.tracker.minimum_score,
                max_detections=options.max_detections,
                back_projection=options.back_projection,
                threads=options.threads,
                clock=clock,
            ) as engine:
                return _track_all(options, Session(options, engine, clock, terminal), terminal)
        except UserError as error:
            terminal.error(error)
            return error.exit_code


def _track_all(options: Options, session: Session, terminal: Terminal) -> int:
    """Track every source; return the exit code of the first that failed, or of the signal that ended it all."""
    exit_code = 0
    specs: list[str] = []
    for given in options.sources:
        try:
            specs += expand_sources(given)
        except UserError as error:
            terminal.error(error)
            exit_code = exit_code or error.exit_code
    scores: dict[str, Scores] = {}
    for spec in specs:
        try:
            outcome = session.track(spec)
        except UserError as error:
            terminal.error(error)
            exit_code = exit_code or error.exit_code
            continue
        if outcome.scores is not None:
            scores[outcome.folder.name] = outcome.scores
        if outcome.ends:
            exit_code = outcome.exit_code
            break
        exit_code = exit_code or outcome.exit_code
    if scores:
        _report_scores(scores, Path(options.output) if len(specs) > 1 else None, terminal)
    return exit_code


def _report_scores(scores: dict[str, Scores], folder: Path | None, terminal: Terminal) -> None:
    """Print the table of all sources; write it, with their sum, into a folder if there is one."""
    from tracker.evaluation import Scores, score_table

    terminal.table(score_table(scores))
    if folder is not None:
        combined = Scores.combined(scores.values())
        write_json(
            folder / SCORES,
            {"combined": combined.to_dict(), "sequences": {name: each.to_dict() for name, each in scores.items()}},
        )
