"""Which YUV matrix a picture uses."""

from __future__ import annotations

from typing import Literal

ColorSpace = Literal["ITU601", "ITU709"]

# MatrixCoefficients of ITU-T H.273: 1 is BT.709, near to it 7 (SMPTE 240M) and 9, 10 (BT.2020); 4, 5, 6 are BT.601.
_SPACES: dict[int, ColorSpace] = {
    1: "ITU709",
    7: "ITU709",
    9: "ITU709",
    10: "ITU709",
    4: "ITU601",
    5: "ITU601",
    6: "ITU601",
}
MATRIX_CODES: dict[ColorSpace, int] = {"ITU709": 1, "ITU601": 6}


def color_space(code: int, size: tuple[int, int]) -> ColorSpace:
    """Return the matrix for a code of H.273; unspecified, it is BT.709 for HD sizes and BT.601 below.

    HD begins at 1280 columns or above 576 lines (the larger of the two SD standards), as players have it.
    """
    return _SPACES.get(code, "ITU709" if size[0] >= 1280 or size[1] > 576 else "ITU601")
