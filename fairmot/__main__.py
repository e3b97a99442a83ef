"""`python -m fairmot`, the same as the command `fairmot`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from fairmot.cli.main import leave, main


def run(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and end the process with its exit code.

    Args:
        arguments: command line without the program's name; this process's if not given.
    """
    leave(main(arguments))


if __name__ == "__main__":
    run()
