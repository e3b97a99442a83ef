"""Deformable convolutions of every dialect as the standard `DeformConv`, their shapes checked."""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import helper

from fairmot.core.errors import ModelError
from fairmot.engine.graph.deformable import Deformable, describe, is_deformable
from fairmot.engine.graph.graph import Graph


def to_deform_convs(graph: Graph) -> dict[str, int]:
    """Turn deformable convolutions of older exporters into `DeformConv`, after a check of all of them.

    Args:
        graph: with shapes inferred; what it does not know is not checked.

    Returns:
        Number of replaced nodes by operator.

    Raises:
        ModelError: if a node lacks inputs, has invalid attributes, or maps that do not fit together.
    """
    replaced: dict[str, int] = {}
    for node in [node for node in graph.nodes if is_deformable(node)]:
        conv = Deformable.read(node)
        kernel = _check(graph, conv)
        if node.op_type == "DeformConv" and not node.domain:
            continue
        graph.replace([node], _standard(graph, conv, kernel))
        replaced[node.op_type] = replaced.get(node.op_type, 0) + 1
    if replaced:
        graph.infer()
    return replaced


def _standard(graph: Graph, conv: Deformable, kernel: tuple[int, int]) -> list[onnx.NodeProto]:
    """Return the nodes that replace one of another dialect."""
    output = conv.node.output[0]
    positions = math.prod(kernel) * conv.offset_group
    offset, mask = conv.offset, conv.mask
    nodes = []
    if conv.predicted:
        offset, mask = f"{output}/offset", f"{output}/mask"
        axis = graph.constant(f"{output}/channels", [1], np.int64)
        limits = [graph.constant(f"{output}/limit{count}", [count * positions], np.int64) for count in (0, 2, 3)]
        if conv.node.op_type == "Plugin":  # 2 k offsets in order, then k logits
            logits = f"{output}/logits"
            nodes.append(helper.make_node("Slice", [conv.predicted, limits[0], limits[1], axis], [offset]))
            nodes.append(helper.make_node("Slice", [conv.predicted, limits[1], limits[2], axis], [logits]))
            nodes.append(helper.make_node("Sigmoid", [logits], [mask]))
        else:  # k dx, k dy, k finished masks
            order = np.arange(2 * positions).reshape(2, positions)[::-1].T.reshape(-1)
            turns = graph.constant(f"{output}/turns", order, np.int64)
            nodes.append(helper.make_node("Gather", [conv.predicted, turns], [offset], axis=1))
            nodes.append(helper.make_node("Slice", [conv.predicted, limits[1], limits[2], axis], [mask]))
    inputs = [conv.x, conv.weight, offset, conv.bias, mask]
    while not inputs[-1]:
        inputs.pop()
    standard = helper.make_node(
        "DeformConv",
        inputs,
        conv.node.output,
        kernel_shape=kernel,
        strides=conv.strides,
        pads=conv.pads,
        dilations=conv.dilations,
        group=conv.group,
        offset_group=conv.offset_group,
    )
    return [*nodes, standard]


def _check(graph: Graph, conv: Deformable) -> tuple[int, int]:
    """Check that the maps around a node fit together, as far as their shapes are known; return its kernel's size.

    Raises:
        ModelError: if they do not.
    """
    subject, shapes = describe(conv.node), graph.shapes
    weight = shapes.get(conv.weight, ())
    if len(weight) != 4 or min(weight) < 1:
        raise ModelError(
            f"{subject} needs weights of the shape (outputs, channels, rows, columns) in the file: export it again."
        )
    kernel = (weight[2], weight[3])
    taps = math.prod(kernel)
    positions = taps * conv.offset_group
    x, bias = shapes.get(conv.x, ()), shapes.get(conv.bias)
    if len(x) == 4 and (x[1] != weight[1] * conv.group or x[1] % conv.offset_group or weight[0] % conv.group):
        raise ModelError(
            f"{subject} has {conv.offset_group} deformable and {conv.group} other groups, which do not fit "
            f"{x[1]} input channels and weights of {'x'.join(map(str, weight))}: pass groups that divide the channels."
        )
    if bias not in (None, (weight[0],)):
        raise ModelError(f"{subject} has a bias of the shape {bias}: pass one number for each of {weight[0]} outputs.")
    for name, channels, what in (
        (conv.offset, 2 * positions, "offsets"),
        (conv.mask, positions, "masks"),
        (conv.predicted, 3 * positions, "offsets and masks"),
    ):
        shape = shapes.get(name)
        if shape is None:
            continue
        if len(shape) != 4 or shape[1] != channels:
            found = f"{shape[1]} channels" if len(shape) == 4 else f"the shape {shape}"
            raise ModelError(
                f"{subject} gets {what} of {found} but needs {channels}, {channels // positions} for each of the "
                f"{taps} taps of its {kernel[0]}x{kernel[1]} kernel and {conv.offset_group} deformable group"
                f"{'s' * (conv.offset_group > 1)}: pass a tensor of {channels} channels."
            )
        if len(x) == 4:
            _check_size(conv, kernel, x[2:], shape[2:], what)
    return kernel


def _check_size(
    conv: Deformable, kernel: tuple[int, int], x: tuple[int, ...], found: tuple[int, ...], what: str
) -> None:
    """Check that offsets or masks have the size of the result."""
    result = tuple(
        (x[axis] + conv.pads[axis] + conv.pads[axis + 2] - conv.dilations[axis] * (kernel[axis] - 1) - 1)
        // conv.strides[axis]
        + 1
        for axis in (0, 1)
    )
    if result != found:
        raise ModelError(
            f"{describe(conv.node)} has {what} of {found[0]}x{found[1]} cells but a result of {result[0]}x{result[1]} "
            f"by its strides {conv.strides}, pads {conv.pads} and dilations {conv.dilations}: pass the attributes of "
            "the convolution that predicts them."
        )
