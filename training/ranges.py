"""Checks of settings: whether numbers lie in their ranges."""

from __future__ import annotations

import math
from typing import Any

from core.errors import ConfigError


def require(settings: Any, prefix: str, names: str, low: float = 0.0, high: float = math.inf) -> None:
    """Check that numbers are finite and within `[low, high]`.

    Args:
        settings: whose attributes are checked.
        prefix: of their keys, for the message: `settings.augment.`.
        names: of the attributes, separated by blanks; a value may be a tuple of numbers.
        low: least value.
        high: largest value.

    Raises:
        ConfigError: if one lies outside.
    """
    for name in names.split():
        value = getattr(settings, name)
        for number in value if isinstance(value, tuple) else (value,):
            if not (low <= number <= high and math.isfinite(number)):
                wanted = f"at least {low:g}" if high == math.inf else f"between {low:g} and {high:g}"
                raise ConfigError(f"{prefix}{name} must be {wanted}, not {number}.")


def require_positive(settings: Any, prefix: str, names: str) -> None:
    """Check that numbers are finite and above 0; arguments and errors as for `require`."""
    for name in names.split():
        value = getattr(settings, name)
        for number in value if isinstance(value, tuple) else (value,):
            if not 0 < number < math.inf:
                raise ConfigError(f"{prefix}{name} must be above 0, not {number}.")


def require_order(settings: Any, prefix: str, names: str) -> None:
    """Check that ranges `(low, high)` are in order; arguments and errors as for `require`."""
    for name in names.split():
        low, high = getattr(settings, name)
        if low > high:
            raise ConfigError(f"{prefix}{name} must begin with the smaller number, so not with {low} before {high}.")
