"""Normalized embeddings in half precision: by a plugin, or with their sum of squares in float32."""

from __future__ import annotations

import numpy as np
from onnx import helper

from fairmot.engine.graph.attributes import attributes
from fairmot.engine.graph.graph import VECTOR, Graph


def expand_l2_norms(graph: Graph) -> None:
    """Turn ReduceL2 into products, a sum and a root, so that each of them can be typed float32."""
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


def fuse_normalization(graph: Graph) -> None:
    """Let `NormalizeEmbedding` divide half-precision embeddings by their length; its result is float32.

    Applies to `x / max(ReduceL2(x over channels), 1e-12)` (`torch.nn.functional.normalize`) of whole kHWC8 vectors.
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
            or shape[1] % VECTOR
            or graph.shapes.get(length.output[0]) != (shape[0], 1, *shape[2:])
        ):
            continue
        fused = helper.make_node("NormalizeEmbedding", [x], division.output)
        graph.replace([division], [fused])
        graph.shapes[fused.output[0]] = shape
    graph.prune()
