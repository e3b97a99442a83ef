"""What is written into the folder of a run, and what is said where that fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError

from fairmot.core.errors import OutputError

# What torch.load and a look into its result raise for files that are no checkpoints.
UNREADABLE = (OSError, RuntimeError, UnpicklingError, EOFError, LookupError, TypeError, ValueError)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in one sentence what goes wrong while `path` is written.

    Raises:
        OutputError: instead of what the system raises.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror}); choose another --output.") from error
