"""The command `fairmot`: finds the subcommand, reads its options, runs it, and ends the process."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

from fairmot.cli.overview import about_unknown, overview
from fairmot.cli.packages import missing_package
from fairmot.cli.table import COMMANDS, module_of
from fairmot.core.console import exit_code_of
from fairmot.core.errors import ConfigError
from fairmot.core.signals import cleaned_up_on_signals, ended_by_signals

_VERSION_FLAGS, _HELP_FLAGS = ("--version", "-V"), ("--help", "-h")
_WRONG = ConfigError.exit_code


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand and return its exit code.

    Args:
        arguments: command line without the program's name; this process's if not given.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    with ended_by_signals():
        if not words or words[0] not in COMMANDS:
            return exit_code_of(lambda: _without_command(words))
        return exit_code_of(lambda: _run(words[0], words[1:]))


def leave(code: int) -> NoReturn:
    """End the process, without taking Python down first where a thread still waits for a stream that is silent.

    PyAV asks Python several times a second whether such a read has timed out, which crashes once Python is gone.
    """
    if any(thread.name == "prefetch" for thread in threading.enumerate()):
        logging.shutdown()
        os._exit(code)  # what was printed has been written, see `fairmot.core.console`
    sys.exit(code)


def _without_command(words: Sequence[str]) -> int:
    if not words:
        print(overview(), file=sys.stderr)
        return _WRONG
    if words[0] in _HELP_FLAGS:
        print(overview())
        return 0
    if words[0] in _VERSION_FLAGS:
        from fairmot.core.version import __version__

        print(f"fairmot {__version__}")
        return 0
    raise ConfigError(about_unknown(words[0]))


def _run(name: str, arguments: Sequence[str]) -> int:
    entry = COMMANDS[name]
    try:
        # Here, because it takes seconds, in which Ctrl-C should end the process at once.
        from fairmot.cli.options import read_options

        command: Any = import_module(module_of(name)).COMMAND
        options = read_options(command, name, arguments)
        import_module(command.module)
    except ImportError as error:
        raise missing_package(error, entry.extra) from error
    if entry.has_workers:
        return cleaned_up_on_signals(lambda: int(command.run(options)))
    return int(command.run(options))
