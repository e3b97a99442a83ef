"""A fixed pinhole camera above level ground: world meters to pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_TALLEST = 2.1  # meters, a person with a hat


@dataclass(frozen=True)
class Camera:
    """A raised camera that looks ahead and down.

    The world has x to the right, y ahead and z up, in meters, with the origin on the ground below the camera.

    Attributes:
        size: `(width, height)` of the image in pixels.
        height: height above the ground in meters.
        pitch: angle below the horizon in radians.
        focal: focal length in pixels.
    """

    size: tuple[int, int]
    height: float
    pitch: float
    focal: float

    def project(self, x: float, y: float, z: float = 0.0) -> tuple[float, float, float]:
        """Return pixel column, pixel row and depth in meters along the optical axis."""
        sin, cos = float(np.sin(self.pitch)), float(np.cos(self.pitch))
        depth = y * cos + (self.height - z) * sin
        down = (self.height - z) * cos - y * sin
        width, height = self.size
        return width / 2 + self.focal * x / depth, height / 2 + self.focal * down / depth, depth

    def ground_distance(self, row: float, z: float = 0.0) -> float:
        """Return how far ahead a pixel row meets the plane at height `z`; infinite above the horizon."""
        angle = self.pitch + float(np.arctan((row - self.size[1] / 2) / self.focal))
        if angle <= 1e-3:
            return float("inf")
        return (self.height - z) / float(np.tan(angle))

    def half_width(self, y: float) -> float:
        """Return half the width in meters of the ground that is in view at distance `y`."""
        depth = y * float(np.cos(self.pitch)) + self.height * float(np.sin(self.pitch))
        return 0.5 * self.size[0] / self.focal * depth

    @property
    def nearest(self) -> float:
        """Distance at which feet are just inside the image."""
        return max(self.ground_distance(0.97 * self.size[1]), 1.2)

    @property
    def farthest(self) -> float:
        """Distance up to which people walk: they stay in view and taller than about a twelfth of the image."""
        small = 1.7 * self.focal / (0.085 * self.size[1])
        head = self.ground_distance(0.0, _TALLEST) if self.height > _TALLEST else float("inf")
        return max(min(small, head, 45.0), self.nearest + 2.0)

    @property
    def below_view(self) -> float | None:
        """Distance at which a whole person is below the image, or None where the camera is too low for that."""
        if self.height < _TALLEST + 0.3:
            return None
        return self.ground_distance(self.size[1], _TALLEST) - 0.6
