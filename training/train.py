"""Train a network on folders of labelled pictures: `python -m training.train --data DIR --config FILE`.

On several GPUs: `torchrun --nproc-per-node 2 -m training.train --data DIR --config FILE`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from training.launch import launch


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; arguments and exit code are those of `launch`."""
    return launch("training.command", arguments)


if __name__ == "__main__":
    sys.exit(main())
