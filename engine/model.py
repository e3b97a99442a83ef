"""What an exported model says about itself, read from the ONNX file and checked before anything runs it.

`python -m export` writes everything that an engine must know (stride, input size, pre-processing, class
names) into the file as metadata, so that no command needs a flag for it. This module reads those facts
without running the network; `check_outputs` compares them with what the network really returns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx.checker import ValidationError
from onnx.external_data_helper import load_external_data_for_model

from core.errors import ConfigError, ModelError

BUNDLED_WEIGHTS = Path(__file__).resolve().parents[1] / "weights" / "dla_34_lite.onnx"
"""The model that ships with the project."""

INPUT = "images"
OUTPUTS = ("heatmap", "box", "offset")
EMBEDDING = "embedding"

_FORMAT = "1"
_PREFIX = "fairmot."


@dataclass(frozen=True)
class ModelFile:
    """What building an engine takes of a model, whoever made it.

    Attributes:
        path: the ONNX file.
        size: default input `(width, height)` in pixels.
    """

    path: Path
    size: tuple[int, int]

    def check_size(self, size: tuple[int, int]) -> None:
        """Raise `ConfigError` unless the network takes an input of `size` (width, height), as far as is known."""
        if min(size) <= 0:
            raise ConfigError(f"The input size {size[0]}x{size[1]} is not above 0: give --size WIDTHxHEIGHT in pixels.")


@dataclass(frozen=True)
class ModelInfo(ModelFile):
    """The facts of a model that `python -m export` wrote.

    Attributes:
        architecture: name of the network, `dla_34` for example.
        stride: input pixels per cell of the outputs.
        size_multiple: width and height of any input must be multiples of this.
        channel_order: order of the colour channels in the input.
        mean: per channel, in the input's order, subtracted after the division by 255.
        std: per channel, what the difference is divided by.
        border: grey value 0 to 255 of the letterbox border.
        class_names: one name per heatmap channel.
        raw_heads: the heatmap is logits without peak suppression and the embedding is not normalised;
            the decoder does these steps.
        embedding_size: channels of the embedding, 0 for a model without.
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

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs that the decoder reads, in its order."""
        return [*OUTPUTS, EMBEDDING] if self.embedding_size else list(OUTPUTS)

    @property
    def output_channels(self) -> dict[str, int]:
        """Channels of every output by name."""
        channels = {"heatmap": len(self.class_names), "box": 4, "offset": 2, EMBEDDING: self.embedding_size}
        return {name: channels[name] for name in self.output_names}

    @classmethod
    def read(cls, path: Path | str | None = None) -> ModelInfo:
        """Read and check the facts of an ONNX file.

        Args:
            path: the file; the bundled model if not given.

        Raises:
            ModelError: if the file is missing, is not ONNX, is damaged, or was not made by `python -m export`.
        """
        path = BUNDLED_WEIGHTS if path is None else Path(path)
        model = load_onnx(path)
        facts = _metadata(model)
        if "format" not in facts:
            raise ModelError(
                f"{path} carries no FairMOT metadata, so it was made elsewhere: "
                "export its checkpoint with `python -m export`."
            )
        if facts["format"] != _FORMAT:
            raise ModelError(
                f'{path} is in format "{facts["format"]}" but this version reads format "{_FORMAT}": '
                "export the checkpoint again with this version's `python -m export`."
            )
        info = _facts(path, facts, embedding_size=_embedding_size(model, path))
        _check_graph(model.graph, info)
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

    def check_outputs(self, input_size: tuple[int, int], shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Compare the shapes that the network returned with what the metadata promises.

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
                raise ModelError(
                    f'{self.path}: for an input of {width}x{height} the output "{name}" has '
                    f"{_shape(shapes[name][1:])} (channels, rows, columns) instead of {_shape(expected)}, which its "
                    f"stride of {self.stride} asks for: export the checkpoint again with `python -m export`."
                )


def has_metadata(model: onnx.ModelProto) -> bool:
    """Whether a model says of itself what `ModelInfo` holds."""
    return "format" in _metadata(model)


def _metadata(model: onnx.ModelProto) -> dict[str, str]:
    entries = [entry for entry in model.metadata_props if entry.key.startswith(_PREFIX)]
    return {entry.key.removeprefix(_PREFIX): entry.value for entry in entries}


def _shape(sizes: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in sizes)


def load_onnx(path: Path) -> onnx.ModelProto:
    """Load an ONNX file.

    Raises:
        ModelError: if it is missing, is not ONNX or is damaged, or lacks the files that hold its weights.
    """
    if not path.is_file():
        if path == BUNDLED_WEIGHTS:
            raise ModelError(f"The bundled model {path} is missing: restore it from the repository or give --weights.")
        raise ModelError(f"There is no model file {path}.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"The model file {path} cannot be read: {error.strerror}.") from None
    # An ONNX file begins with field 1, its IR version: the byte 0x08 and a small number (onnx.proto, ModelProto).
    if len(data) < 2 or data[0] != 0x08 or not 1 <= data[1] < 64:
        raise ModelError(f"{path} is not an ONNX file: give a file that `python -m export` wrote.")
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError:
        model = onnx.ModelProto()
    if not model.graph.node or not model.graph.output:
        raise ModelError(f"{path} is truncated or damaged: copy it again or export it again with `python -m export`.")
    try:
        load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, ValidationError) as error:
        detail = " ".join(str(error).split()).rstrip(".")
        raise ModelError(f"The files beside {path} that should hold its weights cannot be read ({detail}).") from None
    return model


def _facts(path: Path, facts: Mapping[str, str], embedding_size: int) -> ModelInfo:
    def wrong(key: str, expected: str) -> ModelError:
        return ModelError(
            f'{path}: its metadata {_PREFIX}{key} is "{facts.get(key, "")}" but should be {expected}: '
            "export the checkpoint again with `python -m export`."
        )

    def one_of(key: str, allowed: tuple[str, ...]) -> str:
        if facts.get(key) not in allowed:
            raise wrong(key, " or ".join(allowed))
        return facts[key]

    def numbers(key: str, expected: str, count: int, least: float, separator: str = ",") -> list[float]:
        try:
            values = [float(part) for part in facts.get(key, "").split(separator)]
        except ValueError:
            values = []
        if len(values) != count or not all(least <= value < float("inf") for value in values):
            raise wrong(key, expected)
        return values

    def integers(key: str, expected: str, count: int = 1, least: int = 1, separator: str = ",") -> list[int]:
        values = numbers(key, expected, count, least, separator)
        if any(value != int(value) for value in values):
            raise wrong(key, expected)
        return [int(value) for value in values]

    (stride,) = integers("stride", "a whole number above 0")
    (size_multiple,) = integers("size_multiple", "a multiple of the stride")
    (border,) = integers("border", "a grey value from 0 to 255", least=0)
    width, height = integers("size", "WIDTHxHEIGHT in pixels", count=2, separator="x")
    mean = numbers("mean", "three numbers", count=3, least=float("-inf"))
    std = numbers("std", "three numbers above 0", count=3, least=1e-6)
    try:
        names = json.loads(facts.get("class_names", ""))
    except json.JSONDecodeError:
        names = None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise wrong("class_names", "a JSON list of names")
    if size_multiple % stride:
        raise wrong("size_multiple", "a multiple of the stride")
    if width % size_multiple or height % size_multiple:
        raise wrong("size", f"multiples of {size_multiple}")
    if border > 255:
        raise wrong("border", "a grey value from 0 to 255")
    one_of("resize", ("area",))
    return ModelInfo(
        path=path,
        architecture=facts.get("architecture", ""),
        stride=stride,
        size=(width, height),
        size_multiple=size_multiple,
        channel_order=cast(Literal["rgb", "bgr"], one_of("channel_order", ("rgb", "bgr"))),
        mean=(mean[0], mean[1], mean[2]),
        std=(std[0], std[1], std[2]),
        border=border,
        class_names=tuple(names),
        raw_heads=one_of("raw_heads", ("0", "1")) == "1",
        embedding_size=embedding_size,
    )


def _embedding_size(model: onnx.ModelProto, path: Path) -> int:
    for output in model.graph.output:
        if output.name == EMBEDDING:
            dims = output.type.tensor_type.shape.dim
            size = int(dims[1].dim_value) if len(dims) == 4 else 0
            if size == 0:
                raise ModelError(
                    f'{path}: the output "{EMBEDDING}" does not state its number of channels: '
                    "export the checkpoint again with `python -m export`."
                )
            return size
    return 0


def _check_graph(graph: onnx.GraphProto, info: ModelInfo) -> None:
    remedy = "export the checkpoint again with `python -m export`."
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
    return ", ".join(f'"{name}"' for name in names) or "none"
