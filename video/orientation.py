"""The eight orientations of images, from display matrices and EXIF."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from fairmot.core.records import ByteArray


@dataclass(frozen=True)
class Orientation:
    """The change from stored pixels to the image that is shown.

    Attributes:
        transposed: rows and columns are swapped, first of all.
        mirrored_x: left and right are then swapped.
        mirrored_y: top and bottom are then swapped.
    """

    transposed: bool = False
    mirrored_x: bool = False
    mirrored_y: bool = False

    @property
    def is_upright(self) -> bool:
        """True if the stored pixels are the image that is shown."""
        return not (self.transposed or self.mirrored_x or self.mirrored_y)

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return `(width, height)` as shown of an image with this stored size."""
        return (height, width) if self.transposed else (width, height)

    def apply(self, pixels: ByteArray) -> ByteArray:
        """Return `(height, width, 3)` stored pixels as the image that is shown."""
        if self.transposed:
            pixels = np.asarray(cv2.transpose(pixels), np.uint8)
        if self.mirrored_x or self.mirrored_y:
            axis = -1 if self.mirrored_x and self.mirrored_y else int(self.mirrored_x)  # as cv2.flip counts them
            pixels = np.asarray(cv2.flip(pixels, axis), np.uint8)
        return pixels


def from_display_matrix(matrix: Sequence[int] | None) -> Orientation:
    """Return the orientation nearest to a display matrix.

    Args:
        matrix: nine numbers a, b, u, c, d, v, x, y, w by which a stored point (p, q) is shown at (a p + c q + x,
            b p + d q + y), as in ISO/IEC 14496-12 and `libavutil/display.h`. Scale and translation are ignored;
            None, and a matrix that shows nothing, is upright.
    """
    if matrix is None:
        return Orientation()
    across, down = math.hypot(matrix[0], matrix[3]) or 1.0, math.hypot(matrix[1], matrix[4]) or 1.0
    a, c = matrix[0] / across, matrix[3] / across
    b, d = matrix[1] / down, matrix[4] / down
    transposed = abs(b) + abs(c) > abs(a) + abs(d)
    return Orientation(transposed, (c if transposed else a) < 0, (b if transposed else d) < 0)
