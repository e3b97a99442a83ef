"""A ring of frames in memory that processes share, and the way back for what their readers are done with.

The memory is anonymous (`memfd_create`): it has no name that a killed process could leave behind, and is gone with the
last process that maps it. A frame in it is an ordinary NumPy array; when no array views its slot any more, in whatever
order the readers let go of it, the slot can be filled again.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import os
import select
import struct
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, cast

import numpy as np

from fairmot.core.records import ByteArray

_MOST_BYTES = 2**30  # 80 frames of 4K as YUV planes; what does not fit is copied out of the ring by its consumer
_FEWEST_SLOTS = 4
_DECODED_AHEAD = 16  # as the prefetch thread holds at most
_NUMBER = struct.Struct("<I")
_MOST_RETURNED = 4096  # numbers taken at once


class RingLayout(NamedTuple):
    """The layout of a ring, by which another process maps it.

    Attributes:
        slot_bytes: room of a slot, whole pages.
        slots: number of slots.
    """

    slot_bytes: int
    slots: int

    @classmethod
    def fitting(cls, frame_bytes: int, held: int) -> RingLayout:
        """Return the layout for frames of a size.

        Args:
            frame_bytes: of the largest frame.
            held: frames that the consumers hold at the same time. Where they do not fit into the bound of the ring,
                further frames are copied, which costs time and no progress.
        """
        slot_bytes = -(-frame_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        return cls(slot_bytes, max(_FEWEST_SLOTS, min(held + _DECODED_AHEAD, _MOST_BYTES // slot_bytes)))


class FrameRing:
    """Slots for frames in shared memory, mapped into this process.

    Args:
        layout: of the ring.
        descriptor: of the memory, where another process has made it; the caller closes it.

    Attributes:
        layout: see above.
        descriptor: of the memory, for other processes; -1 after `close`.
        memory: all of it, as `(n,)` uint8.

    Raises:
        OSError: if there is no memory for it.
    """

    def __init__(self, layout: RingLayout, descriptor: int | None = None) -> None:
        self.layout = layout
        size = layout.slot_bytes * layout.slots
        self._is_ours = descriptor is None
        if descriptor is None:
            descriptor = os.memfd_create("fairmot-frames")
            try:
                os.ftruncate(descriptor, size)
            except BaseException:
                os.close(descriptor)
                raise
        self.descriptor = descriptor
        self._map = mmap.mmap(descriptor, size)
        self.memory: ByteArray = np.frombuffer(self._map, np.uint8)
        self._address = _address(self.memory)

    def view(self, slot: int, shape: Sequence[int], when_gone: Callable[[], object]) -> ByteArray:
        """Return a slot's memory as an array of a shape.

        Args:
            slot: number of the slot, from 0.
            shape: of the array, which fits into the slot.
            when_gone: called once when neither the array nor a view of it is left, by whichever thread drops the last;
                it must take no lock, since that may happen anywhere. What holds the array may outlive the ring.
        """
        size = math.prod(shape)
        if size > self.layout.slot_bytes:
            raise ValueError(f"{tuple(shape)} does not fit into a slot of {self.layout.slot_bytes} bytes")
        buffer = (ctypes.c_ubyte * size).from_buffer(self._map, slot * self.layout.slot_bytes)
        weakref.finalize(buffer, when_gone).atexit = False
        return np.frombuffer(cast(Any, buffer), np.uint8).reshape(shape)

    def slot_of(self, pixels: ByteArray) -> int | None:
        """Return the number of the slot that an array fills from its beginning, None if it lies elsewhere."""
        slot, rest = divmod(_address(pixels) - self._address, self.layout.slot_bytes)
        is_in = rest == 0 and 0 <= slot < self.layout.slots and pixels.flags.c_contiguous
        return slot if is_in and pixels.nbytes <= self.layout.slot_bytes else None

    def close(self) -> None:
        """Close the descriptor; the memory goes with the last array that views it, in any process."""
        if self._is_ours and self.descriptor >= 0:
            os.close(self.descriptor)
        self.descriptor = -1


def _address(array: ByteArray) -> int:
    return cast(int, cast(Any, array).__array_interface__["data"][0])


class Returns:
    """The end of a pipe on which numbers come back: of slots that are free, of frames that are done.

    A pipe, since its 64 kB hold thousands of such numbers; a socket refuses after some 280 messages, however small.

    Args:
        descriptor: of the end that writes for `give`, of the end that reads for `take`; closed with this object.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        os.set_blocking(descriptor, False)
        self._readable = select.poll()
        self._readable.register(descriptor, select.POLLIN)
        # Not before: a number given to a descriptor that is closed could reach a file opened since.
        weakref.finalize(self, os.close, descriptor).atexit = False

    @classmethod
    def pair(cls) -> tuple[Returns, Returns]:
        """Return the end to take from and the end to give to."""
        taking, giving = os.pipe()
        return cls(taking), cls(giving)

    def give(self, *numbers: int) -> None:
        """Send numbers without waiting or locking, from anywhere, finalizers included; to nobody if the end is gone.

        There is always room: far fewer numbers are on the way than a pipe holds.
        """
        with suppress(OSError):
            os.write(self._descriptor, b"".join(map(_NUMBER.pack, numbers)))

    def take(self, *, wait: bool) -> list[int]:
        """Return the numbers that have come.

        Args:
            wait: until there is at least one.

        Raises:
            EOFError: if nobody can give any more.
        """
        if wait:
            self._readable.poll()
        try:
            data = os.read(self._descriptor, _NUMBER.size * _MOST_RETURNED)  # whole numbers, as they were written
        except BlockingIOError:
            return []
        if not data:
            raise EOFError("nobody returns anything any more")
        return [number for (number,) in _NUMBER.iter_unpack(data)]

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor
