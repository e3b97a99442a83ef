"""Deformable convolutions and their neighbours in the forms that TensorRT can run.

Each function rewrites one pattern wherever it fits and leaves the rest of the graph alone. What plugins
compute is described in `plugins/`; the operators' inputs and attributes are stated at the functions here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from core.errors import ModelError
from engine.onnx_graph import Constant, Graph, attributes, pair
from engine.rewrites import deform_conv_to_grid_sample

_VECTOR = 8  # channels that one element of the format kHWC8 holds
_MOST_POSITIONS = 64  # taps times offset groups that the fused kernel keeps at hand
_STAGE = 64  # values of k that one step of the fused kernel multiplies


@dataclass(frozen=True)
class _DeformConv:
    """One `DeformConv` node, its optional parts given their defaults."""

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
        return math.prod(self.kernel)

    @classmethod
    def read(cls, graph: Graph, node: onnx.NodeProto) -> _DeformConv:
        settings = attributes(node)
        x, weight, offset, bias, mask = [*node.input, "", ""][:5]
        return cls(
            node,
            x,
            weight,
            offset,
            bias,
            mask,
            list(settings.get("kernel_shape") or graph.shapes[weight][2:]),
            list(settings.get("strides") or [1, 1]),
            list(settings.get("pads") or [0, 0, 0, 0]),
            list(settings.get("dilations") or [1, 1]),
            settings.get("group", 1),
            settings.get("offset_group", 1),
        )


def _deform_convs(graph: Graph) -> list[_DeformConv]:
    return [_DeformConv.read(graph, node) for node in graph.nodes if node.op_type == "DeformConv"]


def dcn_v2_to_deform_conv(graph: Graph) -> None:
    """Turn `DCNv2` nodes of older exporters (x, offset, mask, weight, bias) into the standard operator."""
    for node in [node for node in graph.nodes if node.op_type == "DCNv2"]:
        x, offset, mask, weight, bias = [*node.input, ""][:5]
        settings = attributes(node)
        padding = pair(settings.get("padding", 0))
        standard = helper.make_node(
            "DeformConv",
            [x, weight, offset, bias, mask],
            node.output,
            kernel_shape=graph.shapes[weight][2:],
            strides=pair(settings.get("stride", 1)),
            pads=[*padding, *padding],
            dilations=pair(settings.get("dilation", 1)),
            group=settings.get("groups", 1),
            offset_group=settings.get("deformable_group", 1),
        )
        graph.replace([node], [standard])


def fuse_deform_convs(graph: Graph) -> None:
    """Let `FusedDeformConv` read offsets and mask logits straight from the convolution that predicts them.

    Fits where one convolution predicts `3 * taps * offset_group` channels of which two Slices take offsets
    and mask logits, the mask passes a Sigmoid, and channels fill whole vectors of kHWC8. A Relu behind it
    becomes an attribute.

    `FusedDeformConv(x, predicted, packed, bias)`: `packed` is the weight as `pack_weight` lays it out, `bias`
    float32; attributes kernel_shape, strides, pads, dilations, offset_group, relu.
    """
    for conv in _deform_convs(graph):
        producers, consumers = graph.producers(), graph.consumers()
        predicted = _predicted(graph, conv, producers)
        weight = graph.constants.get(conv.weight)
        if predicted is None or weight is None or conv.group != 1 or (conv.bias and conv.bias not in graph.constants):
            continue
        channels = graph.shapes[conv.x][1]
        if channels // conv.offset_group % _VECTOR or weight.shape[0] % _VECTOR:
            continue
        if conv.taps * conv.offset_group > _MOST_POSITIONS:
            continue
        bias = graph.constants[conv.bias] if conv.bias else np.zeros(weight.shape[0])
        output = conv.node.output[0]
        relu = _only_reader(graph, consumers, output, "Relu")
        name = conv.weight.removesuffix(".weight")
        fused = helper.make_node(
            "FusedDeformConv",
            [
                conv.x,
                predicted,
                graph.constant(f"{name}.packed.weight", pack_weight(weight), np.float32),
                graph.constant(f"{name}.float.bias", bias, np.float32),
            ],
            list(relu.output if relu is not None else conv.node.output),
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
    """Lay a weight `(o, c, kernel height, kernel width)` out as the fused kernel reads it.

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


