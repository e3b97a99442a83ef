"""`fairmot evaluate-detections`: average precision of a model's detections on COCO."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from fairmot.cli.command import Command
from fairmot.cli.packages import missing_package
from fairmot.core.console import log_to_stderr
from fairmot.core.errors import ConfigError
from fairmot.core.options import Format, Names, Size, argument, option
from fairmot.engine.preprocessing import PreprocessName
from fairmot.export.architectures import Boxes

if TYPE_CHECKING:
    from fairmot.app.coco.detectors import Detector
    from fairmot.app.coco.settings import DetectionSettings
    from fairmot.core.timing import StageClock

_DESCRIPTION = """\
Evaluate a model's detections on images with COCO annotations: the best 100 of every image, at any score, are written as
COCO's results and scored by COCOeval of pycocotools. An ONNX file brings its pre-processing and its class names; of a
checkpoint (--engine torch) they are chosen as `fairmot export` does. Classes are matched to the file's categories by
their names. --flip, --scales and --keep-res are CenterNet's test-time augmentation; a TensorRT engine can do none of
them."""


def _read_scales(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def _write_scales(scales: tuple[float, ...]) -> str:
    return ",".join(f"{scale:g}" for scale in scales)


Scales = Annotated[
    tuple[float, ...], Format("a number or several by commas, as in 0.5,1,1.5", _read_scales, _write_scales)
]


@dataclass(frozen=True)
class Options:
    """The options of `fairmot evaluate-detections`.

    Raises:
        ConfigError: if options do not go together.
    """

    model: Path = argument("the ONNX file; with --engine torch the .pth file", "MODEL")
    coco: Path = option("annotations, as in instances_val2017.json", metavar="ANNOTATIONS")
    images: Path = option("folder of the images that they name", metavar="FOLDER")
    output: Path = option("results as COCO's tools read them", Path("results.json"), short="o", metavar="FILE")
    engine: Literal["torch", "onnxruntime", "tensorrt"] = option("what runs the network", "onnxruntime")
    size: Size | None = option("input of the network; null means the model's own", None, metavar="WIDTHxHEIGHT")
    classes: Names = option("names of the model's classes, by commas, where its own are not the file's", ())
    flip: bool = option("average with the mirror image", False)
    scales: Scales = option("sizes of the image, merged by soft-NMS", (1.0,), metavar="NUMBERS")
    keep_res: bool = option("leave images at their own resolution", False)
    nms: bool = option("suppress boxes that overlap a better one of their class by 0.5", False)
    preprocess: PreprocessName | None = option(
        "of a checkpoint; null means fairmot for one with embeddings, else centernet", None
    )
    boxes: Boxes | None = option(
        "of a checkpoint: one for all classes or one for each; null means by their channels", None
    )

    def __post_init__(self) -> None:
        for name, value in (("--preprocess", self.preprocess), ("--boxes", self.boxes)):
            if value is not None and self.engine != "torch":
                raise ConfigError(f"{name} is for --engine torch alone: an ONNX file states its own, leave it out.")
        if (self.model.suffix == ".onnx") == (self.engine == "torch") and self.model.suffix in (".onnx", ".pth"):
            kind = "an ONNX file" if self.engine == "torch" else "a checkpoint"
            needed = "--engine onnxruntime" if self.engine == "torch" else "--engine torch"
            raise ConfigError(f"{self.model} is {kind}, which --engine {self.engine} does not run: give {needed}.")


def run(options: Options) -> int:
    """Run the command and return its exit code."""
    from fairmot.app.coco.command import Task, evaluate_detections
    from fairmot.app.coco.settings import DetectionSettings

    log_to_stderr(logging.INFO)
    settings = DetectionSettings(options.flip, options.scales, options.keep_res, options.nms)
    task = Task(options.coco, options.images, options.output, options.classes)
    return evaluate_detections(task, lambda clock: _opened(options, settings, clock))


def _opened(options: Options, settings: DetectionSettings, clock: StageClock) -> AbstractContextManager[Detector]:
    from fairmot.app.coco.detectors import NetworkDetector, open_detector
    from fairmot.engine.model import ModelInfo

    if options.engine != "torch":
        return open_detector(options.engine, ModelInfo.read(options.model), settings, options.size, clock)
    try:
        from fairmot.export.torch_network import TorchNetwork
    except ImportError as error:
        raise missing_package(error, "[export]") from error
    network = TorchNetwork(options.model, preprocess=options.preprocess, boxes=options.boxes, all_cells=settings.flip)
    return nullcontext(NetworkDetector(network, settings, options.size, clock))


COMMAND = Command(
    Options,
    run,
    _DESCRIPTION,
    (
        "fairmot evaluate-detections model.onnx --coco instances_val2017.json --images val2017",
        "fairmot evaluate-detections model.onnx --coco instances_val2017.json --images val2017 --flip --keep-res",
        "fairmot evaluate-detections model.pth --engine torch --coco instances_val2017.json --images val2017",
    ),
    "fairmot.app.coco.command",
)
