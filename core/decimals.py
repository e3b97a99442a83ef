"""Many floats as decimal text at once: one format operation for all of them, many times as fast as one for each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]

# A decimal of up to so many digits is the shortest that means its float64 (IEEE 754: DBL_DIG).
_SURE_DIGITS = 15
# Below it, `repr` has an exponent.
_LEAST_PLAIN = 1e-4


def fixed(values: Floats, digits: int) -> list[str]:
    """Return `f"{value:.{digits}f}"` of every value, row by row."""
    numbers = values.ravel().tolist()
    return (f"%.{digits}f " * len(numbers) % tuple(numbers)).split()


def shortest(values: Floats, texts: Sequence[str], digits: int) -> list[str]:
    """Return `json.dumps(round(value, digits))` of every value, row by row.

    `round` returns the float64 next to the decimal that `fixed` prints, so where that has few digits it is the shortest
    one too, but for zeros at its end.

    Args:
        values: of any shape.
        texts: `fixed(values, digits)`.
        digits: after the point.
    """
    if not texts:
        return []
    size = np.abs(values)
    # Neither holds for NaN.
    if float(size.max()) < 10.0 ** (_SURE_DIGITS - 1 - digits) and (digits <= 4 or float(size.min()) >= _LEAST_PLAIN):
        if digits == 2:
            return [text[:-1] if text[-1] == "0" else text for text in texts]
        return [_without_zeros(text) if text[-1] == "0" else text for text in texts]
    return [json.dumps(round(value, digits)) for value in values.ravel().tolist()]


def _without_zeros(text: str) -> str:
    """Return a decimal without zeros at its end, but for one behind the point."""
    text = text.rstrip("0")
    return text if text[-1] != "." else text + "0"
