"""Packages that a command lacks."""

from __future__ import annotations

import sys

from fairmot.core.errors import ConfigError


def report_missing(error: ImportError, extra: str = "") -> int:
    """Print one sentence on standard error and return the exit code.

    Args:
        error: of the import.
        extra: the project's extra that has the package, as in `[train]`.
    """
    what = f"'.{extra}'" if extra else "."
    print(f"error: {error}; `pip install -e {what}` installs what is needed (see README.md).", file=sys.stderr)
    return 1


def require_tensorrt() -> None:
    """Raise `ConfigError` unless TensorRT can run here."""
    from fairmot.plugins.library import tensorrt_unavailable_reason

    reason = tensorrt_unavailable_reason()
    if reason is not None:
        raise ConfigError(reason)
