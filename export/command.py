"""Exporting a checkpoint to ONNX and checking the result, for the command `fairmot export`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from fairmot.core.errors import ConfigError, SourceError
from fairmot.core.files import check_writable
from fairmot.core.records import ByteArray
from fairmot.core.text import printable
from fairmot.engine.model import check_class_names
from fairmot.export.checkpoint import load_network, read_class_names
from fairmot.export.onnx_model import fold_batch_norm, round_to_half, save, to_onnx
from fairmot.export.verify import TOLERANCE, check_network, verify
from fairmot.video.synthetic.scene import Scene


def export(
    checkpoint: Path,
    output: Path,
    *,
    size: tuple[int, int],
    architecture: str | None = None,
    classes: Sequence[str] = (),
    raw: bool = False,
    half_storage: bool = False,
    score_shift: float = 0.0,
    frame: Path | None = None,
) -> bool:
    """Export a checkpoint, check the result, print the comparison and return whether it agrees with PyTorch.

    Args:
        checkpoint: a .pth file of FairMOT or of `fairmot train`.
        output: the ONNX file.
        size: default input of the network, width and height in pixels.
        architecture: recognized by the keys if None.
        classes: names; those of the checkpoint, or person, if empty.
        raw: export raw heads.
        half_storage: store weights as float16.
        score_shift: added to the logits of the heatmap.
        frame: image for the check; a rendered street if None.

    Raises:
        UserError: if an option or a file is invalid.
    """
    image = _frame(frame)
    check_writable(output)
    architecture, network = load_network(checkpoint, architecture)
    with torch.no_grad():
        network.hm[2].bias.add_(score_shift)  # type: ignore[operator]
    reference = network
    if half_storage:
        reference = round_to_half(fold_batch_norm(network))
    names = _class_names(classes, read_class_names(checkpoint), network.head_sizes.classes)
    check_network(reference, image, size, checkpoint)
    model = to_onnx(reference, architecture, size, names, raw=raw, half_storage=half_storage)
    save(model, output)
    megabytes = output.stat().st_size / 1e6
    print(f"{printable(output)}: {architecture}, {size[0]}x{size[1]}, {megabytes:.1f} MB, ONNX checker passed")
    errors = verify(reference, output, image)
    print("ONNX Runtime against PyTorch, relative to max(1, |value|):")
    for error in errors:
        print(f"  {error}")
    if half_storage:
        print("Cost of half-precision storage, against the float32 weights:")
        for error in verify(network, output, image):
            print(f"  {error}")
    agrees = all(error.maximum <= TOLERANCE for error in errors)
    if not agrees:
        print(f"error: The exported model differs from PyTorch by more than {TOLERANCE:g}.", file=sys.stderr)
    return agrees


def _class_names(given: Sequence[str], stored: list[str], count: int) -> list[str]:
    names = list(given)
    wrong = check_class_names(names) if names else None
    if wrong is not None:
        raise ConfigError(f"classes should be {wrong}.")
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
