"""What is written into the folder of a run, and what is said where that fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError

from core.errors import OutputError

# What torch.load and a look into its result raise for files that are no checkpoints.
UNREADABLE = (OSError, RuntimeError, UnpicklingError, EOFError, LookupError, TypeError, ValueError)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in one sentence what goes wrong while `path` is written.

    Raises:
        OutputError: instead of what the system or PyTorch raises.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:  # torch.save gives no reason
        reason = error.strerror if isinstance(error, OSError) else "is the disk full?"
        raise OutputError(f"{path} cannot be written ({reason}); make room or choose another --output.") from error
