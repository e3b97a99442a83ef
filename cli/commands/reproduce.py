"""`fairmot reproduce`: the bundled weights, from the data folder."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from subprocess import CalledProcessError

from fairmot.cli.command import Command
from fairmot.core.console import log_to_stderr
from fairmot.core.options import option

_DESCRIPTION = """\
Make the bundled weights from the data folder: unpack DIR/train/*.tar, train by the preset train_lite, export, and score
on the sequences of DIR/dev. Training that is done is not done again, so it may happen on a machine with a GPU and the
rest elsewhere."""
_MISSING = "Name the folder with train/*.tar and dev/ and one for what is made: --data DIR --output DIR"


@dataclass(frozen=True)
class Options:
    """The options of `fairmot reproduce`."""

    data: Path = option("folder with train/*.tar and dev/", metavar="DIR", missing=_MISSING)
    output: Path = option("folder for everything that is made", metavar="DIR", missing=_MISSING)


def run(options: Options) -> int:
    """Run the command and return its exit code."""
    from fairmot.training.reproduction import reproduce

    log_to_stderr(logging.INFO)
    try:
        reproduce(options.data, options.output)
    except CalledProcessError as error:  # it has printed why
        return int(error.returncode) if error.returncode > 0 else 128 - int(error.returncode)
    return 0


COMMAND = Command(
    Options,
    run,
    _DESCRIPTION,
    ("fairmot reproduce --data shared/data --output runs/lite",),
    "fairmot.training.reproduction",
)
