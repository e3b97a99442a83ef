"""ONNX files that were made elsewhere: enough is known of them to build an engine, not to track with it."""

from __future__ import annotations

from pathlib import Path

import onnx

from fairmot.core.errors import ConfigError, ModelError
from fairmot.engine.model import ModelFile, ModelInfo, has_metadata
from fairmot.engine.onnx_file import load_onnx


def read_for_build(path: Path | None, size: tuple[int, int] | None, batches: tuple[int, ...]) -> ModelFile:
    """Read what building an engine takes of a model.

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
    if has_metadata(model):
        return ModelInfo.read(path)
    count, height, width = _image_input(model.graph, path)
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


def _image_input(graph: onnx.GraphProto, path: Path) -> tuple[int, int, int]:
    """Images, rows and columns of the one input; 0 where the file leaves them open."""
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    tensor = inputs[0].type.tensor_type if len(inputs) == 1 else onnx.TypeProto.Tensor()
    count, channels, height, width = (
        [dim.dim_value for dim in tensor.shape.dim] if len(tensor.shape.dim) == 4 else [0] * 4
    )
    if tensor.elem_type != onnx.TensorProto.FLOAT or channels == 0:
        raise ModelError(
            f"{path} should have one input, float32 with the shape (n, channels, h, w), the channels a number: "
            "export the model with such an input."
        )
    return count, height, width
