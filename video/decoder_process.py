"""Reading of a source in a process of its own, into a ring of frames that both processes map."""

from __future__ import annotations

import logging
import os
import select
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fairmot.core import Frame, SourceError
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

if TYPE_CHECKING:
    from fairmot.video.source import SourceFormat


class DecodeRequest(NamedTuple):
    """The source that a process is to read, and its selection.

    Attributes:
        spec: see `fairmot.video.sources.open_source`, as for `pixel_format` and `max_pixels`.
        pixel_format: see there.
        max_pixels: see there.
        start, count, stride: see `Source.select`.
        ground_truth: file for the ground truth of a source that makes it as it is read.
    """

    spec: str
    pixel_format: SourceFormat
    max_pixels: int
    start: int
    count: int | None
    stride: int
    ground_truth: Path | None


class DecoderProcess(Iterator[Frame]):
    """An iterator of the frames that a worker process reads into a ring.

    A frame is a view of its slot, which goes back to the worker with the last array that views it. The worker never
    runs out of slots, whatever is held here: the frame that would take its last one is copied out of the ring.

    Args:
        request: the source to read.
        name: of the source, for messages.
        ring: for its frames.
        allocate: returns memory of a shape for a frame that is copied.
        report_damage: receives `Source.damaged` when it changes.

    Raises:
        OSError: if the process cannot be started.
    """

    def __init__(
        self,
        request: DecodeRequest,
        name: str,
        ring: FrameRing,
        *,
        allocate: Callable[[tuple[int, ...]], ByteArray],
        report_damage: Callable[[str], None],
    ) -> None:
        self._name = name
        self._ring = ring
        self._allocate = allocate
        self._report_damage = report_damage
        taken, given = Returns.pair()
        self._lent = _LentSlots(given)
        self._worker = WorkerProcess(
            "fairmot.video.decoder_process:decode", descriptors=[ring.descriptor, taken.fileno()]
        )
        with suppress(*PARENT_GONE):  # `__next__` reports how it ended
            self._worker.channel.send(request, ring.layout)
        self._receiving = threading.Lock()
        self._closed = False
        self._finished = False

    def __next__(self) -> Frame:
        """Return the next frame.

        Raises:
            SourceError: if the process was ended by someone else.
            Exception: whatever reading the source raises there.
        """
        with self._receiving:
            while not (self._closed or self._finished):
                match self._receive():
                    case ("frame", slot, pixels, *fields):
                        return self._frame(slot, pixels, *fields)
                    case ("log", *record):
                        log_here(*record)
                    case ("damaged", text):
                        self._report_damage(text)
                    case ("error", *error):
                        self._finished = True
                        raise arrived(*error)
                    case _:
                        self._finished = True
            raise StopIteration

    def close(self) -> None:
        """End the process, from any thread; frames already taken stay valid. Does nothing the second time."""
        self._closed = True
        self._worker.channel.shut_down()  # wakes whoever waits for a frame, and ends the worker
        with self._receiving:
            self._worker.end()

    def _receive(self) -> tuple[Any, ...]:
        try:
            return self._worker.channel.receive()
        except (*PARENT_GONE, OSError):  # OSError where it ended in the midst of a message
            if self._closed:
                return ("end",)
            self._finished = True
            raise SourceError(
                f"The process that reads {self._name} {how_it_ended(self._worker.end())}; if the system did that for "
                "lack of memory, lower --batch. --pipeline threads does without the process."
            ) from None

    def _frame(self, slot: int | None, pixels: Any, index: int, timestamp: float, *form: Any) -> Frame:
        """Return a frame, given its pixels or, with a slot, their shape."""
        if slot is not None:
            shape = pixels
            pixels = self._ring.view(slot, shape, self._lent.lend(slot))
            if len(self._lent) == self._ring.layout.slots:
                copied = self._allocate(shape)
                np.copyto(copied, pixels)
                pixels = copied
        return Frame(index, timestamp, pixels, *form)


class _LentSlots:
    """The slots whose frames somebody here holds.

    Args:
        returns: on which they go back.
    """

    def __init__(self, returns: Returns) -> None:
        self._returns = returns
        self._slots: set[int] = set()

    def __len__(self) -> int:
        return len(self._slots)

    def lend(self, slot: int) -> Callable[[], None]:
        """Note that a slot is lent; return what gives it back."""
        self._slots.add(slot)
        return partial(self._give_back, slot)

    def _give_back(self, slot: int) -> None:
        self._slots.discard(slot)  # atomic, as finalizers must be
        self._returns.give(slot)


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
    from fairmot.video.sources import open_source  # which imports this module

    source = open_source(
        request.spec,
        start=request.start,
        count=request.count,
        stride=request.stride,
        pixel_format=request.pixel_format,
        max_pixels=request.max_pixels,
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
        size, room = int(np.prod(shape)), self._ring.layout.slot_bytes
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
