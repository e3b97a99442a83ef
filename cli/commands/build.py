"""Build the TensorRT engine of a model ahead of its first use.

A model that was made elsewhere (a DCNv2 node is fine) gets one too, with its own input and outputs in float32; it
cannot track.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from fairmot.core.console import ArgumentParser, log_to_stderr
from fairmot.core.errors import ConfigError
from fairmot.core.text import printable


def _parser() -> argparse.ArgumentParser:
    parser = ArgumentParser(prog="fairmot build", description=__doc__)
    parser.add_argument("model", type=Path, nargs="?", help="an ONNX file; the bundled model by default")
    parser.add_argument("--precision", choices=["fp16", "fp32"], default="fp16", help="number format (fp16)")
    parser.add_argument("--batch", default="1", help="images at once; several numbers by commas, as in 1,4,8 (1)")
    parser.add_argument("--size", help="input WIDTHxHEIGHT in pixels (the model's own)")
    parser.add_argument(
        "--dcn",
        choices=["plugin", "native", "nvidia"],
        default="plugin",
        help="deformable convolutions by this project's plugin, by native layers where it cannot be built (slower), or "
        "by NVIDIA's plugin for comparison (plugin)",
    )
    parser.add_argument(
        "--aux-streams",
        type=int,
        default=3,
        metavar="N",
        help="let branches of the network run beside each other on up to N more streams; `inspect --times` needs 0 (3)",
    )
    parser.add_argument("-o", "--output", type=Path, help="the plan file to write (where the engine looks for it)")
    return parser


def _build(options: argparse.Namespace) -> None:
    from fairmot.engine.model import read_for_build
    from fairmot.engine.trt.plan import BuildSettings

    settings = BuildSettings(
        _size(options.size), _batches(options.batch), options.precision, options.dcn, options.aux_streams
    )
    model = read_for_build(options.model, settings.size, settings.batches)
    model.check_size(settings.size or model.size)
    check_tensorrt()
    from fairmot.engine.trt.builder import build_plan

    print(printable(build_plan(model, settings, options.output)))


def check_tensorrt() -> None:
    """Raise `ConfigError` unless TensorRT can run here."""
    from fairmot.plugins.library import tensorrt_obstacle

    obstacle = tensorrt_obstacle()
    if obstacle is not None:
        raise ConfigError(obstacle)


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise ConfigError(f'--size is WIDTHxHEIGHT in pixels, for example 1088x608, not "{text}".')
    return int(width), int(height)


def _batches(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise ConfigError(f'--batch is a number or several by commas, for example 1,4,8, not "{text}".')
    return tuple(int(part) for part in parts)


def run(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    log_to_stderr(logging.INFO)
    options = _parser().parse_args(arguments)
    _build(options)
    return 0
