"""User errors: failures that whoever runs the program can remedy.

Packages raise these; the commands print the message as one line on stderr and exit with `exit_code`.
Anything else that escapes is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Base of all user errors; the message is one sentence that names the remedy."""

    exit_code = 1


class ConfigError(UserError):
    """A setting is unknown, has the wrong type or is out of range."""

    exit_code = 2


class SourceError(UserError):
    """Frames cannot be read from the source."""


class ModelError(UserError):
    """The model file cannot be used: missing, unreadable, or not what the engine expects."""


class EngineError(UserError):
    """The backend failed while it ran the model: memory ran out, or its library or the GPU failed."""


class OutputError(UserError):
    """Results cannot be written."""


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return ` Did you mean "x"?` for the nearest known word, or an empty string."""
    nearest = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f' Did you mean "{nearest[0]}"?' if nearest else ""
