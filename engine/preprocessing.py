"""Pre-processing and decoding that a kind of model expects, and the metadata that says so in its ONNX file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Resize = Literal["area", "linear", "linear-centered"]
"""How a frame is resized and placed in the network's input; `fairmot.engine.letterbox` has the formulas."""

PreprocessName = Literal["fairmot", "centernet"]


@dataclass(frozen=True)
class Preprocessing:
    """What a kind of model expects of its input, and how its heatmap is read.

    Attributes:
        size: default input `(width, height)` in pixels.
        channel_order: order of the color channels in the input.
        mean: per channel, in the input's order, subtracted after the division by 255.
        std: per channel, what the difference is divided by.
        border: gray value 0 to 255 around the frame, before normalization.
        resize: see `Resize`.
        score_threshold: recommended; detections score above it.
        max_detections: recommended; most detections per frame.
    """

    size: tuple[int, int]
    channel_order: Literal["rgb", "bgr"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    border: int
    resize: Resize
    score_threshold: float
    max_detections: int


# FairMOT, `jde.py` (letterbox) and `opts.py`.
FAIRMOT = Preprocessing((1088, 608), "rgb", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 128, "area", 0.4, 500)
# CenterNet, `opts.py` (`mean` and `std` of the task ctdet, `vis_thresh`, K) and `base_detector.py`.
CENTERNET = Preprocessing((512, 512), "bgr", (0.408, 0.447, 0.470), (0.289, 0.274, 0.278), 0, "linear", 0.3, 100)

PREPROCESSING: dict[PreprocessName, Preprocessing] = {"fairmot": FAIRMOT, "centernet": CENTERNET}


def metadata_of(
    preprocessing: Preprocessing,
    *,
    architecture: str,
    size: tuple[int, int],
    stride: int,
    size_multiple: int,
    class_names: Sequence[str],
    raw_heads: bool = False,
) -> dict[str, str]:
    """Return the metadata of a model, as `fairmot.engine.model.ModelInfo.read` reads it from the ONNX file.

    Args:
        preprocessing: what the network expects.
        architecture: name of the network.
        size: default input `(width, height)` in pixels.
        stride: input pixels per cell of the outputs.
        size_multiple: width and height of any input must be multiples of this.
        class_names: one name per heatmap channel.
        raw_heads: see `ModelInfo`.
    """
    facts = {
        "format": "1",
        "architecture": architecture,
        "stride": str(stride),
        "size": f"{size[0]}x{size[1]}",
        "size_multiple": str(size_multiple),
        "channel_order": preprocessing.channel_order,
        "mean": _list(preprocessing.mean),
        "std": _list(preprocessing.std),
        "border": str(preprocessing.border),
        "resize": preprocessing.resize,
        "class_names": json.dumps(list(class_names)),
        "raw_heads": str(int(raw_heads)),
        "score_threshold": f"{preprocessing.score_threshold:g}",
        "max_detections": str(preprocessing.max_detections),
    }
    return {f"fairmot.{key}": value for key, value in facts.items()}


def _list(numbers: Sequence[float]) -> str:
    return ",".join(f"{number:.9g}" for number in numbers)
