"""`python run_track.py SOURCE`, the same as `fairmot track SOURCE`: follow the people in a video."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fairmot.cli.main import leave
from fairmot.cli.main import main as run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `fairmot track` and return its exit code.

    Args:
        arguments: command line without the program's name; this process's if not given.
    """
    return run(["track", *(sys.argv[1:] if arguments is None else arguments)])


if __name__ == "__main__":
    leave(main())
