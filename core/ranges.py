"""Checks of settings: whether numbers lie in their ranges."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from fairmot.core.errors import ConfigError


def require(
    settings: Any, prefix: str, names: str, low: float = 0.0, high: float = math.inf, *, infinite: bool = False
) -> None:
    """Check that numbers are within `[low, high]`.

    Args:
        settings: whose attributes are checked.
        prefix: of their keys, for the message: `settings.augment.`.
        names: of the attributes, separated by blanks; a value may be a tuple of numbers.
        low: least value.
        high: largest value.
        infinite: whether infinity will do where there is no largest value.

    Raises:
        ConfigError: if one lies outside.
    """
    for name, number in _numbers(settings, names):
        if not (low <= number <= high and (infinite or math.isfinite(number))):
            wanted = f"at least {low:g}" if high == math.inf else f"between {low:g} and {high:g}"
            raise ConfigError(f"{prefix}{name} must be {wanted}, not {number}.")


def require_positive(settings: Any, prefix: str, names: str, *, infinite: bool = False) -> None:
    """Check that numbers are above 0; arguments and errors as for `require`."""
    for name, number in _numbers(settings, names):
        if not (number > 0 and (infinite or math.isfinite(number))):
            raise ConfigError(f"{prefix}{name} must be above 0, not {number}.")


def require_order(settings: Any, prefix: str, names: str) -> None:
    """Check that ranges `(low, high)` are in order; arguments and errors as for `require`."""
    for name in names.split():
        low, high = getattr(settings, name)
        if low > high:
            raise ConfigError(f"{prefix}{name} must begin with the smaller number, so not with {low} before {high}.")


def _numbers(settings: Any, names: str) -> Iterator[tuple[str, float]]:
    for name in names.split():
        value = getattr(settings, name)
        for number in value if isinstance(value, tuple) else (value,):
            yield name, number
