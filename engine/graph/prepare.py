"""Rewriting of an exported ONNX model into the graph that TensorRT builds an engine from.

The export is one file for every backend (`DeformConv` in float32, any input size). TensorRT needs a fixed size, no
shape arithmetic, an opset that its parser knows, types that state the precision, and replacements for layers that it
runs slowly. Everything here is plain ONNX and NumPy.
"""

from __future__ import annotations

from typing import Literal, get_args

import onnx
from onnx import helper

from fairmot.core.errors import ConfigError, ModelError
from fairmot.engine.graph.constant_outputs import derive_constant_outputs
from fairmot.engine.graph.deform_conv import complete_deform_convs, dcn_v2_to_deform_conv, deform_convs_to_nvidia
from fairmot.engine.graph.fusion import fuse_deform_convs
from fairmot.engine.graph.graph import DEFORMABLE, Graph
from fairmot.engine.graph.grid_sample import deform_convs_to_native
from fairmot.engine.graph.heatmap import split_heatmap_sums
from fairmot.engine.graph.input_scale import expect_scaled_images
from fairmot.engine.graph.normalize import expand_l2_norms, fuse_normalization
from fairmot.engine.graph.precision import to_half
from fairmot.engine.graph.shapes import anchor_reshapes, fix_input, fold, lower_opset, raise_opset
from fairmot.engine.graph.upsample import fuse_upsampling, upsample_by_phases

Precision = Literal["fp16", "fp32"]
Dcn = Literal["plugin", "native", "nvidia"]

VERSION = 4
"""Raised whenever the graph of a model changes, so that cached plans are built again."""

PLUGINS = {"DeformConv", "DeformConvBlock", "FusedDeformConv", "NormalizeEmbedding", "UpsampleAdd"}
"""Operators of our plugin library that `prepare` may leave in a graph."""


def prepare(
    model: onnx.ModelProto,
    size: tuple[int, int],
    batches: tuple[int, ...] = (1,),
    precision: Precision = "fp16",
    dcn: Dcn = "plugin",
    half_images: bool = True,
) -> onnx.ModelProto:
    """Rewrite a model for TensorRT.

    Args:
        model: as `fairmot export` writes it, or another with one image input; left as it is.
        size: input `(width, height)` in pixels.
        batches: numbers of images that the engine takes; with more than one the batch stays a dynamic axis.
        precision: `fp16`: input and weights float16, outputs float32. `fp32`: everything float32.
        dcn: how deformable convolutions run: our plugins, native layers only, or NVIDIA's plugin.
        half_images: whether the input is float16 if the precision is, and then of images that were multiplied by
            `fairmot.engine.graph.input_scale.IMAGE_SCALE`; float32 otherwise.

    Returns:
        The graph; the type of every tensor that TensorRT computes is in `value_info`.

    Raises:
        ModelError: if the model uses what TensorRT cannot do, or does not allow several batches.
    """
    for value, allowed in ((precision, Precision), (dcn, Dcn)):
        if value not in get_args(allowed):
            raise ConfigError(f'The choice is {" or ".join(get_args(allowed))}, not "{value}".')
    graph = _rewrite(model, size, batches[0], precision, dcn, half_images)
    result = _with_types(graph)
    if len(batches) > 1:
        other = _with_types(_rewrite(model, size, batches[1], precision, dcn, half_images))
        for proto in (result, other):
            for value in (*proto.graph.input, *proto.graph.output):
                value.type.tensor_type.shape.dim[0].dim_param = "batch"
        if result != other:
            raise ModelError("The model computes with its batch size: build one engine per batch size.")
    return result


def _rewrite(
    model: onnx.ModelProto, size: tuple[int, int], batch: int, precision: Precision, dcn: Dcn, half_images: bool
) -> Graph:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = Graph(raise_opset(copy))
    fix_input(graph, batch, size)
    fold(graph)
    _check_shapes(graph, size)
    derive_constant_outputs(graph)
    dcn_v2_to_deform_conv(graph)
    if precision == "fp16" and dcn != "native":
        if dcn == "plugin":
            fuse_deform_convs(graph)
        fuse_upsampling(graph)
        fuse_normalization(graph)
    if dcn == "native":
        deform_convs_to_native(graph)
    elif dcn == "nvidia":
        deform_convs_to_nvidia(graph)
    else:
        complete_deform_convs(graph)
    if precision == "fp16":
        upsample_by_phases(graph)
        split_heatmap_sums(graph)
        if half_images:
            expect_scaled_images(graph)
    expand_l2_norms(graph)
    lower_opset(graph)
    graph.infer()
    anchor_reshapes(graph)
    graph.prune()
    if precision == "fp16":
        to_half(graph, half_images)
    else:
        graph.infer()
    _static_outputs(graph)
    graph.name_nodes()
    return graph


def _check_shapes(graph: Graph, size: tuple[int, int]) -> None:
    """Refuse operators that leave maps without a known shape, which the rewrites need; outputs are left to TensorRT."""
    outputs = graph.output_names()
    for node in graph.nodes:
        inner = any(name not in graph.shapes and name not in outputs for name in node.output if name)
        if inner and not graph.knows(node) and node.op_type not in DEFORMABLE:
            raise ModelError(
                f'The model uses the operator "{node.op_type}" (for "{node.output[0]}"), which ONNX does not define: '
                "export the model without it."
            )
        if node.op_type in DEFORMABLE and not all(name in graph.shapes for name in node.input if name):
            raise ModelError(
                f'At {size[0]}x{size[1]} the maps before the {node.op_type} that makes "{node.output[0]}" do not fit '
                "together: give another --size, often a multiple of 32."
            )


def _static_outputs(graph: Graph) -> None:
    for output in graph.outputs:
        shape = graph.shapes.get(output.name)
        if shape is not None:
            output.CopyFrom(helper.make_tensor_value_info(output.name, graph.types[output.name], shape))


def _with_types(graph: Graph) -> onnx.ModelProto:
    model = graph.to_model()
    ends = {value.name for value in (*graph.inputs, *graph.outputs)}
    for node in graph.nodes:
        for name in node.output:
            if name not in ends and graph.types.get(name):
                model.graph.value_info.append(helper.make_tensor_value_info(name, graph.types[name], None))
    return model
