"""Exporting a checkpoint to ONNX and checking the result, for the command `fairmot export`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from fairmot.core.class_names import default_class_names
from fairmot.core.errors import ConfigError, SourceError
from fairmot.core.files import check_writable
from fairmot.core.records import ByteArray
from fairmot.core.text import printable
from fairmot.engine.model import check_class_names
from fairmot.engine.preprocessing import PREPROCESSING, PreprocessName
from fairmot.export.architectures import Architecture, Boxes
from fairmot.export.checkpoint import load_network, read_class_names
from fairmot.export.networks import HeadSizes
from fairmot.export.onnx_model import fold_batch_norm, round_to_half, save, to_onnx
from fairmot.export.verify import TOLERANCE, check_network, verify
from fairmot.video.synthetic.scene import Scene


def export(
    checkpoint: Path,
    output: Path,
    *,
    size: tuple[int, int] | None = None,
    preprocess: PreprocessName | None = None,
    architecture: Architecture | None = None,
    boxes: Boxes | None = None,
    classes: Sequence[str] = (),
    raw: bool = False,
    half_storage: bool = False,
    score_shift: float = 0.0,
    frame: Path | None = None,
) -> bool:
    """Export a checkpoint, check the result, print the comparison and return whether it agrees with PyTorch.

    Args:
        checkpoint: a .pth file of FairMOT, of CenterNet or of `fairmot train`.
        output: the ONNX file.
        size: default input of the network, width and height in pixels; that of the pre-processing if None.
        preprocess: pre-processing that the network was trained with; if None, FairMOT's for a network with embeddings,
            else CenterNet's.
        architecture: recognized by the keys if None.
        boxes: by the channels of `wh` if None, see `fairmot.export.checkpoint.head_sizes`.
        classes: names; those of the checkpoint, or by their number, if empty.
        raw: export raw heads.
        half_storage: store weights as float16.
        score_shift: added to the logits of the heatmap.
        frame: image for the check; a rendered street if None.

    Raises:
        UserError: if an option or a file is invalid.
    """
    image = _frame(frame)
    check_writable(output)
    name, network = load_network(checkpoint, architecture, class_boxes=None if boxes is None else boxes == "per-class")
    heads = network.head_sizes
    preprocess = preprocess or ("fairmot" if heads.embedding else "centernet")
    preprocessing = PREPROCESSING[preprocess]
    size = size or preprocessing.size
    network.shift_scores(score_shift)
    reference = network
    if half_storage:
        reference = round_to_half(fold_batch_norm(network))
    names = _class_names(classes, read_class_names(checkpoint), heads.classes)
    check_network(reference, image, size, preprocessing, checkpoint)
    model = to_onnx(reference, name, size, names, preprocessing=preprocessing, raw=raw, half_storage=half_storage)
    save(model, output)
    megabytes = output.stat().st_size / 1e6
    print(f"{printable(output)}: {name}, {size[0]}x{size[1]}, {megabytes:.1f} MB, ONNX checker passed")
    print(f"{_described(heads)}; pre-processing of {preprocess}")
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


def _described(heads: HeadSizes) -> str:
    """Return what the heads hold, in words."""
    form = "width, height" if heads.box_is_size else "left, top, right, bottom"
    parts = [
        f"{heads.classes} class{'' if heads.classes == 1 else 'es'}",
        f"boxes as {form}{' of each class' if heads.class_boxes else ''}",
        "offsets" if heads.offset else "no offsets",
        f"embeddings of {heads.embedding}" if heads.embedding else "no embeddings",
    ]
    return ", ".join(parts)


def _class_names(given: Sequence[str], stored: list[str], count: int) -> list[str]:
    names = list(given)
    wrong = check_class_names(names) if names else None
    if wrong is not None:
        raise ConfigError(f"classes should be {wrong}.")
    if not names and len(stored) == count:
        return stored
    if not names:
        return list(default_class_names(count))
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
