"""Association and text results in a process of their own: the side of the process that feeds the engine.

The other side, and the messages, are in `fairmot.app.tracking_worker`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from types import TracebackType
from typing import Any, Literal

from fairmot.app.pipeline import read_batches, write_frames
from fairmot.app.tracking_worker import TrackingPlan
from fairmot.core import Detections, Frame, StageClock, Tracks, UserError
from fairmot.core.packing import Packed, pack, unpack
from fairmot.core.processes import PARENT_GONE, WorkerProcess, arrived, how_it_ended, log_here
from fairmot.engine import Engine
from fairmot.video import Sink, Source

# So many that a pause of either process (the garbage collector, a scene with many objects) does not stop the other.
_FRAMES_IN_FLIGHT, _BATCHES_IN_FLIGHT = 16, 3


def batches_in_flight(engine: Engine) -> int:
    """Return how many batches, whose frames are held, may wait for their tracks."""
    return max(_BATCHES_IN_FLIGHT, -(-_FRAMES_IN_FLIGHT // engine.max_batch))


class TrackingProcess:
    """A context manager for the process that associates detections and writes text and detection file.

    Args:
        name: of the source, for messages.

    Raises:
        OSError: if the process cannot be started.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._in_flight: deque[Sequence[Frame]] = deque()
        self._error: Exception | None = None
        self._state: Literal["new", "ready", "ended"] = "new"
        self._stopping = False
        self._worker = WorkerProcess("fairmot.app.tracking_worker:associate")

    def open(self, plan: TrackingPlan) -> None:
        """Open the files of a plan, for a run.

        Raises:
            OutputError: if one cannot be made.
            UserError: if the process was ended by someone else.
        """
        self._send(plan)
        while self._state == "new":
            self._receive()
        self._raise_error()

    def track(
        self,
        source: Source,
        engine: Engine,
        *,
        clock: StageClock,
        report: Callable[[Frame, Tracks], object],
    ) -> Generator[tuple[Frame, Tracks], None, None]:
        """Track the objects of a source; see `fairmot.app.pipeline.track_frames`.

        Args:
            source: open, at its first frame; not live.
            engine: detects objects.
            clock: accumulates the seconds of the stages `read` and `exchange`, and those of the process: `track` and
                `write`.
            report: called for each frame whose tracks are written, also if it is not yielded any more.

        Yields:
            Each frame and the tracks in it, some batches after it was detected.

        Raises:
            SourceError: if the source fails while reading.
            OutputError: if a file cannot be written.
            Exception: whatever else source, engine and tracker raise.
        """
        most = batches_in_flight(engine)
        batches = read_batches(source, engine.max_batch, clock)
        failure: Exception | None = None
        try:
            with closing(engine.detect_batches(batches, engine.prefetch_batches)) as found:
                try:
                    for frames, detections in found:
                        with clock("exchange"):
                            self._in_flight.append(frames)
                            self._send("frames", _packed(frames, detections))
                        yield from self._tracked(most, clock, report)
                        if self._stopping:
                            break
                except Exception as error:  # what was detected before comes first
                    failure = error
            yield from self._tracked(0, clock, report)
            if failure is not None:
                raise failure
        finally:  # what is in flight is written
            while self._in_flight:
                self._next(clock, report)

    def stop(self) -> None:
        """Let `track` end after the frames in flight."""
        self._stopping = True

    def close(self) -> None:
        """Wait until the files are finished.

        Raises:
            OutputError: if one cannot be, and `track` has not raised that.
            UserError: if the process was ended by someone else, and `track` has not raised that.
        """
        if self._state == "ready":
            self._send("close")
            while self._state == "ready":
                self._receive()
        self._worker.end()
        self._raise_error()

    def __enter__(self) -> TrackingProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _tracked(
        self, most: int, clock: StageClock, report: Callable[[Frame, Tracks], object]
    ) -> Iterator[tuple[Frame, Tracks]]:
        """Yield frames whose tracks have come, waiting until at most so many batches are in flight."""
        while self._in_flight and (len(self._in_flight) > most or self._worker.channel.poll()):
            yield from self._next(clock, report)
            self._raise_error()

    def _next(self, clock: StageClock, report: Callable[[Frame, Tracks], object]) -> list[tuple[Frame, Tracks]]:
        """Return the frames of the next message with their tracks, none if it has none."""
        tracked: list[tuple[Frame, Tracks]] = []
        with clock("exchange"):
            packed, milliseconds = self._receive()
            if packed is not None:  # fewer than frames where one could not be written
                frames = self._in_flight.popleft()
                tracked = [(frame, unpack(Tracks, each)) for frame, each in zip(frames, packed, strict=False)]
        for stage, spent in milliseconds.items():
            clock.add(stage, spent / 1000)
        for each in tracked:
            report(*each)
        if self._error is not None:
            self._in_flight.clear()
        return tracked

    def _send(self, *message: Any) -> None:
        with suppress(*PARENT_GONE, OSError):  # that the process is gone is noticed when reading
            self._worker.channel.send(*message)

    def _receive(self) -> tuple[Sequence[Packed] | None, Mapping[str, float]]:
        """Handle the next message; return the tracks of a batch and what the stages took, in milliseconds."""
        try:
            kind, *content = self._worker.channel.receive()
        except (*PARENT_GONE, OSError):  # OSError where it ended in the midst of a message
            self._state = "ended"
            self._error = UserError(
                f"{self._name}: the process that tracks {how_it_ended(self._worker.end())}; what it wrote is kept. If "
                "the system did that for lack of memory, lower --batch; --pipeline threads does without the process."
            )
            return None, {}
        if kind == "log":
            log_here(*content)
            return None, {}
        if kind == "tracks":
            packed, milliseconds, error = content
        else:
            self._state = kind
            packed, milliseconds, error = None, {}, content[0]
        if error is not None:
            self._error = arrived(*error)
        return packed, milliseconds

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error


def track_in_process(
    source: Source,
    engine: Engine,
    process: TrackingProcess,
    sinks: Sequence[Sink],
    *,
    clock: StageClock,
    report: Callable[[Frame, Tracks], object],
) -> bool:
    """Do what `fairmot.app.pipeline.run_pipeline` does, with tracker and text in a process.

    Args:
        source: open, at its first frame; not live.
        engine: detects objects.
        process: open.
        sinks: of video; they receive every frame with its tracks, after its text is written.
        clock: accumulates the seconds of all stages.
        report: called after the text of each frame is written.

    Returns:
        True if a sink asked to stop.

    Raises:
        Exception: see `TrackingProcess.track`, and what the sinks raise.
    """
    frames = process.track(source, engine, clock=clock, report=report)
    return write_frames(frames, sinks, clock=clock, stop=process.stop)


def _packed(frames: Sequence[Frame], detections: Sequence[Detections]) -> list[tuple[int, float, Packed]]:
    return [(frame.index, frame.timestamp, pack(found)) for frame, found in zip(frames, detections, strict=True)]
