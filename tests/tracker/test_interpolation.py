"""Gaps of tracks, filled."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairmot.core.motchallenge import Boxes
from fairmot.tracker.interpolation import interpolate


def boxes(rows: list[tuple[int, int]], classes: bool = False) -> Boxes:
    """Boxes of `(frame, id)` whose left edge is 10 x frame + id."""
    table = np.array(rows, np.int64).reshape(-1, 2)
    left = 10.0 * table[:, 0] + table[:, 1]
    tlwh = np.stack((left, 2 * left, left + 1, left + 2), axis=1)
    return Boxes(table[:, 0], table[:, 1], tlwh, left / 1000, table[:, 1] if classes else None)


def test_gaps_are_filled_by_straight_lines() -> None:
    """Identity 1 moves evenly, so what is filled is what it would have been; 2 has no gap."""
    given_ = boxes([(1, 1), (1, 2), (2, 2), (4, 1), (5, 1), (9, 1)])
    filled = interpolate(given_)
    whole = boxes([(1, 1), (1, 2), (2, 1), (2, 2), *((frame, 1) for frame in range(3, 10))])
    for name in ("frames", "ids", "tlwh", "scores"):
        np.testing.assert_allclose(getattr(filled, name), getattr(whole, name), atol=1e-9)
    assert filled.class_ids is None


@pytest.mark.parametrize(
    ("longest", "frames"), [(0, [1, 3, 7]), (1, [1, 2, 3, 7]), (2, [1, 2, 3, 7]), (3, range(1, 8))]
)
def test_longest_gap(longest: int, frames: list[int]) -> None:
    filled = interpolate(boxes([(1, 1), (3, 1), (7, 1)]), longest)
    assert filled.frames.tolist() == list(frames)


def test_nothing_to_fill() -> None:
    assert len(interpolate(boxes([]))) == 0
    assert interpolate(boxes([(5, 1)])).frames.tolist() == [5]


@settings(max_examples=50, deadline=None)
@given(st.sets(st.tuples(st.integers(1, 30), st.integers(1, 4)), max_size=40))
def test_every_track_becomes_whole(rows: set[tuple[int, int]]) -> None:
    given_ = boxes(sorted(rows), classes=True)
    filled = interpolate(given_)
    for identity in range(1, 5):
        before, after = given_.frames[given_.ids == identity], filled.frames[filled.ids == identity]
        assert after.tolist() == (list(range(before.min(), before.max() + 1)) if len(before) else [])
    np.testing.assert_allclose(filled.tlwh[:, 0], 10.0 * filled.frames + filled.ids)
    np.testing.assert_array_equal(filled.class_ids, filled.ids)
    assert (np.diff(filled.frames) >= 0).all()
