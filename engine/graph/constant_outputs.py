"""Outputs that do not depend on the images: CenterNet's offset without the head `reg`, 0.5 everywhere.

An exporter writes such a map as an Expand to a shape that it computes, or as an initializer. With a fixed input size
its shape is a constant, the number of images included, so one graph would not do for several batch sizes; and TensorRT
would have to copy a constant to an output.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

from fairmot.engine.graph.graph import Constant, Graph


def derive_constant_outputs(graph: Graph) -> None:
    """Let outputs that are the same for every image be sums of a constant and of zeros in the shape of another output.

    Applies to maps `(images, channels, rows, columns)` where another output has as many images, rows and columns. The
    zeros come from a Clip to 0, which makes them of infinite values too.
    """
    computed = _computed(graph)
    constant = [value.name for value in graph.outputs if value.name not in computed]
    for output in constant:
        value = _value(graph, output)
        if value is None:
            continue
        source = next((each.name for each in graph.outputs if _is_map_for(graph, each.name, computed, value)), None)
        if source is None or (value != value[:1]).any():
            continue
        graph.nodes = [node for node in graph.nodes if output not in node.output]
        graph.constants.pop(output, None)
        integers = [graph.constant(f"{output}/{name}", [i], np.int64) for name, i in (("first", 0), ("second", 1))]
        nought = graph.constant(f"{output}/nought", 0, np.float32)
        one_image = value[:1]
        if (one_image == one_image[..., :1, :1]).all():
            one_image = one_image[..., :1, :1]
        graph.nodes += [
            helper.make_node("Slice", [source, *integers, integers[1]], [f"{output}/channel"]),
            helper.make_node("Clip", [f"{output}/channel", nought, nought], [f"{output}/zeros"]),
            helper.make_node(
                "Add", [f"{output}/zeros", graph.constant(f"{output}/value", one_image, np.float32)], [output]
            ),
        ]
    if constant:
        graph.prune()
        graph.infer()


def _computed(graph: Graph) -> set[str]:
    """Return the names of all tensors that depend on the images."""
    names = {value.name for value in graph.inputs}
    for node in graph.nodes:
        if not names.isdisjoint(node.input):
            names.update(node.output)
    return names


def _value(graph: Graph, output: str) -> Constant | None:
    """Return the value of an output that depends on constants alone; None if ONNX does not define how to compute it."""
    if output in graph.constants:
        return graph.constants[output]
    needed, nodes = {output}, []
    for node in reversed(graph.nodes):
        if not needed.isdisjoint(node.output):
            nodes.insert(0, node)
            needed.update(node.input)
    if not all(graph.knows(node) for node in nodes):
        return None
    constants = {name: graph.constants[name] for name in needed & graph.constants.keys()}
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "constant",
            [
                helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
                for name, array in constants.items()
            ],
            [onnx.ValueInfoProto(name=output)],
        ),
        opset_imports=[helper.make_opsetid("", graph.opset)],
    )
    return np.asarray(ReferenceEvaluator(model).run(None, constants)[0])


def _is_map_for(graph: Graph, name: str, computed: set[str], value: Constant) -> bool:
    """Return whether a computed output has the images, rows and columns of a constant one."""
    shape = graph.shapes.get(name, ())
    if name not in computed or value.ndim != 4 or value.dtype.kind != "f" or len(shape) != 4:
        return False
    return (shape[0], *shape[2:]) == (value.shape[0], *value.shape[2:])
