"""The base of all sources: names that become folders, and counts of frames without a walk through them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairmot.core import ConfigError, Frame
from fairmot.video.source import Source, safe_name


class Numbers(Source):
    """A source of frames nobody takes."""

    def __init__(self, numbers: Sequence[int] | None, name: str = "a") -> None:
        super().__init__(name, (64, 64), 25.0, numbers=numbers)

    def _frames(self) -> Iterator[Frame]:
        yield from ()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("MOT17-02-FRCNN", "MOT17-02-FRCNN"),
        ("../../etc/passwd", "etc_passwd"),
        ("a b\x1b[2J\n", "a_b__2J"),
        ("Straße 東京", "Straße_東京"),
        ("...", "source"),
        ("", "source"),
        ("\udcff.mp4", "mp4"),
        ("x" * 200, "x" * 200),
    ],
)
def test_name_is_one_harmless_part_of_a_path(text: str, name: str) -> None:
    assert safe_name(text) == name


@pytest.mark.parametrize("letter", ["x", "ß", "東", "𠀀", "\udcff x", "/x"])
@pytest.mark.parametrize("length", [201, 300, 100_000])
def test_long_names_are_shortened_and_stay_apart(tmp_path: Path, letter: str, length: int) -> None:
    names = {safe_name(letter * length + end) for end in ("", "1", "2")}
    assert len(names) == 3
    for name in names:
        assert len(name.encode()) <= 200
        (tmp_path / f".{name}-12.npz.abcdefgh").touch()  # what is put around it has room
    assert safe_name(letter * length) in names  # the same again
    assert Numbers(None, letter * length).name == safe_name(letter * length)


@pytest.mark.parametrize("numbers", [range(1, 21), [1, 2, 5, 9, 10, 20], [7], None])
@pytest.mark.parametrize(("start", "count", "stride"), [(1, None, 1), (2, None, 3), (5, 4, 2), (1, 100, 7), (7, 1, 1)])
def test_frame_count_is_that_of_the_chosen_numbers(
    numbers: Sequence[int] | None, start: int, count: int | None, stride: int
) -> None:
    source = Numbers(numbers)
    source.select(start, count, stride)
    chosen = range(start, 10**6, stride)[:count]
    assert source.frame_count == (None if numbers is None else sum(number in chosen for number in numbers))


@given(
    numbers=st.one_of(
        st.builds(lambda first, length: range(first, first + length), st.integers(1, 60), st.integers(1, 60)),
        st.lists(st.integers(1, 60), min_size=1, unique=True).map(sorted),
    ),
    start=st.integers(1, 60),
    count=st.none() | st.integers(1, 80),
    stride=st.integers(1, 80),
)
def test_frame_count_agrees_with_its_definition(
    numbers: Sequence[int], start: int, count: int | None, stride: int
) -> None:
    source = Numbers(numbers)
    if start > numbers[-1]:
        with pytest.raises(ConfigError):
            source.select(start, count, stride)
        return
    source.select(start, count, stride)
    selected = [number for number in numbers if number >= start and (number - start) % stride == 0]
    if count is not None:
        selected = [number for number in selected if number <= start + (count - 1) * stride]
    assert source.frame_count == len(selected)


@pytest.mark.parametrize("kind", [range, lambda first, end: list(range(first, end))], ids=["range", "list"])
def test_ten_million_frames_are_counted_at_once(kind: Callable[[int, int], Sequence[int]]) -> None:
    source = Numbers(kind(3, 10_000_003))
    began = time.perf_counter()
    for stride in range(1, 1000):
        source.select(1, None, stride)
        assert source.frame_count == len(range(1 + -(-2 // stride) * stride, 10_000_003, stride))
    assert time.perf_counter() - began < 1


def test_long_sources_are_counted_at_once() -> None:
    source = Numbers(range(1, 2**63))
    began = time.perf_counter()
    assert source.frame_count == 2**63 - 1
    source.select(2**62, 10**30, 2**40)
    assert source.frame_count == 2**22
    with pytest.raises(ConfigError, match=rf"Frame {2**63} is beyond the end of a, whose last frame is {2**63 - 1}\."):
        source.select(2**63)
    assert time.perf_counter() - began < 1
