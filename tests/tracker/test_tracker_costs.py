from __future__ import annotations

import lap
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairmot.tracker.assignment import assign
from fairmot.tracker.costs import (
    cosine_distance,
    forbid_other_classes,
    fuse_motion,
    iou_distance,
    normalized,
    tlbr_from_xyah,
    xyah_from_tlbr,
)


def test_iou_counts_pixels() -> None:
    """Boxes 0..9 and 5..14 share 5 of 15 columns when both edges count."""
    a, b = np.array([[0.0, 0.0, 9.0, 9.0]]).T, np.array([[5.0, 0.0, 14.0, 9.0], [10.0, 0.0, 19.0, 9.0]]).T
    np.testing.assert_allclose(iou_distance(a, b), [[1 - 5 / 15, 1.0]])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_iou_against_one_pair_at_a_time(seed: int) -> None:
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 100, (2, 12))
    boxes = np.concatenate((corners, corners + random.uniform(0, 60, (2, 12))))
    a, b = boxes[:, :5], boxes[:, 5:]
    for i, j in np.ndindex(5, 7):
        width = min(a[2, i], b[2, j]) - max(a[0, i], b[0, j]) + 1
        height = min(a[3, i], b[3, j]) - max(a[1, i], b[1, j]) + 1
        overlap = width * height if width > 0 and height > 0 else 0.0
        area_a = (a[2, i] - a[0, i] + 1) * (a[3, i] - a[1, i] + 1)
        area_b = (b[2, j] - b[0, j] + 1) * (b[3, j] - b[1, j] + 1)
        assert iou_distance(a, b)[i, j] == pytest.approx(1 - overlap / (area_a + area_b - overlap))


def test_box_shapes_are_inverse() -> None:
    tlbr = np.array([[10.0, 20.0, 30.0, 100.0], [-5.0, -7.0, 3.0, 9.0]]).T
    np.testing.assert_allclose(xyah_from_tlbr(tlbr)[:, 0], [20.0, 60.0, 0.25, 80.0])
    np.testing.assert_allclose(tlbr_from_xyah(xyah_from_tlbr(tlbr)), tlbr)


def test_appearance() -> None:
    rows = normalized(np.array([[3, 4], [0, 2], [0, 0], [np.nan, 1], [np.inf, 0]], np.float32))
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0, 1], [0, 0], [0, 0], [0, 0]], rtol=1e-6)
    cosine = cosine_distance(rows[:1], rows)
    np.testing.assert_allclose(cosine, [[0, 0.2, 1, 1, 1]], atol=1e-6)
    assert (cosine >= 0).all()
    cost = fuse_motion(cosine[:, :3], np.array([[1.0, 9.4877, 9.5]]), weight=0.02, threshold=9.4877)
    np.testing.assert_allclose(cost, [[0.02, 0.98 * 0.2 + 0.02 * 9.4877, np.inf]], atol=1e-6)


def test_classes() -> None:
    cost = forbid_other_classes(np.zeros((2, 3)), np.array([1, 2]), np.array([2, 1, 3]))
    np.testing.assert_array_equal(cost, [[np.inf, 0, np.inf], [0, np.inf, np.inf]])


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 9), st.integers(0, 9), st.floats(0.05, 1.0), st.floats(0, 0.9), st.integers(0, 2**32 - 1))
def test_assignment_equals_lap_extended(rows: int, columns: int, limit: float, forbidden: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    cost = random.random((rows, columns))
    cost[random.random(cost.shape) < forbidden] = np.inf
    matched, partners = assign(cost, limit)
    assert len(set(partners.tolist())) == len(partners)
    assert (np.diff(matched) > 0).all()
    assert (cost[matched, partners] <= limit).all()
    if not cost.size:
        assert not len(matched)
        return
    finite = np.where(np.isfinite(cost), cost, 1e3)
    _, wanted, _ = lap.lapjv(finite, extend_cost=True, cost_limit=limit)
    ours = np.full(rows, -1)
    ours[matched] = partners
    np.testing.assert_array_equal(ours, wanted)


def test_assignment_is_not_a_threshold_afterwards() -> None:
    """Two pairs are better than one only as far as both lie below the limit."""
    two_pairs = np.array([[0.1, 0.35], [0.15, 0.9]])
    np.testing.assert_array_equal(assign(two_pairs, 0.4), [[0, 1], [1, 0]])
    one_pair = np.array([[0.1, 0.39], [0.39, 0.9]])
    np.testing.assert_array_equal(assign(one_pair, 0.4), [[0], [0]])


def test_assignment_at_the_limit_and_with_nan() -> None:
    np.testing.assert_array_equal(assign(np.array([[0.5]]), 0.5), [[0], [0]])
    np.testing.assert_array_equal(assign(np.array([[0.5, 0.5], [0.5, 0.5]]), 0.5)[0], [0, 1])
    assert not len(assign(np.array([[np.nan, np.inf]]), 0.5)[0])
