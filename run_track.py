"""The command `python run_track.py SOURCE`: follows the people in a video and writes where each of them is."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Sequence
from typing import NoReturn

from cli.packages import report_missing
from cli.signals import ended_by_signals


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: command line without the program's name; this process's if not given.

    Returns:
        The exit code: 0 if all went well, 1 if a source, the model or an output failed, 2 for wrong settings,
        130 or 143 after Ctrl-C or SIGTERM.
    """
    with ended_by_signals():
        try:
            from app.command import run  # here, because it takes a second in which Ctrl-C should work too
            from core.console import exit_code_of
        except ImportError as error:
            return report_missing(error)
        return exit_code_of(lambda: run(sys.argv[1:] if arguments is None else arguments))


def leave(code: int) -> NoReturn:
    """End the process, without taking Python down first where a thread still waits for a stream that is silent.

    PyAV asks Python several times a second whether such a read has timed out, which crashes once Python is gone.
    """
    if any(thread.name == "prefetch" for thread in threading.enumerate()):
        logging.shutdown()
        os._exit(code)  # what was printed has been written, see `core.console`
    sys.exit(code)


if __name__ == "__main__":
    leave(main())
