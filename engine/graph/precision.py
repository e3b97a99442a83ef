"""Half precision as types in the graph: float16 where the network computes, float32 where rounding would show.

TensorRT from version 10 takes the precision of a layer from the types of its tensors (strongly typed
networks); 8.6 needs the same types stated layer by layer, which `fairmot.engine.trt.capabilities` does from this graph.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from fairmot.core.errors import ModelError
from fairmot.engine.graph.graph import Graph

_HALF_MAXIMUM = float(np.finfo(np.float16).max)

WEIGHTED = {
    "Conv",
    "ConvTranspose",
    "DCNv2",
    "DeformConv",
    "DeformConvBlock",
    "FusedDeformConv",
    "Gemm",
    "MatMul",
    "ModulatedDeformConv2d",
    "UpsampleAdd",
}
"""Operators that do the network's arithmetic. What follows the last of them on the way to an output is its tail."""

_FLOAT_INPUTS = {"DeformConvBlock": {2, 4}, "FusedDeformConv": {3}}  # the biases
_FLOAT_OUTPUT = {"NormalizeEmbedding"}


def to_half(graph: Graph, half_images: bool = True) -> None:
    """Type the graph: input, weights and maps float16; tails, samplings and outputs float32.

    Args:
        graph: all of it float32.
        half_images: whether the input becomes float16; it stays float32 otherwise, with a Cast behind it.

    Raises:
        ModelError: if a weight is too large for float16.
    """
    graph.infer()
    full = _full_precision(graph)
    kinds = {name: kind for name, kind in graph.types.items() if kind in (TensorProto.FLOAT, TensorProto.FLOAT16)}
    for value in graph.inputs:
        if half_images and value.name in kinds:
            value.type.tensor_type.elem_type = kinds[value.name] = TensorProto.FLOAT16
    nodes: list[onnx.NodeProto] = []
    constants = dict(graph.constants)
    for node in graph.nodes:
        own = TensorProto.FLOAT if id(node) in full else TensorProto.FLOAT16
        for index, name in enumerate(node.input):
            if name not in kinds:
                continue
            wanted = TensorProto.FLOAT if index in _FLOAT_INPUTS.get(node.op_type, ()) else own
            if name in constants:
                node.input[index] = _typed_constant(graph, name, wanted)
            elif kinds[name] != wanted:
                node.input[index] = _cast(name, wanted, nodes, kinds)
        for name in node.output:
            if name in kinds:
                kinds[name] = TensorProto.FLOAT if node.op_type in _FLOAT_OUTPUT else own
        if node.op_type == "Cast" and node.output[0] in kinds:
            node.ClearField("attribute")
            node.attribute.append(helper.make_attribute("to", own))
        nodes.append(node)
    graph.nodes = nodes
    _float_outputs(graph, kinds)
    graph.prune()
    graph.types |= kinds
    graph.types |= {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in graph.constants.items()}


def _full_precision(graph: Graph) -> set[int]:
    """Return the nodes (by `id`) that compute in float32: tails, and samplings with their coordinates and followers.

    A sampling stays in float32 up to the next product: where its results changed their type at once, TensorRT 8.6
    found no implementation.
    """
    consumers, producers = graph.consumers(), graph.producers()
    full: set[int] = set()
    sampled: set[str] = set()
    for node in graph.nodes:
        if node.op_type == "GridSample" or (node.op_type not in WEIGHTED and sampled.intersection(node.input)):
            full.add(id(node))
            sampled.update(node.output)
    for node in reversed(graph.nodes):
        readers = [reader for output in node.output for reader in consumers.get(output, [])]
        is_tail = node.op_type not in WEIGHTED | _FLOAT_OUTPUT and all(id(reader) in full for reader in readers)
        if is_tail:
            full.add(id(node))
    waiting = [node.input[1] for node in graph.nodes if node.op_type == "GridSample"]
    while waiting:
        node_before = producers.get(waiting.pop())
        if node_before is not None and node_before.op_type not in WEIGHTED and id(node_before) not in full:
            full.add(id(node_before))
            waiting += node_before.input
    return full


def _typed_constant(graph: Graph, name: str, kind: int) -> str:
    array = graph.constants[name]
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    if array.dtype == dtype:
        return name
    if dtype == np.float16 and np.abs(array, where=np.isfinite(array), out=np.zeros_like(array)).max(initial=0) > (
        _HALF_MAXIMUM
    ):
        raise ModelError(f'The weight "{name}" is beyond the range of half precision: build with --precision fp32.')
    base = name.removesuffix(".weight")
    return graph.constant(f"{base}.half.weight" if base != name else f"{name}.half", array, dtype)


def _cast(name: str, kind: int, nodes: list[onnx.NodeProto], kinds: dict[str, int]) -> str:
    cast = f"{name}/{'float' if kind == TensorProto.FLOAT else 'half'}"
    if cast not in kinds:
        nodes.append(helper.make_node("Cast", [name], [cast], to=kind))
        kinds[cast] = kind
    return cast


def _float_outputs(graph: Graph, kinds: dict[str, int]) -> None:
    for name in (value.name for value in graph.outputs):  # in their order: the same graph in every process
        if kinds.get(name) != TensorProto.FLOAT16:
            continue
        half = f"{name}/half"
        graph.rename(name, half)
        for node in graph.nodes:
            node.output[:] = [half if output == name else output for output in node.output]
        graph.nodes.append(helper.make_node("Cast", [half], [name], to=TensorProto.FLOAT))
        kinds[half], kinds[name] = TensorProto.FLOAT16, TensorProto.FLOAT
