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


def fixed_rows(values: Floats) -> list[str]:
    """Return the numbers of each row of `values` `(n, k)`, at least one, with two decimals: `1.00,-2.50,3.14`."""
    template = ",".join(["%.2f"] * values.shape[1]) + "\n"
    text: str = template * len(values) % tuple(values.ravel().tolist())
    return text.splitlines()


def shortest_rows(values: Floats, texts: Sequence[str]) -> list[str]:
    """Return the numbers of each row of `values` `(n, k)` as `json.dumps(round(value, 2))`: `1.0, -2.5, 3.14`.

    Args:
        values: see `fixed_rows`.
        texts: `fixed_rows(values)`.
    """
    if not texts:
        return []
    if _are_usual(values, 2):
        # Each decimal has one zero too many at most; a comma is behind the last one too.
        text = ",\n".join(texts) + ",\n"
        return text.replace("0,", ",").replace(",\n", "\n").replace(",", ", ").splitlines()
    return [", ".join(json.dumps(round(value, 2)) for value in row) for row in values.tolist()]


def shortest(values: Floats, texts: Sequence[str], digits: int) -> list[str]:
    """Return `json.dumps(round(value, digits))` of every value, row by row.

    Args:
        values: of any shape.
        texts: `fixed(values, digits)`.
        digits: after the point.
    """
    if texts and _are_usual(values, digits):
        return [_without_zeros(text) if text[-1] == "0" else text for text in texts]
    return [json.dumps(round(value, digits)) for value in values.ravel().tolist()]


def _are_usual(values: Floats, digits: int) -> bool:
    """Return whether zeros at the end are all that `fixed` has more than `json.dumps(round(value, digits))`.

    `round` returns the float64 next to the decimal that `fixed` prints, so where that has few digits it is the shortest
    one too.
    """
    size = np.abs(values)
    # Neither holds for NaN.
    return float(size.max()) < 10.0 ** (_SURE_DIGITS - 1 - digits) and (
        digits <= 4 or float(size.min()) >= _LEAST_PLAIN
    )


def _without_zeros(text: str) -> str:
    """Return a decimal without zeros at its end, but for one behind the point."""
    text = text.rstrip("0")
    return text if text[-1] != "." else text + "0"
