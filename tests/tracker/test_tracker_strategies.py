"""The exchangeable parts of the cascade: distances of boxes, costs, presets."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairmot.core.errors import ConfigError
from fairmot.tracker import TrackerSettings
from fairmot.tracker.costs import (
    cosine_distance,
    fuse_overlap,
    fuse_scores,
    height_iou_distance,
    iou_distance,
    near_duplicates,
)
from fairmot.tracker.presets import PRESETS, preset


def boxes(seed: int, count: int, spread: float) -> np.ndarray:
    """`(4, n)`, some at the same position, some with a whole number of pixels."""
    random = np.random.default_rng(seed)
    corner = random.uniform(0, spread, (2, count))
    corner[:, ::3] = np.round(corner[:, ::3])
    return np.concatenate((corner, corner + random.uniform(1, 60, (2, count))))


def test_height_iou_by_hand() -> None:
    """Of two equal boxes 20 x 40, one 10 to the right and 20 down: areas 200 of 1400, heights 20 of 60."""
    a = np.array([[0.0, 0, 20, 40]]).T
    b = np.array([[10.0, 20, 30, 60], [100, 0, 120, 40], [0, 0, 20, 40]]).T
    expected = [[1 - 200 / 1400 * 20 / 60, 1.0, 0.0]]
    np.testing.assert_allclose(height_iou_distance(a, b, 0.0), expected)
    # A margin of 0.25 makes them 30 x 60 at the same centers: areas 20 x 40 of 2 x 1800 - 800, heights 40 of 80.
    np.testing.assert_allclose(height_iou_distance(a, b, 0.25)[0, 0], 1 - 800 / 2800 * 40 / 80)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(30, 3000), st.sampled_from([0.0, 0.1, 0.5]))
def test_a_crowd_gets_the_same_distances(seed: int, spread: float, margin: float) -> None:
    """Only overlapping pairs are computed in a crowd; a few boxes at a time are computed all, with the same result."""
    a, b = boxes(seed, 120, spread), boxes(seed + 1, 90, spread)
    parts = range(0, 120, 30)
    np.testing.assert_array_equal(
        iou_distance(a, b), np.concatenate([iou_distance(a[:, i : i + 30], b) for i in parts])
    )
    np.testing.assert_array_equal(
        height_iou_distance(a, b, margin),
        np.concatenate([height_iou_distance(a[:, i : i + 30], b, margin) for i in parts]),
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.floats(0.01, 1.0))
def test_near_duplicates_are_those_of_the_distance(seed: int, count: int, limit: float) -> None:
    a = boxes(seed, count, 100)
    b = np.concatenate((a + np.random.default_rng(seed).normal(0, 3, a.shape), boxes(seed + 1, 20, 100)), axis=1)
    b[2:] = np.maximum(b[2:], b[:2] + 1)
    rows, columns = near_duplicates(a, b, limit)
    expected = (iou_distance(a, b) < limit).nonzero()
    np.testing.assert_array_equal((rows, columns), expected)


def test_scores_make_sure_detections_nearer() -> None:
    fused = fuse_scores(np.array([[0.0, 0.0, 0.5, 1.0]]), np.float32([1.0, 0.5, 0.5, 0.5]))
    np.testing.assert_allclose(fused, [[0.0, 0.5, 0.75, 1.0]])


def test_overlap_and_appearance() -> None:
    cosine = cosine_distance(np.float32([[1, 0]]), np.float32([[1, 0], [0, 1], [1, 0]]))
    cost = fuse_overlap(cosine, np.array([[0.5, 0.5, 0.5]]), np.array([[9.0, 9.0, 10.0]]), 0.4, 9.5)
    np.testing.assert_allclose(cost, [[0.2, 0.8, np.inf]])


@pytest.mark.parametrize("name", PRESETS)
def test_presets(name: str) -> None:
    assert preset(name) is PRESETS[name]
    assert PRESETS["default"] == TrackerSettings()
    published = PRESETS["fairmot"]
    assert (published.appearance_limit, published.overlap_limit, published.motion_weight) == (0.4, 0.5, 0.02)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"overlap": "giou"}, "overlap must be iou or height_iou, not giou."),
        ({"box_model": "area"}, "box_model must be xyah or xywh, not area."),
        ({"appearance_cost": 3}, "appearance_cost must be gating or overlap, not 3."),
        ({"box_margin": -0.1}, "box_margin must be between 0 and 1, not -0.1."),
    ],
)
def test_strategies_that_do_not_exist(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        TrackerSettings(**values)


def test_an_unknown_preset() -> None:
    with pytest.raises(
        ConfigError, match=r'There is no tracker "bytes"; choose default, fairmot, byte, byte-motion\. Did'
    ):
        preset("bytes")
