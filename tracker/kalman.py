"""The constant-velocity Kalman filters of DeepSORT and BoT-SORT, for all tracks at once.

`KalmanFilter` is DeepSORT's. The state of a track is (cx, cy, a = width / height, h) and its velocities. DeepSORT
(`kalman_filter.py`) writes it with 8x8 matrices, but its motion, measurement and noise matrices never mix two of the
four coordinates, and the initial covariance is diagonal. So the 8x8 covariance always consists of four independent 2x2
blocks, and the filter is, exactly, four filters of one coordinate each. Here each block is three numbers, every step is
elementwise over all tracks and coordinates, and no matrix is ever factorized.

`WidthKalmanFilter` has the width in place of the aspect ratio, as BoT-SORT (Aharon et al., 2022) proposes: the width of
a box that is cut off at the knees does not change.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fairmot.tracker.costs import tlbr_from_xyah, xyah_from_tlbr

States = npt.NDArray[np.float64]
Array = npt.NDArray[np.float64]

POSITION, VELOCITY, VARIANCE, COVARIANCE, VELOCITY_VARIANCE = range(5)
ROWS = 5

# DeepSORT, `kalman_filter.py`: standard deviations that do not grow with the height of the box.
ASPECT_STD = 1e-2
ASPECT_VELOCITY_STD = 1e-5
MEASURED_ASPECT_STD = 1e-1


_Variances = tuple[Array, Array]


class KalmanFilter:
    """Predicts and corrects the states of many tracks.

    States are float64 `(5, 4, n)`: position, velocity, variance of the position, covariance of position and
    velocity, variance of the velocity; each for cx, cy, a, h; tracks last, so that every operation runs along memory.
    Measurements are `(4, n)`: cx, cy, a, h. Pixels and frames are the units.

    Args:
        position_weight: standard deviation of cx, cy, h per pixel of height.
        velocity_weight: the same of their velocities.
    """

    _sizes: slice = np.s_[3:]  # coordinates that scale with the image, besides the center

    def __init__(self, position_weight: float = 1 / 20, velocity_weight: float = 1 / 160) -> None:
        self._initial = self._variances(2 * position_weight, 10 * velocity_weight, ASPECT_STD, ASPECT_VELOCITY_STD)
        self._process = self._variances(position_weight, velocity_weight, ASPECT_STD, ASPECT_VELOCITY_STD)
        scale, floor = self._variances(position_weight, 0.0, MEASURED_ASPECT_STD, 0.0)
        self._measured = scale[0], floor[0]

    def _variances(self, position: float, velocity: float, aspect: float, aspect_velocity: float) -> _Variances:
        """Return factors of the squared height and summands, each `(3, 4, 1)`, for the last three rows of a state.

        Args:
            position: standard deviation of cx, cy and h per pixel of height.
            velocity: the same of their velocities.
            aspect: standard deviation of the aspect ratio.
            aspect_velocity: the same of its velocity.
        """
        scale, floor = np.zeros((2, 3, 4, 1))
        for row, std, aspect_std in ((0, position, aspect), (2, velocity, aspect_velocity)):
            scale[row, [0, 1, 3], 0] = std**2
            floor[row, 2, 0] = aspect_std**2
        return scale, floor

    def measure(self, tlbr: Array) -> Array:
        """Return the measurements `(4, n)` of boxes `(4, n)`."""
        return xyah_from_tlbr(tlbr)

    def boxes(self, positions: Array) -> Array:
        """Return the boxes `(4, n)`, left, top, right, bottom, of positions `(4, n)`."""
        return tlbr_from_xyah(positions)

    def initiate(self, measurements: Array) -> States:
        """Return states `(5, 4, n)` of tracks that start at `measurements` without velocity."""
        states = np.zeros((ROWS, *measurements.shape))
        states[POSITION] = measurements
        scale, floor = self._initial
        states[VARIANCE:] = scale * measurements[3] ** 2 + floor
        return states

    def predict(self, states: States, coasting: npt.NDArray[np.bool_]) -> States:
        """Return `states` one frame later.

        Args:
            states: `(5, 4, n)`; changed in place.
            coasting: `(n,)`, tracks without a detection in the previous frame; their height stops changing.
        """
        position, velocity, variance, covariance, velocity_variance = states
        if np.count_nonzero(coasting):
            velocity[3, coasting] = 0.0
        scale, floor = self._process
        noise = scale * position[3] ** 2 + floor
        position += velocity
        variance += 2.0 * covariance + velocity_variance
        covariance += velocity_variance
        states[VARIANCE:] += noise
        return states

    def project(self, states: States) -> Array:
        """Return the variance `(4, n)` of the measurement that each state expects."""
        scale, floor = self._measured
        projected: Array = scale * states[POSITION, 3] ** 2 + floor + states[VARIANCE]
        return projected

    def move(self, states: States, transform: Array) -> None:
        """Transform `states` `(5, 4, n)` by the camera's motion: shift, rotation and scale.

        The center is equally uncertain in x and y, so that a rotation does not change its variances.

        Args:
            states: changed in place.
            transform: `(2, 3)`, the matrix that maps x, y, 1 of the last frame to x, y of this one.
        """
        turn = transform[:, :2]
        scale = np.sqrt(abs(np.linalg.det(turn)))
        for row in (POSITION, VELOCITY):
            states[row, :2] = turn @ states[row, :2]
            states[row, self._sizes] *= scale
        states[POSITION, :2] += transform[:, 2:]
        states[VARIANCE:, :2] *= scale**2
        states[VARIANCE:, self._sizes] *= scale**2

    def update(self, states: States, measurements: Array) -> States:
        """Return `states` `(5, 4, n)` corrected by one measurement `(4, n)` each; changed in place."""
        position, velocity, variance, covariance, velocity_variance = states
        projected = self.project(states)
        gain, velocity_gain = variance / projected, covariance / projected
        innovation = measurements - position
        position += gain * innovation
        velocity += velocity_gain * innovation
        velocity_variance -= velocity_gain * covariance
        covariance -= gain * covariance
        variance -= gain * variance
        return states

    def gating_distance(self, states: States, measurements: Array) -> Array:
        """Return the squared Mahalanobis distance `(n, m)` of every state to every measurement.

        The sum of (measurement - position)^2 / variance over the coordinates, expanded into one matrix product.
        """
        count = states.shape[2]
        ours, theirs = np.empty((9, count)), np.empty((9, measurements.shape[1]))
        precision = np.divide(1.0, self.project(states), out=ours[:4])
        scaled = np.multiply(precision, states[POSITION], out=ours[4:8])
        np.einsum("ij,ij->j", scaled, states[POSITION], out=ours[8])
        np.multiply(measurements, measurements, out=theirs[:4])
        np.multiply(measurements, -2.0, out=theirs[4:8])
        theirs[8] = 1.0
        distance: Array = ours.T @ theirs
        return distance


class WidthKalmanFilter(KalmanFilter):
    """The same filter with the width `w` in place of the aspect ratio, as uncertain as the other coordinates."""

    _sizes = np.s_[2:]

    def _variances(self, position: float, velocity: float, aspect: float, aspect_velocity: float) -> _Variances:
        scale, floor = np.zeros((2, 3, 4, 1))
        scale[0], scale[2] = position**2, velocity**2
        return scale, floor

    def measure(self, tlbr: Array) -> Array:
        """Return cx, cy, w, h, `(4, n)`, of boxes `(4, n)`."""
        xywh = np.empty_like(tlbr)
        np.add(tlbr[:2], tlbr[2:], out=xywh[:2])
        xywh[:2] /= 2.0
        np.subtract(tlbr[2:], tlbr[:2], out=xywh[2:])
        return xywh

    def boxes(self, positions: Array) -> Array:
        """Return the boxes `(4, n)`, left, top, right, bottom, of cx, cy, w, h, `(4, n)`."""
        tlbr = np.empty_like(positions)
        half = positions[2:] / 2.0
        np.subtract(positions[:2], half, out=tlbr[:2])
        np.add(positions[:2], half, out=tlbr[2:])
        return tlbr