def _predicted(graph: Graph, conv: _DeformConv, producers: dict[str, onnx.NodeProto]) -> str | None:
    """Name of the tensor that holds offsets and mask logits, if both are plain slices of one."""
    sigmoid = producers.get(conv.mask)
    if sigmoid is None or sigmoid.op_type != "Sigmoid":
        return None
    offsets = 2 * conv.taps * conv.offset_group
    everything = 3 * conv.taps * conv.offset_group
    parts = (_channel_slice(graph, producers, conv.offset), _channel_slice(graph, producers, sigmoid.input[0]))
    if parts[0] is None or parts[1] is None or parts[0][0] != parts[1][0]:
        return None
    source = parts[0][0]
    fits = parts[0][1:] == (0, offsets) and parts[1][1:] == (offsets, everything)
    return source if fits and graph.shapes[source][1] == everything else None


def _channel_slice(graph: Graph, producers: dict[str, onnx.NodeProto], name: str) -> tuple[str, int, int] | None:
    """Source, first and last channel of a tensor that is a Slice along the channels."""
    node = producers.get(name)
    if node is None or node.op_type != "Slice" or not all(part in graph.constants for part in node.input[1:]):
        return None
    source = graph.shapes.get(node.input[0], ())
    starts, ends, axes, steps = ([*(graph.constants[part].tolist() for part in node.input[1:]), None, None])[:4]
    if len(source) != 4 or len(starts) != 1 or (axes or [0]) not in ([1], [-3]) or (steps or [1]) != [1]:
        return None
    first, last, _ = slice(starts[0], ends[0]).indices(source[1])
    return node.input[0], first, last


def _only_reader(
    graph: Graph, consumers: dict[str, list[onnx.NodeProto]], name: str, operator: str
) -> onnx.NodeProto | None:
    """The one node that reads a tensor, if it is of that kind and the tensor is no output."""
    readers = consumers.get(name, [])
    if len(readers) == 1 and readers[0].op_type == operator and name not in graph.output_names():
        return readers[0]
    return None


def complete_deform_convs(graph: Graph) -> None:
    """Give `DeformConv` nodes all attributes, and all optional inputs if one in the middle is absent.

    The parser of TensorRT 8.6 hands a plugin every input that a node lists and cannot pass over an empty one.
    """
    for conv in _deform_convs(graph):
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
    for conv in _deform_convs(graph):
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


def deform_convs_to_native(graph: Graph) -> Graph:
    """Return the graph with GridSample and standard operators in place of every `DeformConv`."""
    rewritten = Graph(deform_conv_to_grid_sample(graph.to_model()))
    rewritten.shapes = graph.shapes
    return rewritten


def fuse_upsampling(graph: Graph) -> None:
    """Let `UpsampleAdd` upsample and add the skip connection in one pass over the map.

    Fits a ConvTranspose without bias that enlarges every channel on its own by f = 2, 4 or 8 (kernel 2 f, stride
    f, padding f / 2) and whose result is added to a map of the same shape.

    `UpsampleAdd(x, weight, skip)`: `weight` `(2 f, 2 f, c)`; attribute factor.
    """
    for node in [node for node in graph.nodes if node.op_type == "ConvTranspose"]:
        factor = _upsampling_factor(graph, node)
        add = _only_reader(graph, graph.consumers(), node.output[0], "Add")
        if factor is None or add is None or len(node.input) > 2:
            continue
        shape = graph.shapes[node.output[0]]
        (skip,) = [name for name in add.input if name != node.output[0]] or [""]
        if graph.shapes.get(skip) != shape or skip in graph.constants or shape[1] % _VECTOR:
            continue
        weight = graph.constants[node.input[1]][:, 0].transpose(1, 2, 0)
        fused = helper.make_node(
            "UpsampleAdd",
            [
                node.input[0],
                graph.constant(f"{node.input[1].removesuffix('.weight')}.packed.weight", weight, np.float32),
                skip,
            ],
            add.output,
            factor=factor,
        )
        graph.shapes[fused.output[0]] = shape
        graph.replace([node, add], [fused])
    graph.prune()


