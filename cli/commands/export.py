"""`fairmot export`: a checkpoint to ONNX, checked against PyTorch."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path

from fairmot.cli.command import Command
from fairmot.core.console import log_to_stderr
from fairmot.core.errors import ConfigError
from fairmot.core.options import Names, Size, argument, option
from fairmot.engine.preprocessing import PreprocessName
from fairmot.export.architectures import SIZE_MULTIPLE, Architecture, Boxes


@dataclass(frozen=True)
class Options:
    """The options of `fairmot export`.

    Raises:
        ConfigError: if a value is out of range.
    """

    checkpoint: Path = argument("a .pth file of FairMOT, of CenterNet or of `fairmot train`", "CHECKPOINT")
    output: Path = option("the ONNX file to write", short="o", metavar="MODEL.onnx")
    arch: Architecture | None = option("architecture; null means that it is recognized by the keys", None)
    preprocess: PreprocessName | None = option(
        "pre-processing that the network was trained with; null means fairmot if it has embeddings, else centernet",
        None,
    )
    size: Size | None = option(
        "default input of the network in pixels; null means 1088x608 for fairmot, 512x512 for centernet",
        None,
        metavar="WIDTHxHEIGHT",
    )
    boxes: Boxes | None = option(
        "whether all classes share the box of a cell or each has one (cat_spec_wh); null means by the channels of wh",
        None,
    )
    classes: Names = option(
        "class names by commas; if not given, the checkpoint's, or by their number person, VOC's 20 or COCO's 80", ()
    )
    raw: bool = option("raw heads: no sigmoid, peak suppression, normalization", False)
    half_storage: bool = option("store weights as float16, half the file", False)
    score_shift: float = option("added to the heatmap's logits, so that the tracker's thresholds suit the model", 0.0)
    frame: Path | None = option("image for the check; a rendered street if not given", None, metavar="IMAGE")

    def __post_init__(self) -> None:
        if self.size is not None and (not all(self.size) or any(length % SIZE_MULTIPLE for length in self.size)):
            width, height = self.size
            raise ConfigError(
                f"size must be WIDTHxHEIGHT in multiples of {SIZE_MULTIPLE}, as in 1088x608, not {width}x{height}."
            )
        if not math.isfinite(self.score_shift):
            raise ConfigError(f"score_shift must be a finite number, not {self.score_shift}.")


def run(options: Options) -> int:
    """Run the command and return its exit code."""
    from fairmot.export.command import export

    log_to_stderr(logging.INFO)
    agrees = export(
        options.checkpoint,
        options.output,
        size=options.size,
        preprocess=options.preprocess,
        architecture=options.arch,
        boxes=options.boxes,
        classes=options.classes,
        raw=options.raw,
        half_storage=options.half_storage,
        score_shift=options.score_shift,
        frame=options.frame,
    )
    return 0 if agrees else 1


COMMAND = Command(
    Options,
    run,
    "Export a checkpoint to ONNX, with all that an engine must know as metadata, and check the result against PyTorch.",
    (
        "fairmot export fairmot_dla34.pth -o fairmot.onnx",
        "fairmot export ctdet_coco_dla_2x.pth -o coco.onnx",
        "fairmot track video.mp4 --weights fairmot.onnx",
    ),
    "fairmot.export.command",
)
