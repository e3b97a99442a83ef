"""`fairmot plugins`: the library of TensorRT plugins for this machine."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from fairmot.cli.command import Command
from fairmot.core.console import log_to_stderr
from fairmot.core.options import option


@dataclass(frozen=True)
class Options:
    """The options of `fairmot plugins`."""

    architectures: str | None = option(
        "compute capabilities to build for, as in 80,86,90; null means that of the GPU here", None
    )
    tensorrt_include: Path | None = option(
        "folder of TensorRT's headers; null means that they are searched", None, metavar="DIR"
    )
    output: Path | None = option(
        "folder for the library; null means where it is looked for", None, short="o", metavar="DIR"
    )


def run(options: Options) -> int:
    """Run the command and return its exit code."""
    from fairmot.plugins.build import build

    log_to_stderr(logging.INFO)
    build(
        options.architectures,
        options.tensorrt_include,
        options.output,
        report=lambda line: print(line, flush=True),
    )
    return 0


COMMAND = Command(
    Options,
    run,
    "Build the library of TensorRT plugins for this machine.",
    ("fairmot plugins", "fairmot plugins --architectures 80,90 --output plugins90"),
    "fairmot.plugins.build",
)
