"""The batched filters against the formulas of DeepSORT and BoT-SORT in 8x8 matrices, one track at a time."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fairmot.tracker.kalman import (
    COVARIANCE,
    POSITION,
    VARIANCE,
    VELOCITY,
    VELOCITY_VARIANCE,
    KalmanFilter,
    WidthKalmanFilter,
)

POSITION_WEIGHT, VELOCITY_WEIGHT = 1 / 20, 1 / 160
MOTION = np.eye(8) + np.eye(8, k=4)
MEASURE = np.eye(4, 8)


def diagonal(height: float, position: float, velocity: float, width: bool) -> np.ndarray:
    """Covariance with standard deviations of DESIGN 4: `position` and `velocity` are multiples of the two weights.

    The third coordinate is the width, as uncertain as the others, or the aspect ratio.
    """
    p, v = position * POSITION_WEIGHT * height, velocity * VELOCITY_WEIGHT * height
    return np.diag(np.square([p, p, p if width else 1e-2, p, v, v, v if width else 1e-5, v]))


def plain_initiate(measurement: np.ndarray, width: bool) -> tuple[np.ndarray, np.ndarray]:
    return np.r_[measurement, np.zeros(4)], diagonal(measurement[3], 2, 10, width)


def plain_predict(
    mean: np.ndarray, covariance: np.ndarray, coasting: bool, width: bool
) -> tuple[np.ndarray, np.ndarray]:
    if coasting:
        mean = mean.copy()
        mean[7] = 0
    return MOTION @ mean, MOTION @ covariance @ MOTION.T + diagonal(mean[3], 1, 1, width)


def plain_project(mean: np.ndarray, covariance: np.ndarray, width: bool) -> tuple[np.ndarray, np.ndarray]:
    p = POSITION_WEIGHT * mean[3]
    return MEASURE @ mean, MEASURE @ covariance @ MEASURE.T + np.diag(np.square([p, p, p if width else 1e-1, p]))


def plain_update(
    mean: np.ndarray, covariance: np.ndarray, measurement: np.ndarray, width: bool
) -> tuple[np.ndarray, np.ndarray]:
    expected, projected = plain_project(mean, covariance, width)
    gain = covariance @ MEASURE.T @ np.linalg.inv(projected)
    return mean + gain @ (measurement - expected), covariance - gain @ projected @ gain.T


def assert_same(states: np.ndarray, plain: list[tuple[np.ndarray, np.ndarray]]) -> None:
    for index, (mean, covariance) in enumerate(plain):
        ours = states[:, :, index]
        np.testing.assert_allclose(np.r_[ours[POSITION], ours[VELOCITY]], mean, rtol=1e-9, atol=1e-9)
        blocks = np.block(
            [
                [np.diag(ours[VARIANCE]), np.diag(ours[COVARIANCE])],
                [np.diag(ours[COVARIANCE]), np.diag(ours[VELOCITY_VARIANCE])],
            ]
        )
        np.testing.assert_allclose(blocks, covariance, rtol=1e-8, atol=1e-12 * covariance.max())


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 8),
    st.lists(st.sampled_from("ppuc"), min_size=1, max_size=12),
    st.booleans(),
)
def test_equals_matrices_of_each_track(seed: int, count: int, steps: list[str], width: bool) -> None:
    """Any mix of predictions (p), predictions after a miss (c) and updates (u)."""
    random = np.random.default_rng(seed)

    def measured() -> np.ndarray:
        return random.uniform(
            [[-50], [-50], [5 if width else 0.2], [10]], [[2000], [1100], [300 if width else 2.0], [500]], (4, count)
        )

    kalman, first = (WidthKalmanFilter() if width else KalmanFilter()), measured()
    states = kalman.initiate(first)
    plain = [plain_initiate(z, width) for z in first.T]
    assert_same(states, plain)
    for step in steps:
        if step == "u":
            z = measured()
            states = kalman.update(states, z)
            plain = [plain_update(*track, measurement, width) for track, measurement in zip(plain, z.T, strict=True)]
        else:
            coasting = random.random(count) < 0.5 if step == "c" else np.zeros(count, bool)
            states = kalman.predict(states, coasting)
            plain = [plain_predict(*track, coast, width) for track, coast in zip(plain, coasting, strict=True)]
        assert_same(states, plain)

    z = measured()
    wanted = np.zeros((count, count))
    for row, track in enumerate(plain):
        expected, projected = plain_project(*track, width)
        for column, measurement in enumerate(z.T):
            offset = measurement - expected
            wanted[row, column] = offset @ np.linalg.solve(projected, offset)
    np.testing.assert_allclose(kalman.gating_distance(states, z), wanted, rtol=1e-6, atol=1e-6)


def test_no_tracks() -> None:
    kalman = KalmanFilter()
    states = kalman.initiate(np.zeros((4, 0)))
    assert kalman.predict(states, np.zeros(0, bool)).shape == (5, 4, 0)
    assert kalman.gating_distance(states, np.ones((4, 3))).shape == (0, 3)


def test_follows_a_constant_velocity() -> None:
    kalman, velocity = KalmanFilter(), np.array([3.0, -2.0, 0.0, 0.5])
    start = np.array([100.0, 200.0, 0.4, 120.0])
    states = kalman.initiate(start[:, None])
    for frame in range(1, 60):
        states = kalman.update(kalman.predict(states, np.zeros(1, bool)), (start + frame * velocity)[:, None])
    np.testing.assert_allclose(states[POSITION, :, 0], start + 59 * velocity, atol=0.1)
    np.testing.assert_allclose(states[VELOCITY, :, 0], velocity, atol=0.05)
