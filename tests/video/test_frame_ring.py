"""Slots of shared memory: views of them, their way back, and how many there are."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

from fairmot.core.processes import CAN_SHARE_MEMORY
from fairmot.video.frame_ring import FrameRing, Returns, RingLayout

pytestmark = pytest.mark.skipif(not CAN_SHARE_MEMORY, reason="there is no memory that processes share without a name")

PAGE = os.sysconf("SC_PAGESIZE") if hasattr(os, "sysconf") else 4096


@pytest.mark.parametrize(
    ("frame_bytes", "held", "layout"),
    [
        (1, 8, RingLayout(PAGE, 24)),
        (1920 * 1080 * 3 // 2, 32, RingLayout(-(-1920 * 1080 * 3 // 2 // PAGE) * PAGE, 48)),
        (3840 * 2160 * 3 // 2, 4 * 64 + 8, RingLayout(3840 * 2160 * 3 // 2 // PAGE * PAGE + PAGE, 86)),  # 1 GiB
        (3 * 2**28, 32, RingLayout(3 * 2**28, 4)),
    ],
)
def test_slots_are_bounded_in_bytes(frame_bytes: int, held: int, layout: RingLayout) -> None:
    assert RingLayout.fitting(frame_bytes, held) == layout


def test_a_slot_comes_back_with_the_last_view_of_it() -> None:
    ring = FrameRing(RingLayout(PAGE, 4))
    gone: list[int] = []
    image = ring.view(2, (8, 6, 3), lambda: gone.append(2))
    image[:] = 7
    row, flat = image[1:2], image.reshape(-1)
    assert ring.slot_of(image) == ring.slot_of(flat) == 2
    assert [ring.slot_of(each) for each in (row, np.zeros((8, 6, 3), np.uint8), image[::2])] == [None, None, None]
    del image, flat
    assert gone == []
    ring.close()
    other = ring.memory
    del ring
    assert row.sum() == 7 * 18, "a view outlives the ring"
    del row
    assert gone == [2]
    assert other[2 * PAGE : 2 * PAGE + 144].sum() == 7 * 144
    with pytest.raises(ValueError, match="does not fit"):
        FrameRing(RingLayout(PAGE, 4)).view(0, (PAGE, 2), lambda: None)


def test_another_mapping_sees_the_same_bytes() -> None:
    ring = FrameRing(RingLayout(PAGE, 4))
    other = FrameRing(ring.layout, ring.descriptor)
    other.view(3, (10,), lambda: None)[:] = 9
    assert ring.view(3, (10,), lambda: None).tolist() == [9] * 10
    other.close()
    os.fstat(ring.descriptor)  # which the other did not open
    descriptor = ring.descriptor
    ring.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_numbers_return_in_order_until_nobody_gives() -> None:
    taking, giving = Returns.pair()
    assert taking.take(wait=False) == []
    for number in range(3000):  # without a reader: far more than slots
        giving.give(number)
    assert taking.take(wait=True) + taking.take(wait=False) == list(range(3000))
    timer = threading.Timer(0.05, giving.give, [7])
    timer.start()
    assert taking.take(wait=True) == [7]
    timer.join()
    del giving, timer
    with pytest.raises(EOFError):
        taking.take(wait=True)


def test_giving_to_nobody_is_no_error() -> None:
    taking, giving = Returns.pair()
    del taking
    giving.give(1)