def _upsampling_factor(graph: Graph, node: onnx.NodeProto) -> int | None:
    """Factor by which a ConvTranspose enlarges each channel on its own, if it is one that the rewrites know."""
    settings: dict[str, Any] = attributes(node)
    weight = graph.constants.get(node.input[1])
    if weight is None or weight.ndim != 4 or weight.shape[1] != 1 or settings.get("group", 1) != weight.shape[0]:
        return None
    factor = weight.shape[2] // 2
    usual = {
        "kernel_shape": [2 * factor] * 2,
        "strides": [factor] * 2,
        "pads": [factor // 2] * 4,
        "output_padding": [0, 0],
        "dilations": [1, 1],
        "auto_pad": b"NOTSET",
    }
    defaults = usual | {"strides": [1, 1], "pads": [0] * 4}
    stated = {name: settings.get(name, defaults[name]) for name in usual}
    fits = stated == usual and weight.shape[2] == weight.shape[3] == 2 * factor and "output_shape" not in settings
    return factor if fits and factor in (2, 4, 8) else None


def upsample_by_phases(graph: Graph) -> None:
    """Replace depthwise ConvTransposes by one depthwise 3x3 convolution per output phase and a DepthToSpace.

    With kernel 2 f, stride f and padding f / 2, row f i + p of the result reads only the input rows i - 1, i and
    i + 1, so each of the f x f phases is a 3x3 convolution of the input map: equal, and without the slow
    grouped transposed convolution of TensorRT (7.2 of 8.6 ms of an FP16 engine of DLA-34).
    """
    for node in [node for node in graph.nodes if node.op_type == "ConvTranspose"]:
        factor = _upsampling_factor(graph, node)
        if factor is None:
            continue
        name = node.input[1].removesuffix(".weight")
        channels = graph.shapes[node.input[0]][1]
        phases = []
        kernels = phase_kernels(graph.constants[node.input[1]], factor)
        for index, kernel in enumerate(kernels):
            weight = graph.constant(f"{name}.phase{index}.weight", kernel, np.float32)
            phase = f"{node.output[0]}/phase{index}"
            inputs = [node.input[0], weight, *node.input[2:]]
            phases.append(
                helper.make_node("Conv", inputs, [phase], group=channels, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
            )
        stack = f"{node.output[0]}/phases"
        concat = helper.make_node("Concat", [phase.output[0] for phase in phases], [stack], axis=1)
        spread = helper.make_node("DepthToSpace", [stack], node.output, blocksize=factor, mode="DCR")
        graph.replace([node], [*phases, concat, spread])


def phase_kernels(weight: Constant, factor: int) -> list[Constant]:
    """Kernels `(c, 1, 3, 3)` of the phases, row by row, of an upsampling weight `(c, 1, 2 f, 2 f)`.

    Row f i + p of the result is the sum over input rows j of the kernel's row f (i - j) + p + f / 2; tap t of a
    phase's kernel reads j = i + t - 1.
    """
    kernels = []
    for phase_y in range(factor):
        for phase_x in range(factor):
            kernel = np.zeros((weight.shape[0], 1, 3, 3), weight.dtype)
            for tap_y in range(3):
                for tap_x in range(3):
                    row = factor * (1 - tap_y) + phase_y + factor // 2
                    column = factor * (1 - tap_x) + phase_x + factor // 2
                    if 0 <= row < 2 * factor and 0 <= column < 2 * factor:
                        kernel[:, :, tap_y, tap_x] = weight[:, :, row, column]
            kernels.append(kernel)
    return kernels


def spell_out_normalisation(graph: Graph) -> None:
    """Turn ReduceL2 into products, a sum and a root, so that each of them can be held to float32."""
    for node in [node for node in graph.nodes if node.op_type == "ReduceL2"]:
        settings = attributes(node)
        axes = settings.get("axes")
        if len(node.input) > 1 and node.input[1] in graph.constants:
            axes = graph.constants[node.input[1]].tolist()
        if axes is None:
            continue
        x, length = node.input[0], node.output[0]
        axes_name = graph.constant(f"{length}/axes", axes, np.int64)
        keep = settings.get("keepdims", 1)
        graph.replace(
            [node],
            [
                helper.make_node("Mul", [x, x], [f"{length}/squares"]),
                helper.make_node("ReduceSum", [f"{length}/squares", axes_name], [f"{length}/sum"], keepdims=keep),
                helper.make_node("Sqrt", [f"{length}/sum"], [length]),
            ],
        )


def fuse_normalisation(graph: Graph) -> None:
    """Let `NormalizeEmbedding` divide half-precision embeddings by their length; its result is float32.

    Fits `x / max(ReduceL2(x over channels), 1e-12)` (`torch.nn.functional.normalize`) with whole vectors of kHWC8.
    """
    producers = graph.producers()
    for division in [node for node in graph.nodes if node.op_type == "Div"]:
        x, divisor = division.input
        floor = producers.get(divisor)
        if floor is None or floor.op_type not in ("Clip", "Max") or len(list(filter(None, floor.input))) != 2:
            continue
        length = producers.get(floor.input[0])
        least = graph.constants.get(floor.input[1])
        shape = graph.shapes.get(x, ())
        if (
            length is None
            or length.op_type != "ReduceL2"
            or length.input[0] != x
            or least is None
            or least.size != 1
            or not 0 <= least.item() <= 1e-6
            or len(shape) != 4
            or shape[1] % _VECTOR
            or graph.shapes.get(length.output[0]) != (shape[0], 1, *shape[2:])
        ):
            continue
        fused = helper.make_node("NormalizeEmbedding", [x], division.output)
        graph.replace([division], [fused])
        graph.shapes[fused.output[0]] = shape
    graph.prune()
