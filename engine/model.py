"""Metadata of ONNX models, read from the file and checked before anything runs it.

`fairmot export` writes everything that an engine must know (stride, input size, pre-processing, class names) into the
file, so that no command needs a flag for it. `check_outputs` compares it with the outputs of the network. Files that
were made elsewhere have no metadata: `read_for_build` reads enough to build an engine, `fairmot adopt` rewrites them.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal, cast, get_args

import onnx

from fairmot.core.errors import ConfigError, ModelError
from fairmot.core.limits import MAX_BOXES
from fairmot.core.text import one_line
from fairmot.engine.onnx_file import load_onnx, require_finite
from fairmot.engine.preprocessing import FAIRMOT, Resize

BUNDLED_WEIGHTS = Path(str(files("fairmot.weights") / "dla_34_lite.onnx"))
"""The model that ships with the project."""

INPUT = "images"
OUTPUTS = ("heatmap", "box", "offset")
EMBEDDING = "embedding"
LANDMARKS = "landmarks"

FORMAT = "1"
PREFIX = "fairmot."

# Far beyond any use; what a damaged file claims must not determine how much memory is allocated.
_MOST_PIXELS = 16384  # a side of the input
_MOST_STEP = 1024  # stride and size multiple
_MOST_CLASSES = 10_000
_LONGEST_NAME = 200
_MOST_CHANNELS = 4096  # of the embedding and of the landmarks
_SHOWN = 60  # characters of a value, in messages
_NAMED = 8  # names, in messages
_LARGEST_FACTOR = 1e6  # mean and std of pixels, which are 0 to 1


@dataclass(frozen=True)
class ModelFile:
    """Path and input size of a model, whoever made it: enough to build an engine.

    Attributes:
        path: the ONNX file.
        size: default input `(width, height)` in pixels.
    """

    path: Path
    size: tuple[int, int]

    def check_size(self, size: tuple[int, int]) -> None:
        """Raise `ConfigError` if it is known that the network takes no input of `size` (width, height)."""
        if min(size) <= 0:
            raise ConfigError(f"The input size {size[0]}x{size[1]} is not above 0: give --size WIDTHxHEIGHT in pixels.")
        check_largest(size)


@dataclass(frozen=True)
class ModelInfo(ModelFile):
    """The metadata of a model that `fairmot export` wrote.

    Attributes:
        architecture: name of the network, `dla_34` for example.
        stride: input pixels per cell of the outputs.
        size_multiple: width and height of any input must be multiples of this.
        channel_order: order of the color channels in the input.
        mean: per channel, in the input's order, subtracted after the division by 255.
        std: per channel, what the difference is divided by.
        border: gray value 0 to 255 of the letterbox border.
        class_names: one name per heatmap channel.
        raw_heads: the heatmap is logits without peak suppression and the embedding is not normalized;
            the decoder does these steps.
        embedding_size: channels of the embedding, 0 for a model without.
        resize: how a frame is resized and placed, see `fairmot.engine.letterbox`.
        score_threshold: recommended; detections score above it.
        max_detections: recommended; most detections per frame.
        class_boxes: every class has a box of its own (CenterNet's `cat_spec_wh`): channels 4c to 4c + 3 of the box are
            those of class c.
        landmark_count: points of each object, 0 for a model without. The output `landmarks` has 2 channels per point,
            x and y from the center in cells.
    """

    architecture: str
    stride: int
    size_multiple: int
    channel_order: Literal["rgb", "bgr"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    border: int
    class_names: tuple[str, ...]
    raw_heads: bool
    embedding_size: int
    resize: Resize = "area"
    score_threshold: float = FAIRMOT.score_threshold
    max_detections: int = FAIRMOT.max_detections
    class_boxes: bool = False
    landmark_count: int = 0

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs that the decoder reads."""
        return list(self.output_channels)

    @property
    def output_channels(self) -> dict[str, int]:
        """Channels of every output by name, in the order of the fields of `fairmot.engine.decode.HeadOutputs`."""
        classes = len(self.class_names)
        channels = {
            "heatmap": classes,
            "box": 4 * classes if self.class_boxes else 4,
            "offset": 2,
            EMBEDDING: self.embedding_size,
            LANDMARKS: 2 * self.landmark_count,
        }
        return {name: count for name, count in channels.items() if count}

    @classmethod
    def read(cls, path: Path | str | None = None) -> ModelInfo:
        """Read and check the metadata of an ONNX file.

        Args:
            path: the file; the bundled model if not given.

        Raises:
            ModelError: if the file is missing, is not ONNX, is damaged, was not made by `fairmot export`, or has
                weights that are not finite.
        """
        path = BUNDLED_WEIGHTS if path is None else Path(path)
        if path == BUNDLED_WEIGHTS and not path.is_file():
            raise ModelError(f"The bundled model {path} is missing: restore it from the repository or give --weights.")
        model = load_onnx(path)
        metadata = _metadata(model)
        if "format" not in metadata:
            raise ModelError(
                f"{path} carries no FairMOT metadata, so it was made elsewhere: rewrite it with "
                f"`fairmot adopt {path.name} -o OUT.onnx`, or export its checkpoint with `fairmot export`."
            )
        if metadata["format"] != FORMAT:
            raise ModelError(
                f'{path} is in format "{one_line(metadata["format"], _SHOWN)}", not "{FORMAT}": '
                "export the checkpoint again with this version's `fairmot export`."
            )
        info = _parse(path, metadata, {output.name: output for output in model.graph.output})
        _check_graph(model.graph, info)
        require_finite(model, path)
        return info

    def check_size(self, size: tuple[int, int]) -> None:
        """Raise `ConfigError` unless the network takes an input of `size` (width, height)."""
        step = self.size_multiple
        if any(side <= 0 or side % step for side in size):
            width, height = (max(step, round(side / step) * step) for side in size)
            raise ConfigError(
                f"The input size {size[0]}x{size[1]} does not suit {self.path.name}: width and height must be "
                f"multiples of {step}, the nearest is {width}x{height}."
            )
        check_largest(size)

    def check_outputs(self, input_size: tuple[int, int], shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Compare the shapes that the network returned with the metadata.

        Args:
            input_size: `(width, height)` of the input that was run.
            shapes: `(n, channels, rows, columns)` by output name.

        Raises:
            ModelError: if channels or stride differ.
        """
        width, height = input_size
        for name, channels in self.output_channels.items():
            expected = (channels, height // self.stride, width // self.stride)
            if shapes[name][1:] != expected:
                found, wanted = ("x".join(map(str, shape)) for shape in (shapes[name][1:], expected))
                raise ModelError(
                    f'{self.path}: for an input of {width}x{height} the output "{name}" has '
                    f"{found} (channels, rows, columns) instead of {wanted}, which its stride of {self.stride} "
                    "requires: export the checkpoint again with `fairmot export`."
                )


def read_for_build(path: Path | None, size: tuple[int, int] | None, batches: tuple[int, ...]) -> ModelFile:
    """Read what an engine build needs of a model.

    Args:
        path: any ONNX file with one image input; the bundled model if not given.
        size: input `(width, height)` in pixels; the model's own if not given.
        batches: numbers of images.

    Returns:
        `ModelInfo` if the file has this project's metadata, otherwise path and size alone.

    Raises:
        ConfigError: if the input has no size of its own and none is given, or has others than those asked for.
        ModelError: if the file cannot be read or has no such input.
    """
    if path is None:
        return ModelInfo.read()
    model = load_onnx(path)
    if "format" in _metadata(model):
        return ModelInfo.read(path)
    count, height, width = image_input(model.graph, path)
    if size is None and not (width and height):
        raise ConfigError(f"{path} does not state the size of its input: give --size WIDTHxHEIGHT.")
    size = size or (width, height)
    if (width or size[0], height or size[1]) != size:
        raise ConfigError(
            f"The input of {path} is fixed at {width}x{height}, not {size[0]}x{size[1]}: leave --size out."
        )
    if count and batches != (count,):
        raise ConfigError(f"The input of {path} is fixed at {count} images: give --batch {count}.")
    return ModelFile(path, size)


def check_class_names(names: Iterable[str]) -> str | None:
    """Return what the names of classes should be, or None if they are."""
    names = list(names)
    if not 0 < len(names) <= _MOST_CLASSES:
        return f"a list of 1 to {_MOST_CLASSES} names"
    if not all(isinstance(name, str) and name.isprintable() and len(name) <= _LONGEST_NAME for name in names):
        return f"names of at most {_LONGEST_NAME} printable characters"
    return None


def check_largest(size: tuple[int, int]) -> None:
    """Raise `ConfigError` if an input of `size` (width, height) is too large for any machine."""
    if max(size) > _MOST_PIXELS:
        raise ConfigError(
            f"The input size {size[0]}x{size[1]} is too large: give --size with at most {_MOST_PIXELS} pixels a side."
        )


def _metadata(model: onnx.ModelProto) -> dict[str, str]:
    entries = [entry for entry in model.metadata_props if entry.key.startswith(PREFIX)]
    return {entry.key.removeprefix(PREFIX): entry.value for entry in entries}


def _parse(path: Path, metadata: Mapping[str, str], outputs: Mapping[str, onnx.ValueInfoProto]) -> ModelInfo:
    def wrong(key: str, expected: str) -> ModelError:
        found = one_line(metadata.get(key, ""), _SHOWN)
        return ModelError(
            f'{path}: its metadata {PREFIX}{key} is "{found}" but should be {expected}: '
            "export the checkpoint again with `fairmot export`."
        )

    def one_of(key: str, allowed: tuple[str, ...]) -> str:
        if metadata.get(key) not in allowed:
            raise wrong(key, " or ".join(allowed))
        return metadata[key]

    def numbers(key: str, expected: str, count: int, least: float, most: float, separator: str = ",") -> list[float]:
        try:
            values = [float(part) for part in metadata.get(key, "").split(separator, count)]
        except ValueError:
            values = []
        if len(values) != count or not all(least <= value <= most for value in values):
            raise wrong(key, expected)
        return values

    def integers(key: str, expected: str, most: int, count: int = 1, least: int = 1, separator: str = ",") -> list[int]:
        values = numbers(key, expected, count, least, most, separator)
        if any(value != int(value) for value in values):
            raise wrong(key, expected)
        return [int(value) for value in values]

    (stride,) = integers("stride", f"a whole number from 1 to {_MOST_STEP}", _MOST_STEP)
    step = f"a multiple of the stride, at most {_MOST_STEP}"
    (size_multiple,) = integers("size_multiple", step, _MOST_STEP)
    (border,) = integers("border", "a gray value from 0 to 255", 255, least=0)
    largest = f"WIDTHxHEIGHT in pixels, at most {_MOST_PIXELS} each"
    width, height = integers("size", largest, _MOST_PIXELS, count=2, separator="x")
    limit = f"up to {_LARGEST_FACTOR:g}"
    mean = numbers("mean", f"three numbers {limit}", 3, -_LARGEST_FACTOR, _LARGEST_FACTOR)
    std = numbers("std", f"three numbers above 0, {limit}", 3, 1e-6, _LARGEST_FACTOR)
    try:
        names = json.loads(metadata.get("class_names", ""))
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list):
        raise wrong("class_names", "a JSON list of names")
    expected = check_class_names(names)
    if expected is not None:
        raise wrong("class_names", expected)
    if size_multiple % stride:
        raise wrong("size_multiple", step)
    if width % size_multiple or height % size_multiple:
        raise wrong("size", f"multiples of {size_multiple}")
    architecture = metadata.get("architecture", "")
    if not architecture.isprintable() or len(architecture) > _LONGEST_NAME:
        raise wrong("architecture", f"a name of at most {_LONGEST_NAME} printable characters")
    resize = cast(Resize, one_of("resize", get_args(Resize)))
    if resize != "area" and border:
        raise wrong("border", f"0 where {PREFIX}resize is {resize}")
    score_threshold, max_detections = FAIRMOT.score_threshold, FAIRMOT.max_detections  # of files of older versions
    if "score_threshold" in metadata:
        (score_threshold,) = numbers("score_threshold", "a score from 0 to 1", 1, 0, 1)
    if "max_detections" in metadata:
        (max_detections,) = integers("max_detections", f"a whole number from 1 to {MAX_BOXES}", MAX_BOXES)
    landmarks = _channels(outputs, LANDMARKS, path)
    if landmarks % 2:
        raise ModelError(
            f'{path}: the output "{LANDMARKS}" has {landmarks} channels, not two for each point: make the file again '
            "with `fairmot adopt`."
        )
    return ModelInfo(
        path=path,
        architecture=architecture,
        stride=stride,
        size=(width, height),
        size_multiple=size_multiple,
        channel_order=cast(Literal["rgb", "bgr"], one_of("channel_order", ("rgb", "bgr"))),
        mean=(mean[0], mean[1], mean[2]),
        std=(std[0], std[1], std[2]),
        border=border,
        class_names=tuple(names),
        raw_heads=one_of("raw_heads", ("0", "1")) == "1",
        embedding_size=_channels(outputs, EMBEDDING, path),
        resize=resize,
        score_threshold=score_threshold,
        max_detections=max_detections,
        class_boxes=len(names) > 1 and _declared_channels(outputs, "box") == 4 * len(names),
        landmark_count=landmarks // 2,
    )


def _channels(outputs: Mapping[str, onnx.ValueInfoProto], name: str, path: Path) -> int:
    """Return the channels of an output, 0 if there is none of the name."""
    if name not in outputs:
        return 0
    count = _declared_channels(outputs, name)
    if not 0 < count <= _MOST_CHANNELS:
        raise ModelError(
            f'{path}: the output "{name}" does not state its number of channels, 1 to {_MOST_CHANNELS}: '
            "export the checkpoint again with `fairmot export`."
        )
    return count


def _declared_channels(outputs: Mapping[str, onnx.ValueInfoProto], name: str) -> int:
    """Return the channels that the file states for an output, 0 if it states none."""
    dims = list(outputs[name].type.tensor_type.shape.dim) if name in outputs else []
    return int(dims[1].dim_value) if len(dims) == 4 else 0


def _check_graph(graph: onnx.GraphProto, info: ModelInfo) -> None:
    remedy = "export the checkpoint again with `fairmot export`."
    constants = {tensor.name for tensor in graph.initializer}
    inputs = {value.name: value for value in graph.input if value.name not in constants}
    if set(inputs) != {INPUT}:
        raise ModelError(f'{info.path} should have the one input "{INPUT}" but has {_names(inputs)}: {remedy}')
    tensor = inputs[INPUT].type.tensor_type
    dims = tensor.shape.dim
    if (
        tensor.elem_type != onnx.TensorProto.FLOAT
        or len(dims) != 4
        or dims[1].dim_value != 3
        or any(dims[axis].HasField("dim_value") for axis in (0, 2, 3))
    ):
        raise ModelError(
            f'{info.path}: the input "{INPUT}" should be float32 with the shape (n, 3, h, w), '
            f"n, h and w left open: {remedy}"
        )
    outputs = {value.name: value for value in graph.output}
    for name in info.output_names:
        if name not in outputs:
            raise ModelError(f'{info.path} has no output "{name}", only {_names(outputs)}: {remedy}')


def _names(names: Mapping[str, object]) -> str:
    shown = ", ".join(f'"{one_line(name, _SHOWN)}"' for name in itertools.islice(names, _NAMED))
    return f"{shown} and {len(names) - _NAMED} more" if len(names) > _NAMED else shown or "none"


def image_input(
    graph: onnx.GraphProto, path: Path, types: tuple[int, ...] = (onnx.TensorProto.FLOAT,)
) -> tuple[int, int, int]:
    """Return images, rows and columns of the one input of a network; 0 where the file leaves them open.

    Args:
        graph: of any file.
        path: of the file, for the message.
        types: that its input may have, in ONNX's numbers.

    Raises:
        ModelError: if it has another input, or several.
    """
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    tensor = inputs[0].type.tensor_type if len(inputs) == 1 else onnx.TypeProto.Tensor()
    count, channels, height, width = (
        [dim.dim_value for dim in tensor.shape.dim] if len(tensor.shape.dim) == 4 else [0] * 4
    )
    if tensor.elem_type not in types or channels <= 0 or min(count, height, width) < 0:
        raise ModelError(
            f"{path} should have one input, float32 with the shape (n, channels, h, w), the channels a number: "
            "export the model with such an input."
        )
    return count, height, width
