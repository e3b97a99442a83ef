"""The command: from its arguments to the exit code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from app.folders import check_stream_file
from app.options import Options, parse
from app.scoring import Scored, table_of, write_combined
from app.session import Session
from app.terminal import Terminal
from core import StageClock, UserError
from engine import open_engine
from video import expand_sources


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
                precision=options.precision,
                dcn=options.dcn,
                batch=options.batch,
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
    if options.save_detections is not None:
        check_stream_file(options.save_detections, len(specs))
    scored: dict[str, Scored] = {}
    for spec in specs:
        try:
            outcome = session.track(spec)
        except UserError as error:
            terminal.error(error)
            exit_code = exit_code or error.exit_code
            continue
        if outcome.scored is not None:
            scored[outcome.folder.name] = outcome.scored
        if outcome.ends:
            exit_code = outcome.exit_code
            break
        exit_code = exit_code or outcome.exit_code
    if scored:
        terminal.table(table_of(scored))
        if len(specs) > 1:
            write_combined(scored, Path(options.output))
            if len(scored) < len(specs):
                terminal.warning(f"The combined scores lack {len(specs) - len(scored)} of {len(specs)} sources.")
    return exit_code
