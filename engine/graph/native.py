"""Deformable convolutions in TensorRT's own layers, for machines where the plugins cannot be built.

`fairmot.engine.graph.grid_sample` does the same for any runtime and any size; here sizes are known, so that what is
left is few layers on maps of four dimensions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from fairmot.engine.graph.deform_conv import DeformConvNode, deform_conv_nodes
from fairmot.engine.graph.graph import Graph

_FARTHEST = 3.0
"""Everything that touches the map lies in [-2, 2]; huge offsets must not overflow the sampler's integers."""


def deform_convs_to_native(graph: Graph) -> None:
    """Put GridSample and a 1x1 convolution over channels times taps in the place of every `DeformConv`.

    The shapes of the graph must be known.
    """
    for conv in deform_conv_nodes(graph):
        graph.replace([conv.node], _Sampling(graph, conv).nodes)


class _Sampling:
    """The nodes that stand for one `DeformConv`.

    Shapes in the comments: n images, g offset groups, c channels, k taps, h x w input map, y x x output map.

    Attributes:
        nodes: in order of execution.
    """

    def __init__(self, graph: Graph, conv: DeformConvNode) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._graph = graph
        self._prefix = output = conv.node.output[0]
        _, channels, *sides = graph.shapes[conv.x]
        out_sides = graph.shapes[conv.offset][2:]
        taps, groups = conv.taps, conv.offset_group
        positions = out_sides[0] * out_sides[1]

        parts = []
        for axis in (1, 0):  # x comes first in a grid
            tap = np.divmod(np.arange(taps), conv.kernel[1])[axis] * conv.dilations[axis] - conv.pads[axis]
            pixels = tap[:, None] + np.arange(out_sides[axis]) * conv.strides[axis]  # (k, y) or (k, x)
            # Without align_corners, pixel p of a side of s pixels is (2 p + 1) / s - 1.
            start = np.expand_dims((2 * pixels + 1) / sides[axis] - 1, (0, 3 - axis))
            shifts = self._slice(conv.offset, axis, 2 * taps * groups, 2)  # dy and dx take turns
            if groups > 1:
                shifts = self._reshape(shifts, taps, *out_sides)  # (n g, k, y, x)
            scaled = self._add("Mul", shifts, self._float(f"scale{axis}", 2 / sides[axis]))
            grid = self._add("Add", scaled, self._float(f"start{axis}", start))
            grid = self._add("Clip", grid, self._float("nearest", -_FARTHEST), self._float("farthest", _FARTHEST))
            parts.append(self._reshape(grid, taps, positions, 1))
        grid = self._add("Concat", *parts, axis=3)  # (n g, k, y x, 2)
        image = self._reshape(conv.x, channels // groups, *sides) if groups > 1 else conv.x
        # (n g, c/g, k, y x)
        sampled = self._add("GridSample", image, grid, mode="bilinear", padding_mode="zeros", align_corners=0)
        if conv.mask:
            sampled = self._add("Mul", sampled, self._reshape(conv.mask, 1, taps, positions))
        # (n, c k, y, x), channels outside: the order in which the weight (o, c, kh, kw) flattens to (o, c k, 1, 1)
        sampled = self._reshape(sampled, channels * taps, *out_sides)
        inputs = [sampled, self._flat_weight(conv.weight), *([conv.bias] if conv.bias else [])]
        self._add("Conv", *inputs, output=output, kernel_shape=[1, 1], group=conv.group)

    def _flat_weight(self, name: str) -> str:
        weight = self._graph.constants.get(name)
        if weight is None:
            return self._reshape(name, int(np.prod(self._graph.shapes[name][1:])), 1, 1)
        flat = weight.reshape(len(weight), -1, 1, 1)
        return self._graph.constant(f"{name.removesuffix('.weight')}.flat.weight", flat, np.float32)

    def _add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or f"{self._prefix}/{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def _reshape(self, tensor: str, *sizes: int) -> str:
        """Reshape to `(as many as there are, *sizes)`, which holds for any number of images."""
        shape = self._graph.constant(f"{self._prefix}/shape", [-1, *sizes], np.int64)
        return self._add("Reshape", tensor, shape)

    def _slice(self, tensor: str, start: int, end: int, step: int) -> str:
        """Take channels of a tensor."""
        limits = {"from": start, "to": end, "axis": 1, "step": step}
        names = [self._graph.constant(f"{self._prefix}/{key}", [value], np.int64) for key, value in limits.items()]
        return self._add("Slice", tensor, *names)

    def _float(self, name: str, values: npt.ArrayLike) -> str:
        return self._graph.constant(f"{self._prefix}/{name}", values, np.float32)
