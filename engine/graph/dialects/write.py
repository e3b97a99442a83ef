"""Standard `DeformConv` nodes as other runtimes want them; `fairmot.engine.graph.deformable` describes the dialects."""

from __future__ import annotations

import json
import math

import numpy as np
import onnx
from onnx import helper

from fairmot.core.errors import ModelError
from fairmot.engine.graph.deform_conv import DeformConvNode, deform_conv_nodes
from fairmot.engine.graph.dialects.names import Dialect
from fairmot.engine.graph.fusion import predicted_tensor
from fairmot.engine.graph.graph import Graph


def write_dialect(graph: Graph, dialect: Dialect) -> None:
    """Replace every `DeformConv` by the operator of a dialect.

    Args:
        graph: with shapes inferred.
        dialect: `deformconv` leaves the graph as it is.

    Raises:
        ModelError: if the dialect cannot state a node.
    """
    if dialect == "deformconv":
        return
    writers = {"dcnv2": _dcnv2, "plugin": _plugin, "deformableconv2d": _deformable_conv_2d}
    for conv in deform_conv_nodes(graph):
        if not conv.mask or conv.pads[:2] != conv.pads[2:]:
            raise ModelError(
                f'The DeformConv that makes "{conv.node.output[0]}" has no mask or pads unevenly, which {dialect} '
                "cannot state: export it with --dialect deformconv."
            )
        bias = conv.bias
        if not bias:
            count = graph.shapes[conv.weight][0]
            bias = graph.constant(f"{conv.node.output[0]}/bias", np.zeros(count), np.float32)
        graph.replace([conv.node], writers[dialect](graph, conv, bias))
    graph.prune()


def _dcnv2(graph: Graph, conv: DeformConvNode, bias: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node(
            "DCNv2",
            [conv.x, conv.offset, conv.mask, conv.weight, bias],
            conv.node.output,
            stride=conv.strides,
            padding=conv.pads[:2],
            dilation=conv.dilations,
            groups=conv.group,
            deformable_group=conv.offset_group,
        )
    ]


def _plugin(graph: Graph, conv: DeformConvNode, bias: str) -> list[onnx.NodeProto]:
    predicted = predicted_tensor(graph, conv)
    if predicted is None or conv.group != 1:
        raise ModelError(
            f'The DeformConv that makes "{conv.node.output[0]}" has groups or masks without their logits, which plugin '
            "cannot state: export it with --dialect dcnv2."
        )
    info = {
        "stride": conv.strides,
        "padding": conv.pads[:2],
        "dilation": conv.dilations,
        "deformable_groups": conv.offset_group,
    }
    inputs = [conv.x, predicted, conv.weight, bias]
    node = helper.make_node("Plugin", inputs, conv.node.output, info=json.dumps(info))
    node.attribute.append(helper.make_attribute("name", "DCNv2"))  # an attribute, not the name of the node
    return [node]


def _deformable_conv_2d(graph: Graph, conv: DeformConvNode, bias: str) -> list[onnx.NodeProto]:
    output = conv.node.output[0]
    turns = np.arange(2 * math.prod(conv.kernel) * conv.offset_group)
    parts, nodes = [], []
    for name, indices in (("dx", turns[1::2]), ("dy", turns[::2])):
        channels = graph.constant(f"{output}/{name}_channels", indices, np.int64)
        nodes.append(helper.make_node("Gather", [conv.offset, channels], [f"{output}/{name}"], axis=1))
        parts.append(f"{output}/{name}")
    nodes.append(helper.make_node("Concat", [*parts, conv.mask], [f"{output}/predicted"], axis=1))
    node = helper.make_node(
        "DeformableConv2D",
        [conv.x, conv.weight, f"{output}/predicted", bias],
        conv.node.output,
        strides=conv.strides,
        pads=conv.pads,
        dilations=conv.dilations,
        groups=conv.group,
        deformable_groups=conv.offset_group,
    )
    return [*nodes, node]
