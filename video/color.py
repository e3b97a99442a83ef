"""The YUV matrix of an image, from the code in its stream or from its size."""

from __future__ import annotations

from typing import Literal

ColorSpace = Literal["ITU601", "ITU709"]

SMPTE170M = 6  # the code of BT.601 in NTSC material, as FFmpeg writes it

# MatrixCoefficients of ITU-T H.273: BT.709 and, near to it, SMPTE 240M and BT.2020; BT.601 under its three names.
_BT709 = {1, 7, 9, 10}
_BT601 = {4, 5, SMPTE170M}


def color_space(code: int, size: tuple[int, int]) -> ColorSpace:
    """Return the matrix for a code of H.273; unspecified, it is BT.709 for HD sizes and BT.601 below.

    HD begins at 1280 columns or above 576 lines (the larger of the two SD standards), as players have it.
    """
    if code in _BT709:
        return "ITU709"
    if code in _BT601:
        return "ITU601"
    return "ITU709" if size[0] >= 1280 or size[1] > 576 else "ITU601"
