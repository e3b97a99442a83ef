"""Reading of untrusted ONNX files: whole or refused, external weights only from the folder of the file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto, numpy_helper
from onnx.checker import ValidationError
from onnx.external_data_helper import load_external_data_for_model

from fairmot.core.errors import ModelError
from fairmot.core.text import one_line, reason_of

_LARGEST = 2**31 - 1  # bytes of a protobuf message
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)


def load_onnx(path: Path) -> onnx.ModelProto:
    """Load an ONNX file, with the weights that it keeps in files beside it.

    Raises:
        ModelError: if it is missing, is not ONNX or is damaged, lacks the files that hold its weights, or names such
            files outside its own folder.
    """
    if not path.is_file():
        raise ModelError(f"There is no model file {path}.")
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except (OSError, MemoryError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not enough memory"
        raise ModelError(f"The model file {path} cannot be read: {reason}.") from None
    # An ONNX file begins with field 1, its IR version: the byte 0x08 and a small number (onnx.proto, ModelProto).
    if len(data) < 2 or data[0] != 0x08 or not 1 <= data[1] < 64:
        raise ModelError(f"{path} is not an ONNX file: give one, such as `fairmot export` writes.")
    try:
        model = onnx.load_model_from_string(data) if len(data) <= _LARGEST else onnx.ModelProto()
        is_whole = bool(model.graph.node and model.graph.output) and all(
            isinstance(text, str) for text in _texts(model)
        )
    except (DecodeError, ValueError):  # the latter for text that is not UTF-8; upb returns bytes instead
        is_whole = False
    if not is_whole:
        raise ModelError(f"{path} is truncated or damaged: copy it again or export it again with `fairmot export`.")
    try:
        _check_external(model, path.parent.resolve())
        load_external_data_for_model(model, str(path.parent.resolve()))
    except (OSError, ValueError, MemoryError, ValidationError) as error:
        raise ModelError(
            f"The files beside {path} that should hold its weights cannot be read ({reason_of(error)}): "
            "copy all files of the model again."
        ) from None
    return model


def require_finite(model: onnx.ModelProto, path: Path) -> None:
    """Check that all weights are finite numbers: with one that is not, a network silently detects nothing.

    Takes 8 ms for the bundled model and 60 ms for 80 MB of weights.

    Args:
        model: with all its weights.
        path: the file, for the message.

    Raises:
        ModelError: if a weight is NaN or infinite, or its bytes do not fit its shape.
    """
    for tensor in _tensors(model):
        if tensor.data_type not in _FLOATS:
            continue
        try:
            values = numpy_helper.to_array(tensor)
        except (ValueError, TypeError, MemoryError) as error:
            raise ModelError(
                f'{path} is damaged: the weights "{one_line(tensor.name)}" do not fit their shape ({reason_of(error)}).'
            ) from None
        wrong = values.size - int(np.count_nonzero(np.isfinite(values)))
        if wrong:
            raise ModelError(
                f'{path}: {wrong} of the {values.size} weights in "{one_line(tensor.name)}" are not finite, so '
                "training diverged: export an earlier checkpoint with `fairmot export`."
            )
    for node in _nodes(model):
        for attribute in node.attribute:
            if math.isnan(attribute.f) or any(map(math.isnan, attribute.floats)):
                raise ModelError(
                    f'{path}: the attribute "{one_line(attribute.name)}" of the node "{one_line(node.name)}" is no '
                    "number: export the checkpoint again with `fairmot export`."
                )


def _graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """Yield the graph and the subgraphs of its nodes."""
    waiting = [model.graph]
    for function in model.functions:
        waiting += _subgraphs(function.node)
    while waiting:
        graph = waiting.pop()
        yield graph
        waiting += _subgraphs(graph.node)


def _subgraphs(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.GraphProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield attribute.g
            yield from attribute.graphs


def _nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    for graph in _graphs(model):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def _tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Yield every tensor that the file stores."""
    for graph in _graphs(model):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in _nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _texts(model: onnx.ModelProto) -> Iterator[object]:
    """Yield the names and metadata that this package uses."""
    for entry in model.metadata_props:
        yield from (entry.key, entry.value)
    for graph in _graphs(model):
        for value in (*graph.input, *graph.output, *graph.initializer):
            yield value.name
    for node in _nodes(model):
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        for attribute in node.attribute:
            yield attribute.name


def _check_external(model: onnx.ModelProto, folder: Path) -> None:
    """Check which files external weights are read from.

    Releases of onnx and ONNX Runtime differ in what they refuse; the oldest that this project runs with follow
    symbolic links, and ONNX Runtime 1.19 opens any path.

    Raises:
        ValueError: if a file lies outside `folder`, behind a link, or is shorter than it should be.
    """
    for tensor in _tensors(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        file = folder / location
        if not location or Path(location).is_absolute() or file.resolve() != file or folder not in file.parents:
            raise ValueError(f'the file "{location}" is not in the folder of the model, or a symbolic link')
        if not file.is_file():
            raise ValueError(f'there is no file "{location}"')
        offset, length = int(entries.get("offset") or 0), int(entries.get("length") or 0)
        if offset < 0 or length < 0 or offset + length > file.stat().st_size:
            raise ValueError(f'the file "{location}" is shorter than the {offset + length} bytes that are named')
