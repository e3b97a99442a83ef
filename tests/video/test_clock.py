from __future__ import annotations

import itertools

import pytest

from fairmot.video.clock import PresentationClock


def times(stamps: list[float | None], rate: float = 10.0, numbers: list[int] | None = None) -> list[float]:
    clock = PresentationClock(rate)
    return [
        clock.time_of(number, stamp) for number, stamp in zip(numbers or range(1, 1 + len(stamps)), stamps, strict=True)
    ]


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        ([5.0, 5.1, 5.2], [0, 0.1, 0.2]),
        ([0.0, 0.1, 3600.1, 3600.2], [0, 0.1, 3600.1, 3600.2]),  # a pause stays
        ([None, None, None], [0, 0.1, 0.2]),
        ([0.0, 0.1, None, 60.0, None, 60.2], [0, 0.1, 0.2, 60.0, 60.1, 60.2]),  # no time is no pause and no new clock
        ([None, 7.1, 7.2], [0, 0.1, 0.2]),
        ([0.0, 0.0, 0.0, 0.0], [0, 0.1, 0.2, 0.3]),
        ([0.0, 0.2, 0.15, 0.4], [0, 0.2, 0.3, 0.4]),  # jitter
        ([0.0, 0.1, 90.0, 0.0, 0.1, 0.3], [0, 0.1, 90.0, 90.1, 90.2, 90.4]),  # a new clock
        ([-3.0, -2.9, 1e6], [0, 0.1, 1e6 + 3]),
    ],
)
def test_times(stamps: list[float | None], expected: list[float]) -> None:
    assert times(stamps) == pytest.approx(expected)


def test_a_repeated_time_at_a_low_rate_is_jitter_and_no_new_clock() -> None:
    assert times([0.0, 60.0, 60.0, 180.0], rate=1 / 60) == pytest.approx([0, 60, 120, 180])


def test_frames_without_time_after_lost_ones() -> None:
    assert times([None, None, None], numbers=[1, 2, 6]) == pytest.approx([0, 0.1, 0.5])


def test_times_rise_whatever_comes() -> None:
    stamps = [0.0, 5.0, 5.0, 4.9, 1.0, 1.0, 0.0, 1e-9, None, -1e5, 1e5, None, 1e5 + 0.05]
    result = times(stamps)
    assert all(earlier < later for earlier, later in itertools.pairwise(result))
