"""The process that reads a source into a ring of frames, for `fairmot.video.decoder_process`."""

from __future__ import annotations

import fcntl
import logging
import math
import os
import select
import struct
import termios
import threading
from collections import deque
from collections.abc import Callable

import numpy as np

from fairmot.core.processes import Channel, forwarded_logs, portable
from fairmot.core.records import ByteArray
from fairmot.video.decoder_process import DecodeRequest, FrameMessage
from fairmot.video.frame_ring import FrameRing, Returns
from fairmot.video.sources import open_source
from fairmot.video.video_source import limit_decoder_threads

_MOST_TOGETHER = 8  # frames in a message; a batch of the engine, as a rule
_MOST_THREADS = 8
_INT = struct.Struct("i")


def decode(channel: Channel, memory: int, returned: int) -> None:
    """Read a source into a ring, as a worker process; sends what `DecoderProcess` takes.

    Args:
        channel: to the parent.
        memory: descriptor of the ring.
        returned: descriptor on which free slots come back.
    """
    threading.Thread(target=_end_with, args=[channel], daemon=True).start()
    limit_decoder_threads(decoder_threads())
    request, layout = channel.receive()
    logging.getLogger("fairmot").addHandler(logging.NullHandler())  # the parent has logged what opening it logs
    outbox = _Outbox(channel)
    slots = _Slots(FrameRing(layout, memory), Returns(returned), before_waiting=outbox.flush)
    try:
        _read(channel, request, slots, outbox)
    except Exception as error:
        outbox.flush()
        channel.send("error", *portable(error))
    else:
        outbox.flush()
        channel.send("end")


def decoder_threads() -> int:
    """Return how many threads decode a video beside a process that feeds a GPU: half the cores, at most 8.

    On hosts with hyper-threads that is every core once; FFmpeg's own choice, a thread for each and one more, takes time
    from the process that feeds the GPU. The bound itself is not measured on such a host.
    """
    return max(1, min(_MOST_THREADS, len(os.sched_getaffinity(0)) // 2))


def _read(channel: Channel, request: DecodeRequest, slots: _Slots, outbox: _Outbox) -> None:
    spec, pixel_format, max_pixels = request.origin
    source = open_source(
        spec,
        start=request.start,
        count=request.count,
        stride=request.stride,
        pixel_format=pixel_format,
        max_pixels=max_pixels,
    )
    damaged: str | None = None
    with source, forwarded_logs(channel):
        source.allocate = slots.allocate
        if request.ground_truth is not None:
            source.write_ground_truth_to(request.ground_truth)
        frames = source.read_here()
        while True:
            frame = next(frames, None)
            if source.damaged is not None and source.damaged != damaged:
                damaged = source.damaged
                outbox.flush()
                channel.send("damaged", damaged)
            if frame is None:
                return
            pixels, slot = frame.pixels, slots.place(frame.pixels)
            content = pixels if slot is None else pixels.shape
            form = frame.pixel_format, frame.color_space, frame.full_range
            outbox.add((slot, content, frame.index, frame.timestamp, *form))


def _end_with(channel: Channel) -> None:
    """End this process at once when its parent has closed the channel, also inside a call that takes long."""
    hung_up = select.poll()
    hung_up.register(channel.fileno(), 0)
    hung_up.poll()
    os._exit(0)


class _Outbox:
    """Frames on the way to the parent: one at a time where it waits for it, else several in a message.

    Args:
        channel: to the parent.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._frames: list[FrameMessage] = []

    def add(self, frame: FrameMessage) -> None:
        """Send a frame, now or with further ones."""
        self._frames.append(frame)
        has_pixels = frame[0] is None  # so that messages stay small
        if has_pixels or len(self._frames) >= _MOST_TOGETHER or not self._has_unread():
            self.flush()

    def _has_unread(self) -> bool:
        """Return whether the parent has yet to read what was sent before."""
        unread = fcntl.ioctl(self._channel.fileno(), termios.TIOCOUTQ, bytes(_INT.size))
        return bool(_INT.unpack(unread)[0])

    def flush(self) -> None:
        """Send the frames that wait."""
        if self._frames:
            self._channel.send("frames", self._frames)
            self._frames = []


class _Slots:
    """The slots of a ring, from the side that fills them.

    Args:
        ring: where they are.
        returns: on which they come back.
        before_waiting: called before waiting for one.
    """

    def __init__(self, ring: FrameRing, returns: Returns, before_waiting: Callable[[], object]) -> None:
        self._ring = ring
        self._returns = returns
        self._before_waiting = before_waiting
        self._free = deque(range(ring.layout.slots))
        self._filled: int | None = None

    def allocate(self, shape: tuple[int, ...]) -> ByteArray:
        """Return the memory of a slot for a frame, waiting for a free one; other memory if the frame does not fit."""
        size, room = math.prod(shape), self._ring.layout.slot_bytes
        if size > room:
            return np.empty(shape, np.uint8)
        if self._filled is None:  # else the frame for it has come to nothing
            if not self._free:
                self._free.extend(self._returns.take(wait=False))
            if not self._free:
                self._before_waiting()
                self._free.extend(self._returns.take(wait=True))
            self._filled = self._free.popleft()
        start = self._filled * room
        return self._ring.memory[start : start + size].reshape(shape)

    def place(self, pixels: ByteArray) -> int | None:
        """Return the number of the slot with the pixels of a frame, copied if they lie elsewhere; None if none fits."""
        if pixels.nbytes > self._ring.layout.slot_bytes:
            return None
        slot = self._ring.slot_of(pixels)
        if slot is None:
            np.copyto(self.allocate(pixels.shape), pixels)
            slot = self._filled
        self._filled = None
        return slot
