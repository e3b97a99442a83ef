"""`fairmot build`: the TensorRT engine of a model, ahead of its first use."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fairmot.cli.command import Command
from fairmot.cli.packages import require_tensorrt
from fairmot.core.console import log_to_stderr
from fairmot.core.options import Numbers, Size, argument, like, option
from fairmot.core.text import printable
from fairmot.engine.settings import EngineSettings, Precision

_DESCRIPTION = """\
Build the TensorRT engine of a model ahead of its first use. A model that was made elsewhere (a DCNv2 node is fine) gets
one too, with its own input and outputs in float32; it cannot track."""


@dataclass(frozen=True)
class Options:
    """The options of `fairmot build`."""

    model: Path | None = argument("an ONNX file; the bundled model by default", "MODEL", None)
    precision: Precision = like(EngineSettings, "precision")
    batch: Numbers = option("frames at once; several numbers by commas, as in 1,4,8", (1,))
    size: Size | None = like(EngineSettings, "size")
    dcn: Literal["plugin", "native", "nvidia"] = option(
        "deformable convolutions by this project's plugin, by native layers where it cannot be built (slower), or by "
        "NVIDIA's plugin for comparison",
        "plugin",
    )
    aux_streams: int = option(
        "let branches of the network run beside each other on up to N more CUDA streams; `fairmot inspect --times` "
        "needs 0",
        3,
        metavar="N",
    )
    output: Path | None = option(
        "the plan file to write; by default where the engine looks for it", None, short="o", metavar="PLAN"
    )


def run(options: Options) -> int:
    """Run the command and return its exit code."""
    from fairmot.engine.model import read_for_build
    from fairmot.engine.trt.plan import BuildSettings

    log_to_stderr(logging.INFO)
    settings = BuildSettings(options.size, options.batch, options.precision, options.dcn, options.aux_streams)
    model = read_for_build(options.model, settings.size, settings.batches)
    model.check_size(settings.size or model.size)
    require_tensorrt()
    from fairmot.engine.trt.builder import build_plan  # needs TensorRT

    print(printable(build_plan(model, settings, options.output)))
    return 0


COMMAND = Command(
    Options,
    run,
    _DESCRIPTION,
    ("fairmot build --batch 1,8", "fairmot build fairmot.onnx --size 1088x608 -o fairmot.plan"),
    "fairmot.engine.trt.plan",
)
