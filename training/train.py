"""Train a network on folders of labelled pictures: `python -m training.train --data DIR --config FILE`.

On several GPUs: `torchrun --nproc-per-node 2 -m training.train --data DIR --config FILE`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cli.packages import report_missing
from cli.signals import cleaned_up_on_signals, ended_by_signals


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: command line without the program's name; this process's if not given.

    Returns:
        The exit code: 0 if all went well, 1 if the data, the training or an output failed, 2 for wrong settings, 130 or
        143 after Ctrl-C or SIGTERM.
    """
    with ended_by_signals():
        try:
            from training.command import run  # here, because it takes seconds in which Ctrl-C should work too
        except ImportError as error:
            return report_missing(error, "[train]")
    return cleaned_up_on_signals(lambda: run(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    sys.exit(main())
