"""The standard operator `DeformConv`, and what plugins need of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from fairmot.core.errors import ModelError
from fairmot.engine.graph.attributes import attributes
from fairmot.engine.graph.graph import Graph


@dataclass(frozen=True)
class DeformConvNode:
    """One `DeformConv` node of ONNX: its inputs by name, empty if absent, and its attributes, defaults filled in."""

    node: onnx.NodeProto
    x: str
    weight: str
    offset: str
    bias: str
    mask: str
    kernel: list[int]
    strides: list[int]
    pads: list[int]
    dilations: list[int]
    group: int
    offset_group: int

    @property
    def taps(self) -> int:
        """Number of positions in the kernel."""
        return math.prod(self.kernel)

    @classmethod
    def read(cls, graph: Graph, node: onnx.NodeProto) -> DeformConvNode:
        """Read a node of a graph.

        Raises:
            ModelError: if the size of its kernel is neither an attribute nor known from the shape of its weight.
        """
        settings = attributes(node)
        x, weight, offset, bias, mask = [*node.input, "", ""][:5]
        kernel = list(settings.get("kernel_shape") or graph.shapes.get(weight, ())[2:])
        if len(kernel) != 2 or min(kernel) < 1:
            raise ModelError(f'The DeformConv that makes "{node.output[0]}" needs a 2-D kernel_shape: export it again.')
        return cls(
            node,
            x,
            weight,
            offset,
            bias,
            mask,
            kernel,
            list(settings.get("strides") or [1, 1]),
            list(settings.get("pads") or [0, 0, 0, 0]),
            list(settings.get("dilations") or [1, 1]),
            settings.get("group", 1),
            settings.get("offset_group", 1),
        )


def deform_conv_nodes(graph: Graph) -> list[DeformConvNode]:
    """Return all `DeformConv` nodes of a graph."""
    return [DeformConvNode.read(graph, node) for node in graph.nodes if node.op_type == "DeformConv"]


def complete_deform_convs(graph: Graph) -> None:
    """Give `DeformConv` nodes all attributes, and all optional inputs if one in the middle is absent.

    The parser of TensorRT 8.6 passes a plugin every input that a node lists and cannot skip an empty one.
    """
    for conv in deform_conv_nodes(graph):
        bias = conv.bias
        if conv.mask and not bias:
            count = graph.shapes[conv.weight][0]
            bias = graph.constant(f"{conv.node.output[0]}/bias", np.zeros(count), np.float32)
        inputs = [conv.x, conv.weight, conv.offset, *([bias] if bias else []), *([conv.mask] if conv.mask else [])]
        complete = helper.make_node(
            "DeformConv",
            inputs,
            conv.node.output,
            kernel_shape=conv.kernel,
            strides=conv.strides,
            pads=conv.pads,
            dilations=conv.dilations,
            group=conv.group,
            offset_group=conv.offset_group,
        )
        graph.replace([conv.node], [complete])


def deform_convs_to_nvidia(graph: Graph) -> None:
    """Use NVIDIA's `ModulatedDeformConv2d(x, offset, mask, weight, bias)` (TensorRT, plugin/modulatedDeformConvPlugin).

    Raises:
        ModelError: if a layer pads unevenly or its weight is no constant, which that plugin cannot do.
    """
    for conv in deform_conv_nodes(graph):
        if conv.pads[:2] != conv.pads[2:] or conv.weight not in graph.constants:
            raise ModelError(
                f'NVIDIA\'s plugin cannot run the deformable convolution that makes "{conv.node.output[0]}" (uneven '
                "padding or computed weights): build with --dcn plugin or --dcn native."
            )
        output = conv.node.output[0]
        mask, bias = conv.mask, conv.bias
        if not mask:
            offset_shape = graph.shapes[conv.offset]
            ones = np.ones((1, conv.taps * conv.offset_group, *offset_shape[2:]))
            mask = graph.constant(f"{output}/mask", np.repeat(ones, offset_shape[0], axis=0), np.float32)
        if not bias:
            bias = graph.constant(f"{output}/bias", np.zeros(graph.shapes[conv.weight][0]), np.float32)
        node = helper.make_node(
            "ModulatedDeformConv2d",
            [conv.x, conv.offset, mask, conv.weight, bias],
            conv.node.output,
            stride=conv.strides,
            padding=conv.pads[:2],
            dilation=conv.dilations,
            group=conv.group,
            deformable_group=conv.offset_group,
        )
        graph.replace([conv.node], [node])
