"""The same network with plain 3x3 convolutions in place of deformable ones: the floor that a DCNv2 layer is held to.

It computes something else (nothing is sampled off the grid) with the same weights, maps and everything around.
"""

from __future__ import annotations

import onnx
from onnx import helper

from fairmot.engine.graph.graph import Graph

_KEPT = ("kernel_shape", "strides", "pads", "dilations", "group")


def with_plain_convolutions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of a model whose `DeformConv` are `Conv`, and without the convolutions that predicted offsets."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = Graph(copy)
    for node in [node for node in graph.nodes if node.op_type == "DeformConv"]:
        x, weight, _, *rest = node.input
        inputs = [x, weight, *filter(None, rest[:1])]
        plain = helper.make_node("Conv", inputs, node.output, name=node.name)
        plain.attribute.extend(attribute for attribute in node.attribute if attribute.name in _KEPT)
        graph.replace([node], [plain])
    graph.prune()
    return graph.to_model()
