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
from fairmot.export.architectures import SIZE_MULTIPLE, Architecture


@dataclass(frozen=True)
class Options:
    """The options of `fairmot export`.

    Raises:
        ConfigError: if a value is out of range.
    """

    checkpoint: Path = argument("a .pth file of FairMOT or of `fairmot train`", "CHECKPOINT")
    output: Path = option("the ONNX file to write", short="o", metavar="MODEL.onnx")
    arch: Architecture | None = option("architecture; null means that it is recognized by the keys", None)
    size: Size = option("default input of the network in pixels", (1088, 608), metavar="WIDTHxHEIGHT")
    classes: Names = option("class names by commas; the checkpoint's, or person, if not given", ())
    raw: bool = option("raw heads: no sigmoid, peak suppression, normalization", False)
    half_storage: bool = option("store weights as float16, half the file", False)
    score_shift: float = option("added to the heatmap's logits, so that the tracker's thresholds suit the model", 0.0)
    frame: Path | None = option("image for the check; a rendered street if not given", None, metavar="IMAGE")

    def __post_init__(self) -> None:
        if not all(self.size) or any(length % SIZE_MULTIPLE for length in self.size):
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
        architecture=options.arch,
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
    ("fairmot export fairmot_dla34.pth -o fairmot.onnx", "fairmot track video.mp4 --weights fairmot.onnx"),
    "fairmot.export.command",
)
