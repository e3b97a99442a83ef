"""Precision for TensorRT before version 10, whose networks are weakly typed.

There the types in a graph are only a start: the builder may run any layer in another precision if that is
faster. So every layer is told the type that the graph gives its result, and the builder to obey.
"""

from __future__ import annotations

from typing import Any

import onnx
import tensorrt as trt
from onnx import TensorProto

# They have types of their own: what they convert to, what they hold, what the plugin says.
_LEFT_ALONE = {trt.LayerType.CAST, trt.LayerType.CONSTANT, trt.LayerType.PLUGIN_V2, trt.LayerType.SHAPE}
_TYPES = {TensorProto.FLOAT: trt.float32, TensorProto.FLOAT16: trt.float16}


def hold_to_types(network: Any, config: Any, graph: onnx.ModelProto) -> None:
    """Set the precision of every layer that computes in float to what the graph says.

    Args:
        network: the parsed network.
        config: of the builder.
        graph: as `fairmot.engine.graph.prepare.prepare` returns it, with the types in `value_info`.
    """
    config.set_flag(trt.BuilderFlag.FP16)
    config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    kinds = {
        value.name: _TYPES[value.type.tensor_type.elem_type]
        for value in (*graph.graph.value_info, *graph.graph.input, *graph.graph.output)
        if value.type.tensor_type.elem_type in _TYPES
    }
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type in _LEFT_ALONE:
            continue
        results = [layer.get_output(number) for number in range(layer.num_outputs)]
        own = [kinds.get(result.name) for result in results]
        if own[0] is not None:
            layer.precision = own[0]
            for number, kind in enumerate(own):
                layer.set_output_type(number, kind or own[0])
        elif layer.num_inputs and results[0].dtype == trt.bool:
            first = layer.get_input(0)  # a comparison works in the type of what it compares
            if first is not None and first.name in kinds:
                layer.precision = kinds[first.name]


def leave_out_libraries(config: Any, keep_cublas: bool) -> None:
    """Use TensorRT's own kernels only, so that engines need neither cuDNN nor, for the most part, cuBLAS.

    Args:
        config: of the builder.
        keep_cublas: NVIDIA's deformable convolution gets its cuBLAS handle only if cuBLAS is a tactic source.
    """
    sources = trt.TacticSource
    own = 1 << int(sources.EDGE_MASK_CONVOLUTIONS) | 1 << int(sources.JIT_CONVOLUTIONS)
    config.set_tactic_sources(own | (1 << int(sources.CUBLAS) if keep_cublas else 0))
