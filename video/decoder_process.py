"""Reading of a source in a process of its own, into a ring of frames that both processes map."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from fairmot.core import Frame, SourceError
from fairmot.core.processes import (
    PARENT_GONE,
    WorkerProcess,
    arrived,
    how_it_ended,
    log_here,
)
from fairmot.core.records import ByteArray, PixelFormat
from fairmot.video.frame_ring import FrameRing, Returns

SourceFormat = Literal["bgr24", "yuv420p"]

FrameMessage = tuple[int | None, Any, int, float, PixelFormat, Literal["ITU601", "ITU709"], bool]
"""A frame from the worker: its slot with the shape of its pixels, or None with the pixels, and its other fields."""


class Origin(NamedTuple):
    """The arguments of `fairmot.video.sources.open_source` that opened a source, and open it in another process too."""

    spec: str
    pixel_format: SourceFormat
    max_pixels: int


_RETURNED_TOGETHER = 4  # slots; the worker has more than these beyond those that are held here


@dataclass(frozen=True)
class DecodeRequest:
    """The source that a process is to read, and its selection.

    Attributes:
        origin: of the source.
        start, count, stride: see `Source.select`.
        ground_truth: file for the ground truth of a source that makes it as it is read.
    """

    origin: Origin
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
            "fairmot.video.decoder_worker:decode", descriptors=[ring.descriptor, taken.fileno()]
        )
        with suppress(*PARENT_GONE):  # `__next__` reports how it ended
            self._worker.channel.send(request, ring.layout)
        self._received: deque[FrameMessage] = deque()
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
                if self._received:
                    return self._frame(*self._received.popleft())
                self._lent.give_back()
                match self._receive():
                    case ("frames", frames):
                        self._received.extend(frames)
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
        """Return the frame of a message."""
        if slot is not None:
            shape = pixels
            pixels = self._ring.view(slot, shape, self._lent.lend(slot))
            if len(self._lent) == self._ring.layout.slots:
                self._lent.give_back()
            if len(self._lent) == self._ring.layout.slots:
                copied = self._allocate(shape)
                np.copyto(copied, pixels)
                pixels = copied
        return Frame(index, timestamp, pixels, *form)


class _LentSlots:
    """The slots whose frames somebody here holds, and those that will go back with others.

    Args:
        returns: on which they go back.
    """

    def __init__(self, returns: Returns) -> None:
        self._returns = returns
        self._slots: set[int] = set()
        self._free: deque[int] = deque()

    def __len__(self) -> int:
        return len(self._slots)

    def lend(self, slot: int) -> Callable[[], None]:
        """Note that a slot is lent; return what gives it back."""
        self._slots.add(slot)
        return partial(self._free_slot, slot)

    def give_back(self) -> None:
        """Send the slots back that are free; call it before waiting for a frame."""
        numbers = []
        with suppress(IndexError):  # another thread may do the same
            while True:
                numbers.append(self._free.popleft())
        if numbers:
            self._slots.difference_update(numbers)
            self._returns.give(*numbers)

    def _free_slot(self, slot: int) -> None:
        self._free.append(slot)  # atomic, as finalizers must be
        if len(self._free) >= _RETURNED_TOGETHER:
            self.give_back()
