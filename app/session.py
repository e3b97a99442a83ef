"""A session: one source after the other with the same engine, each tracked, resumed and scored as asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairmot.app.folders import ResultFolders
from fairmot.app.location import location_of
from fairmot.app.options import Options
from fairmot.app.report import RunReport, inputs_of
from fairmot.app.run import Run, UntilStopped
from fairmot.app.scoring import Scored, check_ground_truth, score_run, sequence_length
from fairmot.app.terminal import Terminal
from fairmot.core import SourceError, StageClock
from fairmot.core.signals import StopSignals
from fairmot.core.tracked_classes import TrackedClasses
from fairmot.engine import Engine
from fairmot.video import Source, open_source
from fairmot.video.sources import names_path
from fairmot.video.subtitle_sink import check_copyable


@dataclass(frozen=True)
class Outcome:
    """The outcome of one source.

    Attributes:
        folder: of its results.
        frames: number of frames that were tracked now.
        exit_code: 0 if it was tracked as asked.
        ends: whether the user wants no further source.
        scored: scores of the tracks, if they were asked for and the run did not break off.
    """

    folder: Path
    frames: int
    exit_code: int
    ends: bool
    scored: Scored | None


class Session:
    """Tracks one source after the other with the same engine.

    Args:
        options: of the command.
        engine: open.
        clock: the one that the engine adds to.
        terminal: for messages.
        folders: hands out the folders of the sources; those of the options if not given.
        until_stopped: see `Run`.
    """

    def __init__(
        self,
        options: Options,
        engine: Engine,
        clock: StageClock,
        terminal: Terminal,
        *,
        folders: ResultFolders | None = None,
        until_stopped: UntilStopped = StopSignals,
    ) -> None:
        self._options = options
        self._engine = engine
        self._clock = clock
        self._terminal = terminal
        self._classes = TrackedClasses.of(engine.model.class_names, options.classes)
        self._folders = folders or ResultFolders.of(options)
        self._until_stopped = until_stopped

    def track(self, spec: str) -> Outcome:
        """Track a source, write its results and return the outcome.

        An error while it is tracked does not raise, see `Run.execute`.

        Raises:
            UserError: if the source cannot be opened or scored, or its results cannot be written at all.
            Exception: whatever else is raised while opening or scoring.
        """
        options, engine = self._options, self._engine
        pixels: Any = "bgr24" if engine.pixel_format == "bgr24" else "yuv420p"
        with open_source(spec, pixel_format=pixels, max_pixels=options.max_pixels) as source:
            source.allocate = engine.allocate
            length = sequence_length(spec)
            first = options.start if options.split == "full" else _first_of_half(source, length)
            source.select(first, options.frames, options.stride)
            if options.video and options.overlay == "subtitles":
                check_copyable(source)
            if options.eval:
                check_ground_truth(source, options)
            location = location_of(spec)
            inputs = inputs_of(options, source, engine)
            with self._folders.claim(source.name, location, is_live=source.is_live) as folder:
                report, exit_code, frames = None, 0, 0
                if options.resume and _is_repeatable(spec, source, options):
                    report = folder.complete_report(inputs)
                if report is not None:
                    self._terminal.line(
                        f"{source.name}: already complete, {report.frames} frames, {report.identities} identities "
                        f"-> {folder.path}"
                    )
                else:
                    run = Run(
                        *(source, folder, options, engine, self._classes, self._clock, self._terminal),
                        until_stopped=self._until_stopped,
                    )
                    report, exit_code = run.execute(location, inputs)
                    frames = report.frames
                scored = None
                if options.eval and report.status not in ("failed", "interrupted"):
                    last = _last_scored(report, first, length, options)
                    scored = score_run(source, folder, range(first, last + 1, options.stride), options, self._classes)
        return Outcome(folder.path, frames, exit_code, report.status in ("interrupted", "stopped"), scored)


def _is_repeatable(spec: str, source: Source, options: Options) -> bool:
    """Return whether a source is the same when it is opened again: a file or folder, and its ground truth in it."""
    truth = source.ground_truth if options.eval else None
    return not source.is_live and names_path(spec) and (truth is None or truth.is_relative_to(spec))


def _first_of_half(source: Source, length: int | None) -> int:
    """Return the number of the first frame of `val-half`.

    Args:
        source: opened, nothing selected yet.
        length: number of frames of a MOTChallenge sequence.
    """
    from fairmot.tracker.evaluation import split_frames  # takes a second to load

    length = length or source.frame_count
    if length is None:
        raise SourceError(f"The length of {source.name} is not known, so it has no half; leave out --split.")
    return split_frames(length, "val-half").start


def _last_scored(report: RunReport, first: int, length: int | None, options: Options) -> int:
    """Return the number of the last frame to score; of a complete sequence it need not have been readable.

    Args:
        report: of the run.
        first: number of the first frame.
        length: number of frames of a MOTChallenge sequence.
        options: of the command.
    """
    if length is None or report.status not in ("complete", "damaged"):  # a damaged sequence was read to its end
        return report.last_frame or 0
    return length if options.frames is None else min(length, first + (options.frames - 1) * options.stride)
