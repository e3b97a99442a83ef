"""Deformable convolutions fused with the layers around them, for our plugins in half precision.

`plugins/` describes what the plugins compute.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import onnx
from onnx import helper

from fairmot.engine.graph.attributes import attributes
from fairmot.engine.graph.deform_conv import DeformConvNode, deform_conv_nodes
from fairmot.engine.graph.graph import VECTOR, Constant, Graph

_MOST_POSITIONS = 64  # taps times offset groups that the fused kernel keeps in shared memory
_STAGE = 64  # values of k that one step of the fused kernels multiplies
_BLOCK_PREDICTED = 32  # channels that the block predicts: 18 offsets, 9 mask logits, the rest to fill a tile
_SAME = {"strides": [1, 1], "pads": [1, 1, 1, 1], "dilations": [1, 1], "group": 1, "auto_pad": b"NOTSET"}


def fuse_deform_convs(graph: Graph) -> None:
    """Let plugins read the predicted offsets and mask logits as they are, or predict them themselves.

    Applies where offsets and mask logits are slices of one tensor of `3 * taps * offset_group` channels, the mask
    passes a Sigmoid, and channels fill whole vectors of kHWC8. A Relu behind it becomes an attribute.

    `DeformConvBlock(x, offset weight, offset bias, weight, bias)`, attribute relu: where that tensor comes from
    a convolution of the same map and nothing else reads it, both with 3x3 kernels, stride, padding and dilation 1,
    and one offset group. The offset weight and bias are filled up to 32 channels with zeros.

    `FusedDeformConv(x, predicted, weight, bias)`, attributes kernel_shape, strides, pads, dilations, offset_group,
    relu: elsewhere.

    Weights are laid out by `pack_weight`; biases are float32.
    """
    for conv in deform_conv_nodes(graph):
        predicted = predicted_tensor(graph, conv)
        weight = graph.constants.get(conv.weight)
        if predicted is None or weight is None or conv.group != 1 or (conv.bias and conv.bias not in graph.constants):
            continue
        if graph.shapes[conv.x][1] // conv.offset_group % VECTOR or weight.shape[0] % VECTOR:
            continue
        if conv.taps * conv.offset_group > _MOST_POSITIONS:
            continue
        output = conv.node.output[0]
        relu = graph.only_reader(output, "Relu")
        outputs = list(relu.output if relu is not None else conv.node.output)
        parameters = _parameters(graph, conv.weight, conv.bias, weight.shape[0])
        offset_conv = _offset_convolution(graph, conv, predicted)
        if offset_conv is not None:
            predicting = _parameters(graph, offset_conv.input[1], [*offset_conv.input, ""][2], _BLOCK_PREDICTED)
            inputs = [conv.x, *predicting, *parameters]
            fused = helper.make_node("DeformConvBlock", inputs, outputs, relu=int(relu is not None))
        else:
            fused = helper.make_node(
                "FusedDeformConv",
                [conv.x, predicted, *parameters],
                outputs,
                kernel_shape=conv.kernel,
                strides=conv.strides,
                pads=conv.pads,
                dilations=conv.dilations,
                offset_group=conv.offset_group,
                relu=int(relu is not None),
            )
        graph.shapes[fused.output[0]] = graph.shapes[output]
        graph.replace([conv.node] if relu is None else [conv.node, relu], [fused])
    graph.prune()


def pack_weight(weight: Constant) -> Constant:
    """Lay a weight `(o, c, kernel height, kernel width)` out as the fused kernels read it.

    Returns:
        `(stages, o, 64)`: value `[s, o, j]` belongs to `k = 64 s + j`, which is channel `k % c` of tap
        `k // c` (taps row by row); 0 beyond the last tap.
    """
    out_channels = weight.shape[0]
    flat = weight.transpose(0, 2, 3, 1).reshape(out_channels, -1)
    stages = math.ceil(flat.shape[1] / _STAGE)
    padded = np.zeros((out_channels, stages * _STAGE), weight.dtype)
    padded[:, : flat.shape[1]] = flat
    return np.ascontiguousarray(padded.reshape(out_channels, stages, _STAGE).transpose(1, 0, 2))


def _parameters(graph: Graph, weight: str, bias: str, channels: int) -> list[str]:
    """Add a packed weight and a bias, filled up with zeros to that many output channels; return their names."""
    values = graph.constants[weight]
    missing = channels - values.shape[0]
    offsets = graph.constants[bias] if bias else np.zeros(values.shape[0])
    name = weight.removesuffix(".weight")
    packed = pack_weight(np.pad(values, ((0, missing), (0, 0), (0, 0), (0, 0))))
    return [
        graph.constant(f"{name}.packed.weight", packed, np.float32),
        graph.constant(f"{name}.float.bias", np.pad(offsets, (0, missing)), np.float32),
    ]


def predicted_tensor(graph: Graph, conv: DeformConvNode) -> str | None:
    """Return the name of the tensor that holds offsets and mask logits, if both are just channels of one."""
    producers = graph.producers()
    sigmoid = producers.get(conv.mask)
    if sigmoid is None or sigmoid.op_type != "Sigmoid":
        return None
    offsets = 2 * conv.taps * conv.offset_group
    everything = 3 * conv.taps * conv.offset_group
    parts = _channels(graph, producers, conv.offset), _channels(graph, producers, sigmoid.input[0])
    if parts[0] is None:
        return None
    source = parts[0][0]
    fits = parts == ((source, 0, offsets), (source, offsets, everything))
    return source if fits and graph.shapes[source][1] == everything else None


def _channels(graph: Graph, producers: dict[str, onnx.NodeProto], name: str) -> tuple[str, int, int] | None:
    """Return source, first and last channel of a tensor that is a part of another by Slice, Split or their Concat."""
    node = producers.get(name)
    if node is None:
        return None
    settings = attributes(node)
    if node.op_type == "Slice" and all(part in graph.constants for part in node.input[1:]):
        source = graph.shapes.get(node.input[0], ())
        starts, ends, axes, steps = ([*(graph.constants[part].tolist() for part in node.input[1:]), None, None])[:4]
        if len(source) != 4 or len(starts) != 1 or (axes or [0]) not in ([1], [-3]) or (steps or [1]) != [1]:
            return None
        first, last, _ = slice(starts[0], ends[0]).indices(source[1])
        return node.input[0], first, last
    if node.op_type == "Split" and settings.get("axis") == 1:
        counts = [graph.shapes[output][1] for output in node.output]
        index = list(node.output).index(name)
        return node.input[0], sum(counts[:index]), sum(counts[: index + 1])
    if node.op_type == "Concat" and settings.get("axis") == 1:
        parts = [_channels(graph, producers, part) for part in node.input]
        known = [part for part in parts if part is not None]
        joined = all(one[0] == other[0] and one[2] == other[1] for one, other in pairwise(known))
        if len(known) == len(parts) and joined:
            return known[0][0], known[0][1], known[-1][2]
    return None


def _offset_convolution(graph: Graph, conv: DeformConvNode, predicted: str) -> onnx.NodeProto | None:
    """Return the convolution that predicts for this node alone, if `DeformConvBlock` can run both."""
    node = graph.producers().get(predicted)
    form = (conv.kernel, conv.strides, conv.pads, conv.dilations, conv.offset_group)
    if node is None or node.op_type != "Conv" or form != ([3, 3], [1, 1], [1, 1, 1, 1], [1, 1], 1):
        return None
    weight = graph.constants.get(node.input[1])
    settings = {"strides": [1, 1], "dilations": [1, 1], "group": 1, "auto_pad": b"NOTSET"} | attributes(node)
    settings.pop("kernel_shape", None)
    if settings != _SAME or node.input[0] != conv.x or weight is None or weight.shape[2:] != (3, 3):
        return None
    if any(name not in graph.constants for name in node.input[2:] if name):
        return None
    consumers, outputs = graph.consumers(), graph.output_names()
    waiting = [predicted]
    while waiting:  # through slices and the Sigmoid to the deformable convolution, and nowhere else
        name = waiting.pop()
        for reader in consumers.get(name, []):
            if reader is not conv.node:
                if reader.op_type not in ("Slice", "Split", "Concat", "Sigmoid"):
                    return None
                waiting += reader.output
        if name in outputs:
            return None
    return node
