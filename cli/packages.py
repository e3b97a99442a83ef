"""Packages that a command lacks."""

from __future__ import annotations

from fairmot.core.errors import ConfigError, UserError


def missing_package(error: ImportError, extra: str = "") -> UserError:
    """Return the error of a command that cannot be imported.

    Args:
        error: of the import.
        extra: the project's extra that has the package, as in `[train]`.
    """
    what = f"'.{extra}'" if extra else "."
    return UserError(f"{error}; `pip install -e {what}` installs what is needed (see README.md).")


def require_tensorrt() -> None:
    """Raise `ConfigError` unless TensorRT can run here."""
    from fairmot.plugins.library import tensorrt_unavailable_reason

    reason = tensorrt_unavailable_reason()
    if reason is not None:
        raise ConfigError(reason)
