"""One run: a source tracked into its folder, from the first report to the last."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fairmot.app.latency import LatencyHistogram
from fairmot.app.options import Options
from fairmot.app.pipeline import run_pipeline
from fairmot.app.report import RunReport
from fairmot.app.run_folder import RUN, RunFolder
from fairmot.app.stages import shared_frames
from fairmot.app.terminal import Terminal
from fairmot.app.tracking_process import TrackingProcess, track_in_process
from fairmot.app.tracking_worker import TrackingPlan
from fairmot.core import Frame, OutputError, SourceError, StageClock, Tracks
from fairmot.core.failures import explained, traceback_of
from fairmot.core.motchallenge import read_tracks
from fairmot.core.signals import StopSignals
from fairmot.core.text import without_secrets
from fairmot.core.tracked_classes import TrackedClasses
from fairmot.engine import Engine
from fairmot.tracker.association import write_results
from fairmot.tracker.gmc.flow import OpticalFlowGMC
from fairmot.tracker.interpolation import interpolate
from fairmot.video import Sink, Source, VideoSink, WindowSink
from fairmot.video.frame_ring import FrameRing
from fairmot.video.subtitle_sink import CopiedSource
from fairmot.video.video_process import VideoProcess

_SIGNAL_EXIT_CODE = 128  # plus the number of the signal, as shells report it


@dataclass(frozen=True)
class Ending:
    """The ending of a run.

    Attributes:
        status, message, traceback: see `RunReport`.
        exit_code: 0 if the source was tracked as asked.
    """

    status: str
    message: str | None = None
    traceback: str | None = None
    exit_code: int = 0


class Stopping(Protocol):
    """What `StopSignals` is inside its `with` block.

    Attributes:
        received: number of the signal that asked to stop, or None.
    """

    @property
    def received(self) -> int | None:
        """The number."""


UntilStopped = Callable[[Callable[[], object]], AbstractContextManager[Stopping]]
"""Called with what ends a run; `StopSignals`, or what stands for it where signals come in another way."""


class Run:
    """One run over an open source.

    Args:
        source: open, its frames selected.
        folder: claimed for the source.
        options: of the command.
        engine: open.
        classes: of its model, and which of them are tracked.
        clock: the one that the engine adds to.
        terminal: for messages.
        until_stopped: stops the run when a signal comes.
    """

    def __init__(
        self,
        source: Source,
        folder: RunFolder,
        options: Options,
        engine: Engine,
        classes: TrackedClasses,
        clock: StageClock,
        terminal: Terminal,
        until_stopped: UntilStopped = StopSignals,
    ) -> None:
        self._source = source
        self._folder = folder
        self._options = options
        self._engine = engine
        self._classes = classes
        self._clock = clock
        self._terminal = terminal
        self._until_stopped = until_stopped

    def execute(self, location: str, inputs: Mapping[str, Any]) -> tuple[RunReport, int]:
        """Track the source into its folder, and return the report and the exit code.

        An error in the middle does not raise, whatever it is: what was tracked is kept, and the error is printed and
        reported.

        Args:
            location: of the source.
            inputs: of the run, see `fairmot.app.report.inputs_of`.

        Raises:
            OutputError: if nothing can be written into the folder.
        """
        started = RunReport(location, datetime.now().astimezone().isoformat(timespec="seconds"))
        self._folder.write_report(started, inputs)
        with self._until_stopped(self._source.close) as signals:
            tally = _Tally(self._source, self._clock, self._options)
            stopped, error = self._track(tally)
            ending = self._failure(error) if error is not None else self._ending(tally, stopped, signals.received)
            report = tally.report(started, ending)
            try:
                self._folder.write_report(report, inputs)
            except OutputError as error:
                if report.status != "failed":  # else the disk is full, which has been printed
                    ending = self._failure(error)
                    report = replace(report, status=ending.status, message=ending.message, traceback=ending.traceback)
            if report.frames:
                self._terminal.line(report.summary(self._source.name, self._folder.path))
        return report, ending.exit_code

    def _track(self, tally: _Tally) -> tuple[bool, Exception | None]:
        """Track all frames; return whether the user asked to stop from the window, and what broke the run off."""
        stopped, error = False, None
        try:
            self._folder.clear()
            with ExitStack() as stack:
                try:
                    stopped = self._loop(stack, tally)
                except Exception as caught:  # kept, since closing the files may fail as well
                    error = caught
            if self._options.interpolate and error is None:
                _fill_gaps(self._folder.tracks, tally.numbers)
        except Exception as caught:
            error = error or caught
        return stopped, error

    def _failure(self, error: Exception) -> Ending:
        """Print what broke the run off."""
        shown = explained(error, self._source.name, str(self._folder.path / RUN))
        self._terminal.error(shown)
        traceback = traceback_of(error) if shown is not error else None
        return Ending("failed", without_secrets(str(shown)), traceback, shown.exit_code)

    def _ending(self, tally: _Tally, stopped: bool, received: int | None) -> Ending:
        """Return how a run without an error ended; warn if a signal ended it."""
        if received is not None:
            name = signal.Signals(received).name
            message = f"Stopped by {name} after frame {tally.last}; what was tracked is kept."
            self._terminal.warning(message)
            return Ending("interrupted", message, exit_code=_SIGNAL_EXIT_CODE + received)
        if self._source.damaged is not None:  # the source has logged that as a warning
            return Ending("damaged", self._source.damaged, exit_code=SourceError.exit_code)
        return Ending("stopped" if stopped else "complete")

    def _loop(self, stack: ExitStack, tally: _Tally) -> bool:
        """Track all frames; the stack closes the files. Return whether the user asked to stop from the window."""
        source, options, folder = self._source, self._options, self._folder
        rate = source.frame_rate / options.stride
        subtitles = None
        if folder.video is not None and options.overlay == "subtitles":
            subtitles = folder.video, CopiedSource.of(source)
        plan = TrackingPlan(
            *(rate, source.size, options.tracker, self._classes),
            *(folder.tracks, folder.tracks_json, folder.csv, folder.detections),
            subtitles,
        )
        ring = shared_frames(stack, options, source, self._engine)
        process = None
        if ring is not None and not options.gmc:  # which needs the pixels
            process = stack.enter_context(TrackingProcess(source.name))
        sinks = self._open_sinks(stack, rate, ring)
        if process is not None:
            process.open(plan)
        else:
            sinks = [*plan.open_sinks(stack), *sinks]
        progress = stack.enter_context(self._terminal.progress(source.name, source.frame_count))
        if source.is_live:  # else its first frames would come late, and those after them not at all
            self._engine.warm_up(source.sample())
            tally.start()

        def count(frame: Frame, tracks: Tracks) -> None:
            tally.add(frame, tracks)
            progress(frame, tracks)

        if process is not None:
            return track_in_process(source, self._engine, process, sinks, clock=self._clock, report=count)
        return run_pipeline(
            *(source, self._engine, plan.new_tracker(), sinks),
            classes=self._classes,
            clock=self._clock,
            gmc=OpticalFlowGMC() if options.gmc else None,
            writer=plan.open_writer(stack),
            report=count,
        )

    def _open_sinks(self, stack: ExitStack, rate: float, ring: FrameRing | None) -> list[Sink]:
        """Open the sinks of images; the stack closes them.

        Args:
            stack: see above.
            rate: of the frames.
            ring: with the frames, if a process is to write the video.
        """
        source, folder, names = self._source, self._folder, self._classes.shown_names
        sinks: list[Sink] = []
        if self._options.show:
            sinks.append(stack.enter_context(WindowSink(source.name, names)))
        if folder.video is not None and self._options.overlay == "drawn":
            video: Sink = (VideoSink if ring is None else partial(VideoProcess, ring))(
                folder.video,
                source.size,
                rate,
                pixel_aspect=source.pixel_aspect,
                low_delay=source.is_live,
                class_names=names,
                max_size=self._options.video_size,
                max_frame_rate=self._options.video_fps,
            )
            sinks.append(stack.enter_context(video))
        return sinks


class _Tally:
    """Counts and times the frames of a run.

    Args:
        source: of the run.
        clock: of the stages, which may hold the time of earlier runs.
        options: of the command; the number of every frame is kept only to interpolate, since a camera may run for
            months.
    """

    def __init__(self, source: Source, clock: StageClock, options: Options) -> None:
        self.last: int | None = None
        self.numbers: list[int] = []
        self._first: int | None = None
        self._frames = 0
        self._ids: set[int] = set()
        self._source = source
        self._stride = options.stride
        self._delays = LatencyHistogram() if source.is_live else None
        self._keep_numbers = options.interpolate
        self._clock = clock
        self.start()

    def start(self) -> None:
        """Count the time from now on."""
        self._before = self._clock.milliseconds()
        self._began = time.perf_counter()

    def add(self, frame: Frame, tracks: Tracks) -> None:
        self._frames += 1
        self._first = frame.index if self._first is None else self._first
        self.last = frame.index
        self._ids.update(tracks.ids.tolist())
        if self._delays is not None:  # a live source is tracked frame by frame, so this one was taken last
            self._delays.add(time.monotonic() - self._source.arrived)
        if self._keep_numbers:
            self.numbers.append(frame.index)

    def report(self, started: RunReport, ending: Ending) -> RunReport:
        """Return the report of the run up to now."""
        spent = self._clock.milliseconds()
        frames = max(self._frames, 1)
        delays, dropped = None, None
        if self._delays is not None:
            delays = self._delays.summary()
            dropped = len(range(self._first or 1, (self.last or 0) + 1, self._stride)) - self._frames
        return RunReport(
            started.location,
            started.started,
            status=ending.status,
            message=ending.message,
            traceback=ending.traceback,
            frames=self._frames,
            first_frame=self._first,
            last_frame=self.last,
            identities=len(self._ids),
            wall_seconds=time.perf_counter() - self._began,
            milliseconds={stage: (total - self._before.get(stage, 0.0)) / frames for stage, total in spent.items()},
            latency_ms=delays,
            dropped=dropped,
        )


def _fill_gaps(path: Path, frames: list[int]) -> None:
    """Interpolate the tracks in a MOTChallenge text, in the frames that were processed.

    Raises:
        OutputError: if it cannot be replaced; it stays as it was.
    """
    boxes = interpolate(read_tracks(path))
    write_results(boxes[np.isin(boxes.frames, frames)], path)
