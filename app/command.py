"""A tracking run: from its options to the exit code, for the command `fairmot track`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from fairmot.app.folders import check_detection_file
from fairmot.app.options import Options
from fairmot.app.scoring import Scored, check_classes, table_of, write_combined
from fairmot.app.session import Session
from fairmot.app.terminal import Terminal
from fairmot.core import StageClock, UserError
from fairmot.core.failures import explained
from fairmot.core.text import without_secrets
from fairmot.core.tracked_classes import TrackedClasses
from fairmot.engine import ModelInfo, open_engine
from fairmot.video import expand_sources


def track(options: Options) -> int:
    """Track every source and return the exit code; errors are printed as one line each on standard error."""
    terminal = Terminal()
    with terminal.logs():
        try:
            model = ModelInfo.read(options.engine.weights)
            options = replace(options, tracker=options.tracker.resolved(model.score_threshold))
            classes = TrackedClasses.of(model.class_names, options.classes)
            if options.eval:
                check_classes(classes)
            clock, least = StageClock(), options.tracker.minimum_score
            with open_engine(options.engine, clock=clock, score_threshold=least, model=model) as engine:
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
        except Exception as error:
            failure = explained(error, subject=without_secrets(given))
            terminal.error(failure)
            exit_code = exit_code or failure.exit_code
    if options.save_detections is not None:
        check_detection_file(options.save_detections, len(specs))
    scored: dict[str, Scored] = {}
    for spec in specs:
        try:
            outcome = session.track(spec)
        except Exception as error:
            failure = explained(error, subject=without_secrets(spec))
            terminal.error(failure)
            exit_code = exit_code or failure.exit_code
            continue
        if outcome.scored is not None:
            scored[outcome.folder.name] = outcome.scored
        if outcome.ends:
            exit_code = outcome.exit_code
            break
        exit_code = exit_code or outcome.exit_code
    if scored:
        try:
            _report_scores(scored, len(specs), Path(options.output), terminal)
        except Exception as error:
            failure = explained(error)
            terminal.error(failure)
            exit_code = exit_code or failure.exit_code
    return exit_code


def _report_scores(scored: Mapping[str, Scored], source_count: int, folder: Path, terminal: Terminal) -> None:
    """Print the scores of the sources, and write those of all together."""
    terminal.table(table_of(scored))
    if source_count > 1:
        write_combined(scored, folder)
        if len(scored) < source_count:
            terminal.warning(f"The combined scores lack {source_count - len(scored)} of {source_count} sources.")
