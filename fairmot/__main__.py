"""`python -m fairmot`, the same as the command `fairmot`."""

from __future__ import annotations

from fairmot.cli.main import leave, main


def run() -> None:
    """Run the command of this process and end it with its exit code."""
    leave(main())


if __name__ == "__main__":
    run()
