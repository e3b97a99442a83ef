"""Tracks one source into its folder of results."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from app.folders import TRACKS, TRACKS_JSON, VIDEO, ResultFolders, clear
from app.options import Options
from app.pipeline import track_frames
from app.report import SCORES, RunReport, location_of, write_json
from app.signals import StopSignals
from app.terminal import Terminal
from core import Frame, OutputError, SourceError, StageClock, Tracks, UserError
from engine import Engine
from tracker import FairMOTTracker
from video import JSONLSink, MOTSink, Sink, Source, VideoSink, WindowSink, open_source

if TYPE_CHECKING:
    from tracker.evaluation import Scores

_SIGNAL_EXIT_CODE = 128  # plus the number of the signal, as shells report it


@dataclass(frozen=True)
class Outcome:
    """What became of one source.

    Attributes:
        folder: where its results are.
        exit_code: 0 if it was tracked as asked.
        ends: the user wants no further source.
        scores: how good the tracks are, if that was asked and the run was not broken off.
    """

    folder: Path
    exit_code: int
    ends: bool
    scores: Scores | None


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

        A fault in the middle does not raise: what was tracked is kept, and the fault is printed and reported.

        Raises:
            UserError: if the source cannot be opened or scored, or its results cannot be written at all.
        """
        options = self._options
        with open_source(
            spec,
            start=options.start,
            count=options.frames,
            stride=options.stride,
            pixel_format="bgr24" if self._engine.pixel_format == "bgr24" else "yuv420p",
        ) as source:
            if options.eval:
                _check_ground_truth(source)
            location = location_of(spec)
            folder = self._folders.claim(source.name, location)
            report = RunReport(location, datetime.now().astimezone().isoformat(timespec="seconds"))
            report.write(folder, options, source, self._engine)
            clear(folder)
            tally = _Tally(keep_numbers=options.eval)
            with StopSignals(source.close) as signals:
                exit_code = self._run(source, folder, report, tally, signals)
                self._finish(report, folder, source)
            scores = None
            if options.eval and report.status not in ("failed", "interrupted"):
                scores = _score(source, folder, tally.numbers)
        return Outcome(folder, exit_code, report.status in ("interrupted", "stopped"), scores)

    def _run(self, source: Source, folder: Path, report: RunReport, tally: _Tally, signals: StopSignals) -> int:
        """Track all frames, fill in the report and return the exit code."""
        tracker = FairMOTTracker(source.frame_rate / self._options.stride, self._options.tracker)
        before = self._clock.milliseconds()
        began = time.perf_counter()
        exit_code = 0
        try:
            with ExitStack() as stack:
                sinks = self._open_sinks(stack, source, folder)
                progress = stack.enter_context(self._terminal.progress(source.name, source.frame_count))

                def count(frame: Frame, tracks: Tracks) -> None:
                    tally.add(frame, tracks)
                    progress(frame, tracks)

                stopped = track_frames(source, self._engine, tracker, sinks, clock=self._clock, report=count)
            report.status = "stopped" if stopped else "complete"
            if signals.received is not None:
                name = signal.Signals(signals.received).name
                report.status, report.message = (
                    "interrupted",
                    f"Stopped by {name} after frame {tally.last}; what was tracked is kept.",
                )
                exit_code = _SIGNAL_EXIT_CODE + signals.received
                self._terminal.warning(report.message)
            elif source.damaged is not None:  # which the source has said in a warning
                report.status, report.message, exit_code = "damaged", source.damaged, SourceError.exit_code
        except UserError as error:
            report.status, report.message, exit_code = "failed", str(error), error.exit_code
            self._terminal.error(error)
        report.wall_seconds = time.perf_counter() - began
        report.frames, report.first_frame, report.last_frame = tally.frames, tally.first, tally.last
        report.identities = len(tally.ids)
        spent = self._clock.milliseconds()
        report.milliseconds = {
            stage: (total - before.get(stage, 0.0)) / max(tally.frames, 1) for stage, total in spent.items()
        }
        return exit_code

    def _open_sinks(self, stack: ExitStack, source: Source, folder: Path) -> list[Sink]:
        """Open what takes the tracks; the stack closes it."""
        options = self._options
        sinks: list[Sink] = []
        if options.show:
            sinks.append(stack.enter_context(WindowSink(source.name)))
        sinks.append(stack.enter_context(MOTSink(folder / TRACKS)))
        sinks.append(stack.enter_context(JSONLSink(folder / TRACKS_JSON)))
        if options.video:
            video = VideoSink(folder / VIDEO, source.size, source.frame_rate / options.stride)
            sinks.append(stack.enter_context(video))
        return sinks

    def _finish(self, report: RunReport, folder: Path, source: Source) -> None:
        """Write the report and print the summary line."""
        try:
            report.write(folder, self._options, source, self._engine)
        except OutputError:
            if report.status != "failed":  # else the disk is full, which has been said
                raise
        self._terminal.line(report.summary(source.name, folder))


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


def _check_ground_truth(source: Source) -> None:
    """Raise unless there is ground truth that can be read."""
    from tracker.motchallenge import read_ground_truth

    if source.ground_truth is None:
        raise SourceError(
            f"{source.name} has no ground truth to score against; leave out --eval, or put it in gt/gt.txt beside the "
            "images of a MOTChallenge sequence."
        )
    read_ground_truth(source.ground_truth)


def _score(source: Source, folder: Path, frames: list[int]) -> Scores:
    """Score the tracks in the frames that were processed, and write the scores."""
    from tracker.evaluation import evaluate  # takes a second that other runs need not spend

    assert source.ground_truth is not None
    scores = evaluate(source.ground_truth, folder / TRACKS, frames)
    write_json(folder / SCORES, scores.to_dict())
    return scores
