"""`fairmot adopt`: an ONNX file of another exporter, rewritten so that this project can track with it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fairmot.cli.command import Command
from fairmot.core.console import log_to_stderr
from fairmot.core.errors import ConfigError
from fairmot.core.options import Names, Size, argument, option

_DESCRIPTION = """\
Rewrite an ONNX file of CenterNet, FairMOT or CenterFace that another exporter wrote: deformable convolutions as the
standard DeformConv, finished heads, any batch and size, metadata. It prints what it recognized and why, and compares
the network before and after in ONNX Runtime."""


@dataclass(frozen=True)
class Options:
    """The options of `fairmot adopt`.

    Raises:
        ConfigError: if a value is out of range.
    """

    model: Path = argument("an ONNX file", "MODEL")
    output: Path = option("the ONNX file to write", short="o", metavar="OUT.onnx")
    outputs: Names = option(
        "the heads by name of the output, as in hm=537,wh=538,reg=539,id=540; recognized if not given", ()
    )
    preprocess: Literal["fairmot", "centernet", "centerface"] | None = option(
        "pre-processing that the network expects; null means fairmot with id, centerface with landmarks, centernet "
        "else",
        None,
    )
    resize: Literal["area", "linear", "linear-centered"] | None = option(
        "how frames are resized; null means as the pre-processing does; linear-centered is tensorRT_Pro's", None
    )
    classes: Names = option("class names by commas; those of VOC, COCO or person by their number if not given", ())
    size: Size | None = option(
        "default input of the network in pixels; null means that of the file", None, metavar="WIDTHxHEIGHT"
    )

    def __post_init__(self) -> None:
        if self.size is not None and not all(self.size):
            raise ConfigError(f"size must be above 0, as in 512x512, not {self.size[0]}x{self.size[1]}.")


def run(options: Options) -> int:
    """Run the command and return its exit code."""
    from fairmot.export.foreign.adopt import TOLERANCE, Choices, adopt
    from fairmot.export.foreign.heads import read_assignment

    log_to_stderr(logging.INFO)
    choices = Choices(
        read_assignment(options.outputs), options.preprocess, options.resize, options.classes, options.size
    )
    if adopt(options.model, options.output, choices):
        return 0
    logging.getLogger("fairmot").error("The rewritten model differs from the file by more than %g.", TOLERANCE)
    return 1


COMMAND = Command(
    Options,
    run,
    _DESCRIPTION,
    (
        "fairmot adopt ctdet_coco_dla_2x.onnx -o centernet.onnx",
        "fairmot adopt centerface.onnx -o faces.onnx --outputs hm=537,wh=538,reg=539,landmarks=540",
    ),
    "fairmot.export.foreign.adopt",
)
