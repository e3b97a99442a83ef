"""`fairmot verify`: a TensorRT engine against its model in float32."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from fairmot.cli.command import Command
from fairmot.core.console import log_to_stderr
from fairmot.core.errors import ConfigError
from fairmot.core.options import argument, option

_DESCRIPTION = """\
Compare a TensorRT plan with its model in float32. Both get the same normalized images: the frame and shifted and
mirrored copies of it. The reference is ONNX Runtime, or PyTorch if a checkpoint is given. A plan is accepted if every
output's relative error, ||out - ref|| / ||ref||, is at most 1e-4 in float32 and 5e-3 in half precision, all detections
match, embeddings have a cosine of at least 0.999, and the outputs of its batch sizes are as near to each other. Build
with --batch 1,8 to see how batches differ. Where rounding decides which of neighboring cells is a peak of the heatmap,
these cells are left out and counted."""


@dataclass(frozen=True)
class Options:
    """The options of `fairmot verify`.

    Raises:
        ConfigError: if a value is out of range.
    """

    model: Path = argument("the ONNX file", "MODEL")
    engine: Path = option("the plan of `fairmot build`", metavar="PLAN")
    frame: Path = option("an image with objects of the model's classes", metavar="IMAGE")
    checkpoint: Path | None = option(
        "compare with PyTorch on this .pth file, not with ONNX Runtime", None, metavar="CHECKPOINT"
    )
    threshold: float | None = option("detections score above it; null means the model's own threshold", None)

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 <= self.threshold < 1:
            raise ConfigError(f"threshold must be at least 0 and below 1, not {self.threshold}.")


def run(options: Options) -> int:
    """Run the command and return its exit code."""
    from fairmot.export.verify_engine import verify_engine

    log_to_stderr(logging.INFO)
    accepted = verify_engine(
        options.model, options.engine, options.frame, checkpoint=options.checkpoint, threshold=options.threshold
    )
    return 0 if accepted else 1


COMMAND = Command(
    Options,
    run,
    _DESCRIPTION,
    ("fairmot verify fairmot.onnx --engine fairmot.plan --frame street.jpg",),
    "fairmot.export.verify_engine",
)
