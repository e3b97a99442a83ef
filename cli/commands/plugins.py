"""Build the library of TensorRT plugins for this machine."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from fairmot.core.console import ArgumentParser, log_to_stderr
from fairmot.plugins.build import build


def _parser() -> argparse.ArgumentParser:
    parser = ArgumentParser(prog="fairmot plugins", description=__doc__)
    parser.add_argument(
        "--architectures", help="compute capabilities to build for, as in 80,86,90; that of the GPU here if not given"
    )
    parser.add_argument("--tensorrt-include", type=Path, help="folder of TensorRT's headers; searched if not given")
    parser.add_argument("--output", type=Path, help="folder for the library; where it is looked for if not given")
    return parser


def run(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    log_to_stderr(logging.INFO)
    options = _parser().parse_args(arguments)
    build(
        options.architectures,
        options.tensorrt_include,
        options.output,
        report=lambda line: print(line, flush=True),
    )
    return 0
