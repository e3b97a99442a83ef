"""Make the bundled weights from the data folder: `python -m training.reproduce --data DIR --output DIR`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from training.launch import launch


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; arguments and exit code are those of `launch`."""
    return launch("training.reproduction", arguments)


if __name__ == "__main__":
    sys.exit(main())
