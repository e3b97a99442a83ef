"""The process that reads a source into a ring of frames, for `fairmot.video.decoder_process`."""

from __future__ import annotations

import logging
import math
import os
import select
import threading
from collections import deque

import numpy as np

from fairmot.core.processes import Channel, forwarded_logs, portable
from fairmot.core.records import ByteArray
from fairmot.video.decoder_process import DecodeRequest
from fairmot.video.frame_ring import FrameRing, Returns
from fairmot.video.sources import open_source


def decode(channel: Channel, memory: int, returned: int) -> None:
    """Read a source into a ring, as a worker process; sends what `DecoderProcess` takes.

    Args:
        channel: to the parent.
        memory: descriptor of the ring.
        returned: descriptor on which free slots come back.
    """
    threading.Thread(target=_end_with, args=[channel], daemon=True).start()
    request, layout = channel.receive()
    logging.getLogger("fairmot").addHandler(logging.NullHandler())  # the parent has logged what opening it logs
    try:
        _read(channel, request, _Slots(FrameRing(layout, memory), Returns(returned)))
    except Exception as error:
        channel.send("error", *portable(error))
    else:
        channel.send("end")


def _read(channel: Channel, request: DecodeRequest, slots: _Slots) -> None:
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
                channel.send("damaged", damaged)
            if frame is None:
                return
            pixels, slot = frame.pixels, slots.place(frame.pixels)
            channel.send(
                *("frame", slot, pixels if slot is None else pixels.shape, frame.index, frame.timestamp),
                *(frame.pixel_format, frame.color_space, frame.full_range),
            )


def _end_with(channel: Channel) -> None:
    """End this process at once when its parent has closed the channel, also inside a call that takes long."""
    hung_up = select.poll()
    hung_up.register(channel.fileno(), 0)
    hung_up.poll()
    os._exit(0)


class _Slots:
    """The slots of a ring, from the side that fills them.

    Args:
        ring: where they are.
        returns: on which they come back.
    """

    def __init__(self, ring: FrameRing, returns: Returns) -> None:
        self._ring = ring
        self._returns = returns
        self._free = deque(range(ring.layout.slots))
        self._filled: int | None = None

    def allocate(self, shape: tuple[int, ...]) -> ByteArray:
        """Return the memory of a slot for a frame, waiting for a free one; other memory if the frame does not fit."""
        size, room = math.prod(shape), self._ring.layout.slot_bytes
        if size > room:
            return np.empty(shape, np.uint8)
        if self._filled is None:  # else the frame for it has come to nothing
            if not self._free:
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
