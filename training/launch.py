"""How the commands of training begin and end."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from cli.packages import report_missing
from cli.signals import cleaned_up_on_signals, ended_by_signals


def launch(module: str, arguments: Sequence[str] | None) -> int:
    """Run a command.

    Args:
        module: whose `run` takes the arguments and returns an exit code.
        arguments: command line without the program's name; this process's if None.

    Returns:
        The exit code: 0 if all went well, 1 if the data, the training or an output failed, 2 for wrong settings, 130 or
        143 after Ctrl-C or SIGTERM.
    """
    with ended_by_signals():
        try:
            run = import_module(module).run  # here, because it takes seconds in which Ctrl-C should work too
        except ImportError as error:
            return report_missing(error, "[train]")
    return cleaned_up_on_signals(lambda: run(sys.argv[1:] if arguments is None else arguments))
