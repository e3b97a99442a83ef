"""What a command says where a package is not installed."""

from __future__ import annotations

import sys


def report_missing(error: ImportError, extra: str = "") -> int:
    """Print one sentence on standard error and return the exit code.

    Args:
        error: of the import.
        extra: the project's extra that has the package, as in `[train]`.
    """
    what = f"'.{extra}'" if extra else "."
    print(f"error: {error}; `pip install -e {what}` installs what is needed (see README.md).", file=sys.stderr)
    return 1
