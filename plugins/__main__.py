"""Build the TensorRT plugins: `python -m plugins build`."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from core.errors import UserError
from plugins.build import build


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m plugins", description=__doc__)
    command = parser.add_subparsers(dest="command", required=True).add_parser("build", help="compile the plugins")
    command.add_argument(
        "--architectures", help="compute capabilities to build for, as in 80,86,90; that of the GPU here if not given"
    )
    command.add_argument("--tensorrt-include", type=Path, help="folder of TensorRT's headers; searched if not given")
    command.add_argument("--output", type=Path, help="folder for the library; where it is looked for if not given")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = _parser().parse_args(arguments)
    try:
        build(
            options.architectures,
            options.tensorrt_include,
            options.output,
            report=lambda line: print(line, flush=True),
        )
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
