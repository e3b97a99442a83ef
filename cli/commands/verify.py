"""Compare a TensorRT engine with its model: `fairmot verify MODEL.onnx --engine PLAN --frame IMAGE`."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from fairmot.core.console import log_to_stderr
from fairmot.export.verify_engine import parser, verify_engine


def run(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    log_to_stderr(logging.INFO)
    return 0 if verify_engine(parser().parse_args(arguments)) else 1
