"""The subcommands of `fairmot` as functions of their arguments, which return the exit code, and their options."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from functools import partial
from importlib import import_module
from typing import Any

from fairmot.cli.commands import associate as association
from fairmot.cli.main import main
from fairmot.cli.options import read_options
from fairmot.cli.table import module_of


def _run(name: str, arguments: Sequence[str]) -> int:
    return main([name, *arguments])


def options_of(name: str, arguments: Sequence[str]) -> Any:
    """Return the options that a command line gives a subcommand."""
    return read_options(import_module(module_of(name)).COMMAND, name, arguments)


def associate(arguments: Sequence[str], say: Callable[[str], object]) -> int:
    """Run `fairmot associate`, whose errors are raised here, and pass each line that it prints to `say`."""
    with redirect_stdout(io.StringIO()) as printed:
        code = association.run(options_of("associate", arguments))
    for line in printed.getvalue().splitlines():
        say(line)
    return code


evaluate = partial(_run, "evaluate")
evaluate_detections = partial(_run, "evaluate-detections")
export = partial(_run, "export")
plugins = partial(_run, "plugins")
reproduce = partial(_run, "reproduce")
track = partial(_run, "track")
train = partial(_run, "train")
