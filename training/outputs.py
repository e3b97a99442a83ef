"""Errors of reading and writing the files of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError

from fairmot.core.errors import OutputError

# Exceptions of torch.load, and of access to its result, for files that are no checkpoints.
UNREADABLE = (OSError, RuntimeError, UnpicklingError, EOFError, LookupError, TypeError, ValueError)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Convert errors of writing `path` into a one-line `OutputError`.

    Raises:
        OutputError: instead of `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror}); choose another --output.") from error
