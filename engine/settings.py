"""The settings that all backends share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from fairmot.core.errors import ConfigError
from fairmot.core.options import Size
from fairmot.core.timing import StageClock

BackendName = Literal["auto", "onnxruntime", "tensorrt"]
Precision = Literal["fp16", "fp32"]
DeformableConvolution = Literal["auto", "plugin", "native", "nvidia"]
BoxMapping = Literal["exact", "reference"]

MAX_BATCH = 64


@dataclass(frozen=True)
class EngineSettings:
    """Which model runs on which backend, and how.

    Attributes:
        backend: what runs the network; `auto` takes the fastest that works here.
        weights: ONNX file of `fairmot export`; null means the model that ships with the project.
        size: width and height of the network's input, as in 576x320; null means the size in the ONNX file.
        threads: CPU threads of the network; null means one per physical core.
        precision: of the network on a GPU; the CPU computes in float32.
        dcn: deformable convolutions on a GPU: by this project's plugin, TensorRT's own layers (native) or NVIDIA's
            plugin; `auto` is plugin, or native where it cannot be built.
        batch: most frames at once on a GPU; a live source is always taken frame by frame.
        max_detections: most detections per frame; null means as many as the model recommends, 500 for FairMOT and
            100 for CenterNet.
        box_mapping: how boxes are mapped to the frame: exactly, or rounded as in FairMOT's own code (reference).
        score_threshold: detections score strictly above this.
        clock: gets the seconds of the stages: on the CPU `letterbox`, `network` and `decode`; on a GPU, which does
            these three in one go, `upload` (handing frames over), `wait` (for the detections) and `gpu` (what the GPU
            itself took, beside the other stages).

    Raises:
        ConfigError: if a value is out of range.
    """

    backend: BackendName = "auto"
    weights: str | Path | None = None
    size: Size | None = None
    threads: int | None = None
    precision: Precision = "fp16"
    dcn: DeformableConvolution = "auto"
    batch: int = 1
    max_detections: int | None = None
    box_mapping: BoxMapping = "exact"
    score_threshold: float = 0.4
    clock: StageClock = field(default_factory=StageClock, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.score_threshold < 1:
            raise ConfigError(f"score_threshold must be at least 0 and below 1, not {self.score_threshold}.")
        if self.max_detections is not None and self.max_detections < 1:
            raise ConfigError(f"max_detections must be at least 1, not {self.max_detections}.")
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"threads must be at least 1, not {self.threads}.")
        if not 1 <= self.batch <= MAX_BATCH:
            raise ConfigError(f"batch must be from 1 to {MAX_BATCH}, not {self.batch}.")
        for name, choices in (
            ("box_mapping", BoxMapping),
            ("precision", Precision),
            ("dcn", DeformableConvolution),
        ):
            value = getattr(self, name)
            if value not in get_args(choices):
                raise ConfigError(f'{name} must be {" or ".join(get_args(choices))}, not "{value}".')
