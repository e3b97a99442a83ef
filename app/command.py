"""A tracking run: from its options to the exit code, for the command `fairmot track`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fairmot.app.folders import check_detection_file
from fairmot.app.job_plan import JobPlan, chosen_gpus, engine_for, plan_jobs, use_gpu
from fairmot.app.jobs import track_in_jobs
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
            gpus = chosen_gpus(options)
            given = _Given.of(options)
            plan = plan_jobs(options, given.specs, gpus)
            if plan is not None:
                return _track_at_once(options, given, plan, terminal)
            if gpus:
                use_gpu(gpus[0])
            clock, least, settings = StageClock(), options.tracker.minimum_score, engine_for(options, gpus)
            with open_engine(settings, clock=clock, score_threshold=least, model=model) as engine:
                return _track_in_turn(options, given, Session(options, engine, clock, terminal), terminal)
        except UserError as error:
            terminal.error(error)
            return error.exit_code


@dataclass(frozen=True)
class _Given:
    """The sources of a command.

    Attributes:
        specs: as for `open_source`.
        failures: why some arguments stand for no source.
    """

    specs: Sequence[str]
    failures: Sequence[UserError]

    @classmethod
    def of(cls, options: Options) -> _Given:
        specs: list[str] = []
        failures: list[UserError] = []
        for argument in options.sources:
            try:
                specs += expand_sources(argument)
            except Exception as error:
                failures.append(explained(error, subject=without_secrets(argument)))
        return cls(specs, failures)

    def begin(self, options: Options, terminal: Terminal) -> int:
        """Print the failures and return the exit code of the first, 0 without any.

        Raises:
            ConfigError: if there is one detection file for several sources.
        """
        for failure in self.failures:
            terminal.error(failure)
        if options.save_detections is not None:
            check_detection_file(options.save_detections, len(self.specs))
        return self.failures[0].exit_code if self.failures else 0


def _track_in_turn(options: Options, given: _Given, session: Session, terminal: Terminal) -> int:
    """Track every source; return the exit code of the first that failed, or of the signal that ended it all."""
    exit_code = given.begin(options, terminal)
    scored: dict[str, Scored] = {}
    for spec in given.specs:
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
    failed = _report_scores(scored, options, given, terminal)
    return exit_code or failed


def _track_at_once(options: Options, given: _Given, plan: JobPlan, terminal: Terminal) -> int:
    """Track the sources in several processes; see `_track_in_turn`."""
    exit_code = given.begin(options, terminal)
    result = track_in_jobs(options, given.specs, plan, terminal)
    outcomes = [source.outcome for source in result.sources if source.outcome is not None]
    scored = {outcome.folder.name: outcome.scored for outcome in outcomes if outcome.scored is not None}
    failure = _report_scores(scored, options, given, terminal)
    terminal.line(result.summary())
    return (result.exit_code if result.was_stopped else exit_code or result.exit_code) or failure


def _report_scores(scored: Mapping[str, Scored], options: Options, given: _Given, terminal: Terminal) -> int:
    """Print the scores of the sources, and write those of all together; return the exit code."""
    source_count = len(given.specs)
    try:
        if scored:
            terminal.table(table_of(scored))
        if scored and source_count > 1:
            write_combined(scored, Path(options.output))
            if len(scored) < source_count:
                terminal.warning(f"The combined scores lack {source_count - len(scored)} of {source_count} sources.")
    except Exception as error:
        failure = explained(error)
        terminal.error(failure)
        return failure.exit_code
    return 0
