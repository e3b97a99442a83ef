"""Build the TensorRT plugins: `python -m plugins build`."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from core.console import ArgumentParser, exit_code_of, log_to_stderr
from plugins.build import build


def _parser() -> argparse.ArgumentParser:
    parser = ArgumentParser(prog="python -m plugins", description=__doc__)
    command = parser.add_subparsers(dest="command", required=True).add_parser("build", help="compile the plugins")
    command.add_argument(
        "--architectures", help="compute capabilities to build for, as in 80,86,90; that of the GPU here if not given"
    )
    command.add_argument("--tensorrt-include", type=Path, help="folder of TensorRT's headers; searched if not given")
    command.add_argument("--output", type=Path, help="folder for the library; where it is looked for if not given")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return exit_code_of(lambda: _run(arguments))


def _run(arguments: list[str] | None) -> int:
    log_to_stderr(logging.INFO)
    options = _parser().parse_args(arguments)
    build(
        options.architectures,
        options.tensorrt_include,
        options.output,
        report=lambda line: print(line, flush=True),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
