from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairmot.core import ConfigError, Frame, SourceError
from fairmot.video.prefetch import Prefetcher
from fairmot.video.source import Source, safe_name


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for another thread, at most five seconds."""
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def alive() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers()), st.integers(1, 5))
def test_items_come_out_in_order(items: list[int], depth: int) -> None:
    assert list(Prefetcher(iter(items), depth)) == items


def test_error_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield from (1, 2)
        raise SourceError("gone")

    prefetcher = Prefetcher(items(), 8)
    time.sleep(0.05)  # the error is there before the first item is taken
    assert [next(prefetcher), next(prefetcher)] == [1, 2]
    with pytest.raises(SourceError, match="gone"):
        next(prefetcher)
    assert list(prefetcher) == []


@pytest.mark.parametrize("fails_before", [False, True])
def test_an_error_on_release_reaches_the_consumer(fails_before: bool) -> None:
    def items() -> Iterator[int]:
        yield 1
        if fails_before:
            raise SourceError("first")

    def release() -> None:
        raise OSError("disk full")

    prefetcher = Prefetcher(items(), 8, release=release)
    assert next(prefetcher) == 1
    with pytest.raises(SourceError if fails_before else OSError):
        next(prefetcher)


def test_runs_ahead_no_further_than_its_depth() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    prefetcher = Prefetcher(items(), 3)
    assert next(prefetcher) == 0
    wait_until(lambda: len(made) == 5)  # one taken, three queued, one waiting for room
    time.sleep(0.05)
    assert len(made) == 5
    prefetcher.close()
    assert not alive()


def test_close_releases_in_the_thread_after_the_iterator_is_closed() -> None:
    events: list[str] = []

    def items() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            events.append("closed")

    prefetcher = Prefetcher(items(), 2, release=lambda: events.append("released"))
    next(prefetcher)
    prefetcher.close()
    prefetcher.close()
    assert events == ["closed", "released"]
    assert list(prefetcher) == []


def test_newest_only_never_hands_over_stale_items() -> None:
    made, taken = threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        yield from range(10)
        made.set()
        taken.wait()

    prefetcher = Prefetcher(items(), 1, newest_only=True)
    assert made.wait(5)
    assert next(prefetcher) == 9
    taken.set()
    assert list(prefetcher) == []


class Counter(Source):
    """Frames without content; `numbers` are those that exist."""

    def __init__(self, numbers: list[int], *, known: bool = True) -> None:
        super().__init__("counter", (4, 2), 10.0, numbers=numbers if known else None)
        self.held = numbers
        self.read: list[int] = []
        self.released = 0

    def _frames(self) -> Iterator[Frame]:
        import numpy as np

        for number in self.held:
            self.read.append(number)
            yield Frame(number, number / 10, np.zeros((2, 4, 3), np.uint8))

    def _release(self) -> None:
        self.released += 1


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.none() | st.integers(1, 40), st.integers(1, 7))
def test_selection_equals_slicing(total: int, start: int, count: int | None, stride: int) -> None:
    with Counter(list(range(1, total + 1))) as source:
        if start > total:
            with pytest.raises(ConfigError, match="beyond the end"):
                source.select(start, count, stride)
            return
        source.select(start, count, stride)
        expected = list(range(1, total + 1))[start - 1 :: stride][:count]
        assert source.frame_count == len(expected)
        assert [frame.index for frame in source] == expected
        assert source.read[-1] <= expected[-1] + stride


def test_a_missing_frame_is_not_made_up_for() -> None:
    with Counter([1, 2, 4, 5, 6]) as source:
        source.select(start=2, count=3)
        assert source.frame_count == 2
        assert [frame.index for frame in source] == [2, 4]


@pytest.mark.parametrize("selection", [{"start": 0}, {"count": 0}, {"stride": 0}, {"start": -3}])
def test_values_below_one_are_refused(selection: dict[str, int]) -> None:
    source = Counter([1, 2])
    with pytest.raises(ConfigError, match=f"{next(iter(selection))} of a source must be at least 1"):
        source.select(**selection)
    source.close()


def test_ending_before_the_first_selected_frame_is_an_error() -> None:
    with Counter([1, 2, 3], known=False) as source:
        source.select(start=10)
        with pytest.raises(SourceError, match="ended before frame 10"):
            next(source)


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_closing_early_releases_once_and_ends_the_iteration(taken: int) -> None:
    source = Counter(list(range(1, 1000)))
    with source:
        for _ in range(taken):
            next(source)
    source.close()
    assert source.released == 1
    assert list(source) == []
    assert not alive()


@pytest.mark.parametrize(
    ("text", "name"),
    [("MOT17-02-SDP", "MOT17-02-SDP"), ("../../etc/x", "etc_x"), ("a b:c", "a_b_c"), ("..", "source"), ("", "source")],
)
def test_names_are_harmless_path_components(text: str, name: str) -> None:
    assert safe_name(text) == name
