"""Input sizes of foreign graphs: what they are, and graphs of a fixed size made fit for any."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from fairmot.engine.graph.attributes import attributes
from fairmot.engine.graph.graph import Graph
from fairmot.engine.graph.shapes import drop_expands

_MOST_STEP = 1024


def free_sizes(graph: Graph, fixed: Graph) -> None:
    """Replace what older exporters fix at the size of the traced input, where its meaning is clear.

    An Expand in front of an element-wise operator goes; the sizes of a Resize become scales; a Reshape copies the
    dimensions that it keeps.

    Args:
        graph: to change, operators as in the file.
        fixed: the same at the size of the traced input, with shapes inferred.
    """
    known = graph.shapes
    graph.shapes = fixed.shapes
    drop_expands(graph)
    graph.shapes = known
    for node in graph.nodes:
        if node.op_type == "Resize" and len(node.input) == 4 and node.input[3] in graph.constants:
            source, result = fixed.shapes.get(node.input[0], ()), fixed.shapes.get(node.output[0], ())
            if len(source) == len(result) == 4 and min(source) > 0:
                scales = np.divide(result, source)
                name = graph.constant(f"{node.output[0]}/scales", scales, np.float32)
                node.input[:] = [node.input[0], node.input[1], name]
        if node.op_type == "Reshape" and node.input[1] in graph.constants and not attributes(node).get("allowzero"):
            _keep_dimensions(graph, node, fixed.shapes.get(node.input[0], ()))


def size_multiple(fixed: Graph, size: tuple[int, int], stride: int) -> int:
    """Return the least step of the input's sides: how much the smallest map of the network is smaller than its input.

    Args:
        fixed: the graph with shapes inferred for `size`.
        size: `(width, height)` of the input.
        stride: of the heads.
    """
    width, height = size
    most = stride
    for node in fixed.nodes:
        for name in node.output:
            shape = fixed.shapes.get(name, ())
            if len(shape) == 4 and shape[2] > 1 and height % shape[2] == 0 and width * shape[2] == height * shape[3]:
                step = height // shape[2]
                most = step if most < step <= _MOST_STEP and step % stride == 0 else most
    return most


def to_single(graph: Graph) -> bool:
    """Turn a half-precision graph into single precision, in place; return whether it was one."""
    half = helper.np_dtype_to_tensor_dtype(np.dtype(np.float16))
    single = onnx.TensorProto.FLOAT
    is_half = any(value.type.tensor_type.elem_type == half for value in graph.inputs)
    if not is_half:
        return False
    for value in (*graph.inputs, *graph.outputs):
        if value.type.tensor_type.elem_type == half:
            value.type.tensor_type.elem_type = single
    for name, array in graph.constants.items():
        if array.dtype == np.float16:
            graph.constants[name] = array.astype(np.float32)
    for node in graph.nodes:
        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i == half:
                attribute.i = single
            if attribute.HasField("t") and attribute.t.data_type == half:
                values = onnx.numpy_helper.to_array(attribute.t).astype(np.float32)
                attribute.t.CopyFrom(onnx.numpy_helper.from_array(values, attribute.t.name))
    return True


def _keep_dimensions(graph: Graph, node: onnx.NodeProto, source: tuple[int, ...]) -> None:
    """Let a Reshape with a constant target copy the dimensions that it does not change."""
    target = graph.constants[node.input[1]].tolist()
    if not source or not isinstance(target, list):
        return
    kept = [0 if axis < len(source) and source[axis] == length else length for axis, length in enumerate(target)]
    if kept != target:
        node.input[1] = graph.constant(f"{node.output[0]}/kept", kept, np.int64)
