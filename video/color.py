"""The YUV matrix of an image: from the code in its stream or from its size, and as numbers."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

ColorSpace = Literal["ITU601", "ITU709"]

# The codes that FFmpeg writes; that of BT.601 in NTSC material.
_BT709_CODE, _SMPTE170M = 1, 6

# MatrixCoefficients of ITU-T H.273: BT.709 and, near to it, SMPTE 240M and BT.2020; BT.601 under its three names.
_BT709 = {_BT709_CODE, 7, 9, 10}
_BT601 = {4, 5, _SMPTE170M}


def color_space(code: int, size: tuple[int, int]) -> ColorSpace:
    """Return the matrix for a code of H.273; unspecified, it is BT.709 for HD sizes and BT.601 below.

    HD begins at 1280 columns or above 576 lines (the larger of the two SD standards), as players have it.
    """
    if code in _BT709:
        return "ITU709"
    if code in _BT601:
        return "ITU601"
    return "ITU709" if size[0] >= 1280 or size[1] > 576 else "ITU601"


def code_of(space: ColorSpace) -> int:
    """Return the code of H.273 for a matrix."""
    return _BT709_CODE if space == "ITU709" else _SMPTE170M


# Kr and Kb of ITU-R BT.601 and BT.709, as in ITU-T H.273, MatrixCoefficients.
_WEIGHTS: dict[ColorSpace, tuple[float, float]] = {"ITU601": (0.299, 0.114), "ITU709": (0.2126, 0.0722)}


@lru_cache
def yuv_matrix(space: ColorSpace, full_range: bool) -> npt.NDArray[np.float32]:
    """Return the affine map from blue, green, red, 1 to Y, U, V of 8 bits (ITU-T H.273, 8.3).

    Args:
        space: the matrix.
        full_range: whether Y, U and V use 0 to 255, and not 16 to 235 and 16 to 240.
    """
    kr, kb = _WEIGHTS[space]
    luma = np.array([kb, 1 - kr - kb, kr])
    blue, red = np.array([1.0, 0, 0]), np.array([0, 0, 1.0])
    rows = np.array([luma, (blue - luma) / (2 * (1 - kb)), (red - luma) / (2 * (1 - kr))])
    scales = np.array([1.0, 1.0, 1.0] if full_range else [219 / 255, 224 / 255, 224 / 255])
    offsets = [0.0 if full_range else 16.0, 128.0, 128.0]
    return np.column_stack([rows * scales[:, None], offsets]).astype(np.float32)
