"""Tracks one source into its folder of results."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from fairmot.app.folders import TRACKS, TRACKS_JSON, VIDEO, ResultFolders, RunFolder, stream_file
from fairmot.app.options import Options
from fairmot.app.pipeline import track_frames
from fairmot.app.report import RUN, RunReport, inputs_of, location_of
from fairmot.app.resume import finished_run
from fairmot.app.scoring import Scored, check_ground_truth, score_run, sequence_length
from fairmot.app.terminal import Terminal
from fairmot.cli.commands.associate import write_results
from fairmot.cli.signals import StopSignals
from fairmot.core import Frame, OutputError, SourceError, StageClock, Tracks
from fairmot.core.failures import explained, traceback_of
from fairmot.core.text import without_secrets
from fairmot.engine import Engine
from fairmot.tracker import FairMOTTracker
from fairmot.tracker.detection_file import StreamWriter
from fairmot.tracker.gmc.flow import CameraMotion
from fairmot.tracker.interpolation import interpolate
from fairmot.tracker.motchallenge import read_results
from fairmot.video import JSONLSink, MOTSink, Sink, Source, VideoSink, WindowSink, open_source
from fairmot.video.sink import create_file

_SIGNAL_EXIT_CODE = 128  # plus the number of the signal, as shells report it


@dataclass(frozen=True)
class Outcome:
    """What became of one source.

    Attributes:
        folder: where its results are.
        exit_code: 0 if it was tracked as asked.
        ends: the user wants no further source.
        scored: how good the tracks are, if that was asked and the run was not broken off.
    """

    folder: Path
    exit_code: int
    ends: bool
    scored: Scored | None


class Session:
    """Tracks one source after the other with the same engine.

    Args:
        options: of the command.
        engine: open.
        clock: the one that the engine adds to.
        terminal: what the user sees.
    """

    def __init__(self, options: Options, engine: Engine, clock: StageClock, terminal: Terminal) -> None:
        self._options = options
        self._engine = engine
        self._clock = clock
        self._terminal = terminal
        self._folders = ResultFolders(Path(options.output))

    def track(self, spec: str) -> Outcome:
        """Track a source, write its results and say how it went.

        A fault in the middle does not raise, whatever it is: what was tracked is kept, and the fault is printed and
        reported.

        Raises:
            UserError: if the source cannot be opened or scored, or its results cannot be written at all.
            Exception: what nobody expected while opening or scoring.
        """
        options = self._options
        pixels: Any = "bgr24" if self._engine.pixel_format == "bgr24" else "yuv420p"
        with open_source(spec, pixel_format=pixels, max_pixels=options.max_pixels) as source:
            source.allocate = self._engine.allocate
            length = sequence_length(spec)
            first = options.start if options.split == "full" else _first_of_half(source, length)
            source.select(first, options.frames, options.stride)
            if options.eval:
                check_ground_truth(source, options)
            location = location_of(spec)
            inputs = inputs_of(options, source, self._engine)
            with self._folders.claim(source.name, location, is_live=source.is_live) as folder:
                files = self._files(folder)
                report = None
                if options.resume:
                    report = finished_run(spec, source, options, inputs, files.all, files.folder)
                if report is not None:
                    self._terminal.line(
                        f"{source.name}: already complete, {report.frames} frames, {report.identities} identities "
                        f"-> {files.folder}"
                    )
                    exit_code = 0
                else:
                    report = RunReport(location, datetime.now().astimezone().isoformat(timespec="seconds"))
                    exit_code = self._track(source, files, report, inputs)
                scored = None
                if options.eval and report.status not in ("failed", "interrupted"):
                    last = _last_scored(report, first, length, options)
                    scored = score_run(source, files.folder, range(first, last + 1, options.stride), options)
        return Outcome(files.folder, exit_code, report.status in ("interrupted", "stopped"), scored)

    def _files(self, claimed: RunFolder) -> _Files:
        """Return where the results of a source go."""
        options, folder = self._options, claimed.path
        stream = None if options.save_detections is None else stream_file(options.save_detections, folder.name)
        return _Files(claimed, folder / VIDEO if options.video else None, stream)

    def _track(self, source: Source, files: _Files, report: RunReport, inputs: Mapping[str, Any]) -> int:
        """Track a source into its files; return the exit code."""
        report.write(files.folder, inputs)
        with StopSignals(source.close) as signals:
            exit_code = self._run(source, files, report, signals)
            files.claimed.give_back()
            try:
                report.write(files.folder, inputs)
            except OutputError as error:
                if report.status != "failed":  # else the disk is full, which has been said
                    exit_code = self._fail(report, error, source.name, files.folder)
            if report.frames:
                self._terminal.line(report.summary(source.name, files.folder))
        return exit_code

    def _fail(self, report: RunReport, error: Exception, name: str, folder: Path) -> int:
        """Note in the report and say what broke a run off; return the exit code."""
        fault = explained(error, name, str(folder / RUN))
        report.status, report.message = "failed", without_secrets(str(fault))
        if fault is not error:
            report.traceback = traceback_of(error)
        self._terminal.error(fault)
        return fault.exit_code

    def _run(self, source: Source, files: _Files, report: RunReport, signals: StopSignals) -> int:
        """Track all frames, fill in the report and return the exit code."""
        options = self._options
        tally = _Tally(keep_numbers=options.interpolate)
        before = self._clock.milliseconds()
        began = time.perf_counter()
        exit_code, stopped = 0, False
        fault: Exception | None = None
        try:
            files.claimed.clear(files.stream)
            if files.stream is not None:
                create_file(files.stream)  # so that a fault is known now, and no link is followed
            with ExitStack() as stack:
                try:
                    stopped = self._loop(stack, source, files, tally)
                except Exception as error:  # kept, since closing the files may fail as well
                    fault = error
            if options.interpolate and fault is None:
                _fill_gaps(files.folder / TRACKS, tally.numbers)
        except Exception as error:
            fault = fault or error
        report.status = "stopped" if stopped else "complete"
        if fault is not None:
            exit_code = self._fail(report, fault, source.name, files.folder)
        elif signals.received is not None:
            name = signal.Signals(signals.received).name
            report.status, report.message = (
                "interrupted",
                f"Stopped by {name} after frame {tally.last}; what was tracked is kept.",
            )
            exit_code = _SIGNAL_EXIT_CODE + signals.received
            self._terminal.warning(report.message)
        elif source.damaged is not None:  # which the source has said in a warning
            report.status, report.message, exit_code = "damaged", source.damaged, SourceError.exit_code
        report.wall_seconds = time.perf_counter() - began
        report.frames, report.first_frame, report.last_frame = tally.frames, tally.first, tally.last
        report.identities = len(tally.ids)
        spent = self._clock.milliseconds()
        report.milliseconds = {
            stage: (total - before.get(stage, 0.0)) / max(tally.frames, 1) for stage, total in spent.items()
        }
        return exit_code

    def _loop(self, stack: ExitStack, source: Source, files: _Files, tally: _Tally) -> bool:
        """Track all frames; the stack closes the files. Return whether the user asked to stop from the window."""
        options = self._options
        rate = source.frame_rate / options.stride
        sinks = self._open_sinks(stack, source, files)
        stream = None
        if files.stream is not None:
            stream = stack.enter_context(StreamWriter(files.stream, rate, source.size))
        progress = stack.enter_context(self._terminal.progress(source.name, source.frame_count))

        def count(frame: Frame, tracks: Tracks) -> None:
            tally.add(frame, tracks)
            progress(frame, tracks)

        return track_frames(
            source,
            self._engine,
            FairMOTTracker(rate, options.tracker),
            sinks,
            clock=self._clock,
            camera=CameraMotion() if options.camera_motion else None,
            stream=stream,
            report=count,
        )

    def _open_sinks(self, stack: ExitStack, source: Source, files: _Files) -> list[Sink]:
        """Open what takes the tracks, first what may not be possible here; the stack closes it."""
        sinks: list[Sink] = []
        if self._options.show:
            sinks.append(stack.enter_context(WindowSink(source.name)))
        if files.video is not None:
            rate = source.frame_rate / self._options.stride
            video = VideoSink(
                files.video, source.size, rate, pixel_aspect=source.pixel_aspect, low_delay=source.is_live
            )
            sinks.append(stack.enter_context(video))
        texts = [MOTSink(files.folder / TRACKS), JSONLSink(files.folder / TRACKS_JSON)]
        return [*map(stack.enter_context, texts), *sinks]


@dataclass(frozen=True)
class _Files:
    """Where the results of a source go; none for what is not wanted."""

    claimed: RunFolder
    video: Path | None
    stream: Path | None

    @property
    def folder(self) -> Path:
        """The folder of everything but the stream."""
        return self.claimed.path

    @property
    def all(self) -> list[Path]:
        """The files of a complete run beside its report."""
        wanted = (self.folder / TRACKS, self.folder / TRACKS_JSON, self.video, self.stream)
        return [path for path in wanted if path is not None]


class _Tally:
    """Counts what went through the loop."""

    def __init__(self, keep_numbers: bool) -> None:
        self.frames = 0
        self.first: int | None = None
        self.last: int | None = None
        self.ids: set[int] = set()
        self.numbers: list[int] = []
        self._keep_numbers = keep_numbers  # not for a camera that runs for months

    def add(self, frame: Frame, tracks: Tracks) -> None:
        self.frames += 1
        self.first = frame.index if self.first is None else self.first
        self.last = frame.index
        self.ids.update(tracks.ids.tolist())
        if self._keep_numbers:
            self.numbers.append(frame.index)


def _first_of_half(source: Source, length: int | None) -> int:
    """Return the number of the first frame of `val-half`.

    Args:
        source: opened, nothing chosen yet.
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


def _fill_gaps(path: Path, frames: list[int]) -> None:
    """Interpolate the tracks in a MOTChallenge text, in the frames that were processed.

    Raises:
        OutputError: if it cannot be replaced; it stays as it was.
    """
    boxes = interpolate(read_results(path))
    write_results(boxes[np.isin(boxes.frames, frames)], path)
