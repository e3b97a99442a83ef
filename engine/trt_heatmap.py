"""The heatmap's own layers, which half precision is too coarse for.

A score decides twice: whether a cell is a peak among its neighbours, and whether a person is seen at all. In half
precision neighbouring cells of a peak often come out equal, and each of them then counts as a peak; and TensorRT's
kernels for half precision also add up in float16, which in the last two layers alone made half of the variance that the
whole network's rounding gave to scores. So these layers are typed float32.

They cost little: TensorRT runs them as TF32 on tensor cores, which takes 11 bits of each factor, as many as float16
has, and adds up in float32.
"""

from __future__ import annotations

import onnx

from engine.model import OUTPUTS
from engine.onnx_graph import Graph


def heatmap_convolutions(graph: Graph, weighted: set[str]) -> list[onnx.NodeProto]:
    """Return the last convolutions before the heatmap that serve nothing else, the last one first; at most two.

    Args:
        graph: of any model; of one without a heatmap, nothing is returned.
        weighted: operators that do the network's arithmetic.
    """
    producers, consumers = graph.producers(), graph.consumers()
    found: list[onnx.NodeProto] = []
    end = OUTPUTS[0]
    while len(found) < 2:
        node = _last_weighted(producers, end, weighted)
        if node is None or node.op_type != "Conv" or node.input[1] not in graph.constants:
            break
        if found and not _serves_only(found[-1], node, consumers, graph.output_names()):
            break
        found.append(node)
        end = node.input[0]
    return found


def _last_weighted(producers: dict[str, onnx.NodeProto], end: str, weighted: set[str]) -> onnx.NodeProto | None:
    """The layer that a tensor comes from, if everything between them has no weights."""
    waiting, seen = [end], set()
    found = []
    while waiting:
        node = producers.get(waiting.pop())
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if node.op_type in weighted:
            found.append(node)
        else:
            waiting += node.input
    return found[0] if len(found) == 1 else None


def _serves_only(
    reader: onnx.NodeProto, node: onnx.NodeProto, consumers: dict[str, list[onnx.NodeProto]], ends: set[str]
) -> bool:
    """Whether all that is made of a layer's result goes into one other."""
    waiting = list(node.output)
    while waiting:
        name = waiting.pop()
        if name in ends:
            return False
        for each in consumers.get(name, []):
            if each is not reader:
                waiting += each.output
    return True
