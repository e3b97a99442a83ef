"""Export a checkpoint to ONNX and check the result: `fairmot export CHECKPOINT -o MODEL.onnx`."""

from __future__ import annotations

import argparse
import logging
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from fairmot.core.console import ArgumentParser, log_to_stderr
from fairmot.core.errors import ConfigError, SourceError
from fairmot.core.files import check_writable
from fairmot.core.records import ByteArray
from fairmot.core.text import printable
from fairmot.engine.model import check_class_names
from fairmot.export.checkpoint import load_network, read_class_names
from fairmot.export.networks import ARCHITECTURES, SIZE_MULTIPLE
from fairmot.export.onnx_model import fold_batch_norm, round_to_half, save, to_onnx
from fairmot.export.verify import TOLERANCE, check_network, verify
from fairmot.video.synthetic.scene import Scene


def _parser() -> argparse.ArgumentParser:
    parser = ArgumentParser(prog="fairmot export", description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="a .pth file of FairMOT or of `fairmot train`")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the ONNX file to write")
    parser.add_argument("--arch", choices=list(ARCHITECTURES), help="architecture; recognised by the keys if not given")
    parser.add_argument("--size", default="1088x608", help="default input WIDTHxHEIGHT in pixels (1088x608)")
    parser.add_argument("--classes", default="", help="class names, separated by commas (the checkpoint's, or person)")
    parser.add_argument("--raw", action="store_true", help="raw heads: no sigmoid, peak suppression, normalisation")
    parser.add_argument("--half-storage", action="store_true", help="store weights as float16, half the file")
    parser.add_argument(
        "--score-shift",
        type=float,
        default=0.0,
        help="added to the heatmap's logits, so that the tracker's thresholds suit the model (0)",
    )
    parser.add_argument("--frame", type=Path, help="image for the check; a rendered street if not given")
    return parser


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()) or int(width) % SIZE_MULTIPLE or int(height) % SIZE_MULTIPLE:
        raise ConfigError(
            f'--size is WIDTHxHEIGHT in multiples of {SIZE_MULTIPLE}, for example 1088x608, not "{text}".'
        )
    return int(width), int(height)


def _class_names(text: str, stored: list[str], count: int) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    wrong = check_class_names(names) if names else None
    if wrong is not None:
        raise ConfigError(f"--classes should be {wrong}.")
    if not names and len(stored) == count:
        return stored
    if not names:
        return ["person"] if count == 1 else [f"class_{i}" for i in range(count)]
    if len(names) != count:
        raise ConfigError(f"The checkpoint has {count} classes but --classes names {len(names)}.")
    return names


def _frame(path: Path | None) -> ByteArray:
    if path is None:
        return Scene().render(60)
    image = cv2.imread(str(path))
    if image is None:
        raise SourceError(f"{path} is not an image that OpenCV can read.")
    return np.asarray(image, np.uint8)


def export(options: argparse.Namespace) -> bool:
    """Do what the command line asks for and return whether the result agrees with PyTorch.

    Raises:
        UserError: if an option or a file is at fault.
    """
    size, frame = _size(options.size), _frame(options.frame)
    if not math.isfinite(options.score_shift):
        raise ConfigError(f"--score-shift must be a finite number, not {options.score_shift}.")
    check_writable(options.output)
    architecture, network = load_network(options.checkpoint, options.arch)
    with torch.no_grad():
        network.hm[2].bias.add_(options.score_shift)  # type: ignore[operator]
    reference = network
    if options.half_storage:
        reference = round_to_half(fold_batch_norm(network))
    names = _class_names(options.classes, read_class_names(options.checkpoint), network.head_sizes.classes)
    check_network(reference, frame, size, options.checkpoint)
    model = to_onnx(reference, architecture, size, names, raw=options.raw, half_storage=options.half_storage)
    save(model, options.output)
    megabytes = options.output.stat().st_size / 1e6
    print(f"{printable(options.output)}: {architecture}, {size[0]}x{size[1]}, {megabytes:.1f} MB, ONNX checker passed")
    errors = verify(reference, options.output, frame)
    print("ONNX Runtime against PyTorch, relative to max(1, |value|):")
    for error in errors:
        print(f"  {error}")
    if options.half_storage:
        print("Cost of half-precision storage, against the float32 weights:")
        for error in verify(network, options.output, frame):
            print(f"  {error}")
    agrees = all(error.maximum <= TOLERANCE for error in errors)
    if not agrees:
        print(f"The exported model differs from PyTorch by more than {TOLERANCE:g}.", file=sys.stderr)
    return agrees


def run(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    log_to_stderr(logging.INFO)
    return 0 if export(_parser().parse_args(arguments)) else 1
