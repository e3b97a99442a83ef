"""Association and all results but images: what a run needs for them, and the process that makes them of detections.

Messages from the parent: the `TrackingPlan`, then `("frames", [(index, timestamp, detections), ...])` for each batch,
and `("close",)`. Messages to it: what `forwarded_logs` sends, `("ready", None)`, then
`("tracks", [tracks, ...], milliseconds by stage, error)` for each batch, and `("ended", error)`. An error is None or
what `portable` returns; after one, further batches are not answered.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from fairmot.core import Detections, Frame, StageClock
from fairmot.core.packing import Packed, pack, unpack
from fairmot.core.processes import PARENT_GONE, Channel, forwarded_logs, portable
from fairmot.core.tracked_classes import TrackedClasses
from fairmot.tracker import FairMOTTracker
from fairmot.tracker.detection_file import DetectionWriter
from fairmot.tracker.settings import TrackerSettings
from fairmot.video.sink import CSVSink, JSONLSink, MOTSink, Sink
from fairmot.video.subtitle_sink import CopiedSource, SubtitleSink

# The parent waits for the thread that receives where a batch is larger than what a socket holds (Python's own: 5 ms).
_SWITCH_SECONDS = 0.0005
_NO_PIXELS = np.zeros((1, 1, 3), np.uint8)  # text does without


@dataclass(frozen=True)
class TrackingPlan:
    """The association of a run, and the files for what it receives and returns.

    Attributes:
        frame_rate: of the frames that are tracked.
        size: of the frames, `(width, height)`.
        settings: of the tracker.
        classes: of the model, and which of them are tracked.
        tracks, tracks_json, csv, detections: files; the last two may be None.
        subtitles: file for a copy of the video with subtitles, and what is copied; or None.
    """

    frame_rate: float
    size: tuple[int, int]
    settings: TrackerSettings
    classes: TrackedClasses
    tracks: Path
    tracks_json: Path
    csv: Path | None
    detections: Path | None
    subtitles: tuple[Path, CopiedSource] | None

    def new_tracker(self) -> FairMOTTracker:
        """Return a tracker for the run."""
        return FairMOTTracker(self.frame_rate, self.settings, self.classes.names)

    def open_sinks(self, stack: ExitStack) -> list[Sink]:
        """Open the sinks, first that which may not be possible here; the stack closes them.

        Raises:
            OutputError: if a file cannot be made.
            UserError: see `SubtitleSink`.
        """
        last: list[Sink] = []
        if self.subtitles is not None:
            path, copied = self.subtitles
            names = self.classes.shown_names
            last.append(stack.enter_context(SubtitleSink(path, copied, self.frame_rate, class_names=names)))
        sinks: list[Sink] = [
            stack.enter_context(MOTSink(self.tracks, self.classes.shown_names)),
            stack.enter_context(JSONLSink(self.tracks_json, self.classes.shown_names)),
        ]
        if self.csv is not None:
            sinks.append(stack.enter_context(CSVSink(self.csv, self.classes.names)))
        return sinks + last

    def open_writer(self, stack: ExitStack) -> DetectionWriter | None:
        """Open the detection file if there is to be one; the stack closes it.

        Raises:
            OutputError: if it cannot be made.
        """
        if self.detections is None:
            return None
        return stack.enter_context(DetectionWriter(self.detections, self.frame_rate, self.size, self.classes))


def associate(channel: Channel) -> None:
    """Track and write what the parent sends, as a worker process.

    What was sent is written also when the parent is gone; the detection file then stays a log, since its path may be
    another run's by now.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)
    (plan,) = channel.receive()
    inbox: SimpleQueue[tuple[Any, ...] | None] = SimpleQueue()
    # In a thread, so that the parent never has to wait for this process where that waits for the parent.
    threading.Thread(target=_receive_all, args=[channel, inbox], name="inbox", daemon=True).start()
    with forwarded_logs(channel):
        try:
            results = _Results(plan)
        except Exception as error:
            channel.send("ended", portable(error))
            return
        channel.send("ready", None)
        while (message := inbox.get()) is not None and message[0] == "frames":
            if not results.failed:
                answer = results.add(message[1])
                with suppress(*PARENT_GONE):
                    channel.send("tracks", *answer)
        channel.send("ended", results.close(parent_gone=message is None))


def _receive_all(channel: Channel, inbox: SimpleQueue[tuple[Any, ...] | None]) -> None:
    """Put what the parent sends into a queue, and None when it is gone."""
    try:
        while True:
            inbox.put(channel.receive())
    except (*PARENT_GONE, OSError):  # OSError where it ended in the midst of a message
        pass
    finally:
        inbox.put(None)


class _Results:
    """The tracker of a run, and the files for what it receives and returns.

    Args:
        plan: for them.

    Attributes:
        failed: whether a frame could not be tracked or written; none may follow.
    """

    def __init__(self, plan: TrackingPlan) -> None:
        self.failed = False
        self._classes = plan.classes
        self._tracker = plan.new_tracker()
        with ExitStack() as files, ExitStack() as detections:
            self._sinks = plan.open_sinks(files)
            self._writer = plan.open_writer(detections)
            self._files, self._detections = files.pop_all(), detections.pop_all()

    def add(
        self, frames: Sequence[tuple[int, float, Packed]]
    ) -> tuple[list[Packed], dict[str, float], tuple[Exception, str] | None]:
        """Track and write frames; return the tracks of those that were written, milliseconds by stage, and an error."""
        clock, tracks, error = StageClock(), list[Packed](), None
        try:
            for index, timestamp, packed in frames:
                tracks.append(self._add(index, timestamp, unpack(Detections, packed), clock))
        except Exception as caught:
            self.failed, error = True, portable(caught)
        return tracks, clock.milliseconds(), error

    def _add(self, index: int, timestamp: float, detected: Detections, clock: StageClock) -> Packed:
        detections = self._classes.only(detected)
        if self._writer is not None:
            self._writer.add(index, detections, timestamp)
        with clock("track"):
            tracks = self._tracker.update(detections, timestamp)
        with clock("write"):
            frame = Frame(index, timestamp, _NO_PIXELS)
            for sink in self._sinks:
                sink.write(frame, tracks)
        return pack(tracks)

    def close(self, *, parent_gone: bool) -> tuple[Exception, str] | None:
        """Finish the files, but for the detection file if the parent is gone; return the error if one cannot be."""
        try:
            with self._files:
                if not parent_gone:
                    self._detections.close()
        except Exception as error:
            return portable(error)
        return None
