"""The command `fairmot`, and what each of its subcommands calls."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import NoReturn

from fairmot.cli.packages import report_missing
from fairmot.cli.signals import cleaned_up_on_signals, ended_by_signals


@dataclass(frozen=True)
class Command:
    """A subcommand.

    Attributes:
        module: whose `run` takes the arguments and returns an exit code.
        extra: the project's extra that it needs, as in `[train]`.
        has_workers: whether a signal must reach the end of `run`, where worker processes are stopped.
    """

    module: str
    extra: str = ""
    has_workers: bool = False


COMMANDS = {
    "track": Command("fairmot.app.command"),
    "associate": Command("fairmot.cli.commands.associate"),
    "evaluate": Command("fairmot.cli.commands.evaluate"),
    "export": Command("fairmot.cli.commands.export", "[export]"),
    "verify": Command("fairmot.cli.commands.verify", "[export]"),
    "build": Command("fairmot.cli.commands.build"),
    "inspect": Command("fairmot.cli.commands.inspect"),
    "plugins": Command("fairmot.cli.commands.plugins"),
    "train": Command("fairmot.training.command", "[train]", has_workers=True),
    "reproduce": Command("fairmot.training.reproduction", "[train]", has_workers=True),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand and return its exit code.

    Args:
        arguments: command line without the program's name; this process's if not given.
    """
    name, *rest = sys.argv[1:] if arguments is None else arguments
    command = COMMANDS[name]
    with ended_by_signals():
        try:
            # Here, because it takes seconds, in which Ctrl-C should work too.
            from fairmot.core.console import exit_code_of

            run = import_module(command.module).run
        except ImportError as error:
            return report_missing(error, command.extra)
        if not command.has_workers:
            return exit_code_of(lambda: run(rest))
    return cleaned_up_on_signals(lambda: exit_code_of(lambda: run(rest)))


def leave(code: int) -> NoReturn:
    """End the process, without taking Python down first where a thread still waits for a stream that is silent.

    PyAV asks Python several times a second whether such a read has timed out, which crashes once Python is gone.
    """
    if any(thread.name == "prefetch" for thread in threading.enumerate()):
        logging.shutdown()
        os._exit(code)  # what was printed has been written, see `fairmot.core.console`
    sys.exit(code)
