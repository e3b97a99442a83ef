"""The sink that writes the annotated video in a process of its own, which reads the frames from their ring."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from fairmot.core import Frame, OutputError, Tracks
from fairmot.core.packing import Packed, pack, unpack
from fairmot.core.processes import (
    PARENT_GONE,
    Channel,
    WorkerProcess,
    arrived,
    forwarded_logs,
    how_it_ended,
    log_here,
    portable,
)
from fairmot.core.records import ByteArray
from fairmot.video.frame_ring import FrameRing, Returns
from fairmot.video.sink import Sink
from fairmot.video.video_sink import VideoSink

MOST_HELD = 8
"""Frames that the process may hold: those that its `VideoSink` has queued and draws, and a few on the way."""


class VideoProcess(Sink):
    """A `VideoSink` in a worker process.

    A frame in the ring is sent as the number of its slot, any other frame with its pixels. The worker gets
    `MOST_HELD` frames at most before `write` waits for it; each is kept here until the worker is done with it.

    Args:
        ring: where the frames lie.
        path: the file.
        *arguments: further ones for `VideoSink`, as are the options.

    Raises:
        OSError: if the process cannot be started.
        OutputError: see `VideoSink`.
    """

    def __init__(self, ring: FrameRing, path: Path | str, *arguments: Any, **options: Any) -> None:
        self._ring = ring
        self._path = Path(path)
        self._held: dict[int, Frame] = {}
        self._written = 0
        self._error: Exception | None = None
        self._failed = False
        self._is_ready = False
        self._closed = False
        self._done, given = Returns.pair()
        self._worker = WorkerProcess(
            "fairmot.video.video_process:write_video", descriptors=[ring.descriptor, given.fileno()]
        )
        del given  # the worker's alone, so that `take` notices its end
        self._send(ring.layout, self._path, arguments, options)
        try:
            while not (self._is_ready or self._failed):
                self._receive()
            self._raise_error()
        except BaseException:
            self._worker.end()
            raise

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Hand a frame over, waiting while the worker has many.

        Raises:
            OutputError: if an earlier frame could not be written, or the worker was ended by someone else.
        """
        self._take_back()
        while not self._failed and self._worker.channel.poll():
            self._receive()
        self._raise_error()
        if self._failed:
            return
        self._written += 1
        self._held[self._written] = frame
        slot = self._ring.slot_of(frame.pixels)
        content = frame.pixels if slot is None else frame.pixels.shape
        form = frame.pixel_format, frame.color_space, frame.full_range
        self._send("frame", self._written, slot, content, frame.index, frame.timestamp, form, pack(tracks))

    def close(self) -> None:
        """Wait until all frames are written and the file is finished.

        Raises:
            OutputError: if frames could not be written and `write` has not raised that yet.
        """
        if self._closed:
            return
        self._closed = True
        self._send("close")
        while self._receive():
            pass
        self._worker.end()
        self._held.clear()
        self._raise_error()

    def _take_back(self) -> None:
        """Let go of the frames that the worker is done with, waiting for one if it has many."""
        try:
            while not self._failed:
                for number in self._done.take(wait=len(self._held) >= MOST_HELD):
                    del self._held[number]
                if len(self._held) < MOST_HELD:
                    return
        except EOFError:
            self._receive_rest()

    def _send(self, *message: Any) -> None:
        try:
            self._worker.channel.send(*message)
        except PARENT_GONE:
            self._receive_rest()

    def _receive(self) -> bool:
        """Handle a message of the worker; return whether further ones may follow."""
        try:
            kind, *content = self._worker.channel.receive()
        except (*PARENT_GONE, OSError):  # OSError where it ended in the midst of a message, or was ended here
            ending = how_it_ended(self._worker.end())
            self._fail(
                OutputError(
                    f"{self._path}: the process that writes the video {ending}; if the system did that for lack of "
                    "memory, leave the video out with --no-video."
                )
            )
            return False
        if kind == "log":
            log_here(*content)
        elif kind == "error":
            self._fail(arrived(*content))
        self._is_ready = kind == "ready"
        return bool(kind != "closed")

    def _receive_rest(self) -> None:
        while self._receive():
            pass

    def _fail(self, error: Exception) -> None:
        if not self._failed:
            self._error, self._failed = error, True

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error


def write_video(channel: Channel, memory: int, returned: int) -> None:
    """Write the video of the frames that a `VideoProcess` sends, as a worker process.

    The file is finished also when the parent is gone.

    Args:
        channel: to the parent.
        memory: descriptor of the ring.
        returned: descriptor on which the numbers of frames that are done go back.
    """
    layout, path, arguments, options = channel.receive()
    ring, done = FrameRing(layout, memory), Returns(returned)
    with forwarded_logs(channel):
        try:
            sink = VideoSink(path, *arguments, **options)
        except Exception as error:
            channel.send("error", *portable(error))
            return
        channel.send("ready")
        try:
            while (message := channel.receive())[0] == "frame":
                _attempt(channel, sink.write, *_unpacked(ring, done, *message[1:]))
                del message
        finally:
            _attempt(channel, sink.close)
        channel.send("closed")


def _attempt(channel: Channel, call: Callable[..., None], *arguments: Any) -> None:
    try:
        call(*arguments)
    except Exception as error:
        channel.send("error", *portable(error))


def _unpacked(
    ring: FrameRing,
    done: Returns,
    number: int,
    slot: int | None,
    content: Any,
    index: int,
    timestamp: float,
    form: tuple[Any, ...],
    packed: Packed,
) -> tuple[Frame, Tracks]:
    """Return a frame, whose number goes back when its pixels are gone, and its tracks."""
    give_back = partial(done.give, number)
    if slot is None:
        pixels: ByteArray = content
        weakref.finalize(pixels, give_back).atexit = False
    else:
        pixels = ring.view(slot, content, give_back)
    return Frame(index, timestamp, pixels, *form), unpack(Tracks, packed)
