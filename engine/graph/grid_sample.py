"""Deformable convolutions in standard operators, for runtimes that have neither `DeformConv` nor our plugins.

A deformable convolution (DCNv2, Zhu et al., arXiv:1811.11168) reads each kernel tap at its own fractional position,
weighs it by the mask and multiplies by the kernel. `GridSample` does the reading, all taps in one call, one tap per row
of its output; the rest is a product and a 1x1 convolution over channels times taps. Both operators read 0 outside the
map and interpolate across its border, so they agree everywhere.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from fairmot.engine.graph.deform_conv import DeformConvNode, deform_conv_nodes
from fairmot.engine.graph.graph import Graph

_FARTHEST = 3.0
"""Everything that touches the map lies in [-2, 2]; huge offsets must not overflow the sampler's integers."""

_Size = int | str
"""A number, or the name of a 1-D tensor of numbers that the graph computes."""


def deform_conv_to_grid_sample(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace every `DeformConv`, for any runtime; batch, height and width stay dynamic.

    Args:
        model: float32 graph, opset 19 or later; it is left as it is.

    Returns:
        The rewritten copy.

    Raises:
        ModelError: if a kernel's size is neither an attribute nor known from the weight.
    """
    graph = Graph(model)
    if not any(node.op_type == "DeformConv" for node in graph.nodes):
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        return copy
    graph.infer()
    for conv in deform_conv_nodes(graph):
        graph.replace([conv.node], _Sampling(graph, conv, are_sizes_known=False).nodes)
    graph.prune()
    graph.name_nodes()  # ONNX Runtime 1.19 names the nodes that it fuses after them, and refuses equal names
    return graph.to_model()


def deform_convs_to_native(graph: Graph) -> None:
    """Replace every `DeformConv` by layers that TensorRT has, for machines where the plugins cannot be built.

    The shapes of the graph must be known: then few layers on maps of four dimensions are left.
    """
    for conv in deform_conv_nodes(graph):
        graph.replace([conv.node], _Sampling(graph, conv, are_sizes_known=True).nodes)


class _Sizes(NamedTuple):
    """Sizes of the maps around one `DeformConv`, in the letters of `_Sampling`.

    Attributes:
        image: c/g, h, w of one offset group; of use only with several.
        out: y, x.
        positions: y x, the positions of one tap.
        sampled: n, c k, y, x.
    """

    image: tuple[_Size, ...]
    out: tuple[_Size, ...]
    positions: _Size
    sampled: tuple[_Size, ...]


class _Sampling:
    """The nodes that replace one `DeformConv`.

    Shapes in the comments: n images, g offset groups, c channels, k taps, h x w input map, y x x output map.

    Args:
        graph: gets the constants.
        conv: the node to replace.
        are_sizes_known: the coordinates without offsets are constants; otherwise the graph computes them from the
            shapes of its maps.

    Attributes:
        nodes: in order of execution; the last one writes the output of the node that they replace.
    """

    def __init__(self, graph: Graph, conv: DeformConvNode, are_sizes_known: bool) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._graph = graph
        self._conv = conv
        self._prefix = conv.node.output[0]
        if are_sizes_known:
            sizes = self._known_sizes()
            parts = [self._known_coordinates(axis, sizes) for axis in (1, 0)]  # x comes first in a grid
        else:
            image, offset = self._add("Shape", conv.x), self._add("Shape", conv.offset)
            sizes = self._computed_sizes(image, offset)
            shifts = self._reshape(conv.offset, -1, conv.taps, 2, *sizes.out)  # (n g, k, dy and dx, y, x)
            parts = [self._computed_coordinates(axis, sizes, shifts, image, offset) for axis in (1, 0)]
        grid = self._add("Concat", *parts, axis=3)  # (n g, k, y x, 2)
        self._sample(grid, sizes, "linear" if not are_sizes_known and graph.opset >= 20 else "bilinear")

    def _sample(self, grid: str, sizes: _Sizes, mode: str) -> None:
        """Add everything behind the grid; opset 20 renamed the mode."""
        conv = self._conv
        image = self._reshape(conv.x, -1, *sizes.image) if conv.offset_group > 1 else conv.x
        # (n g, c/g, k, y x)
        sampled = self._add("GridSample", image, grid, mode=mode, padding_mode="zeros", align_corners=0)
        if conv.mask:
            sampled = self._add("Mul", sampled, self._reshape(conv.mask, -1, 1, conv.taps, sizes.positions))
        # (n, c k, y, x), channels outside: the order in which the weight (o, c, kh, kw) flattens to (o, c k, 1, 1)
        sampled = self._reshape(sampled, *sizes.sampled)
        inputs = [sampled, self._flat_weight(), *([conv.bias] if conv.bias else [])]
        self._add("Conv", *inputs, output=conv.node.output[0], kernel_shape=[1, 1], group=conv.group)

    def _known_sizes(self) -> _Sizes:
        conv, shapes = self._conv, self._graph.shapes
        _, channels, *sides = shapes[conv.x]
        rows, columns = shapes[conv.offset][2:]
        image = (channels // conv.offset_group, *sides)
        return _Sizes(image, (rows, columns), rows * columns, (-1, channels * conv.taps, rows, columns))

    def _known_coordinates(self, axis: int, sizes: _Sizes) -> str:
        """Return where the taps read along one axis (0 rows, 1 columns) in GridSample's units, `(n g, k, y x, 1)`."""
        conv, shapes = self._conv, self._graph.shapes
        taps, groups = conv.taps, conv.offset_group
        side, out_side = shapes[conv.x][2 + axis], shapes[conv.offset][2 + axis]
        pixels = self._tap_starts(axis)[:, None] + np.arange(out_side) * conv.strides[axis]  # (k, y) or (k, x)
        # Without align_corners, pixel p of a side of s pixels is (2 p + 1) / s - 1.
        start = np.expand_dims((2 * pixels + 1) / side - 1, (0, 3 - axis))
        shifts = self._every_other_channel(conv.offset, axis, 2 * taps * groups)  # dy and dx take turns
        if groups > 1:
            shifts = self._reshape(shifts, -1, taps, *sizes.out)  # (n g, k, y, x)
        scaled = self._add("Mul", shifts, self._float(f"scale{axis}", 2 / side))
        grid = self._add("Add", scaled, self._float(f"start{axis}", start))
        return self._reshape(self._clipped(grid), -1, taps, sizes.positions, 1)

    def _computed_sizes(self, image: str, offset: str) -> _Sizes:
        """Add what computes the sizes from the shapes of the input map and of the offsets."""
        groups = self._conv.offset_group
        per_group: tuple[str, ...] = ()
        if groups > 1:
            per_group = (self._add("Div", self._part(image, 1, 4), self._ints("groups", [groups, 1, 1])),)
        out = self._part(offset, 2, 4)
        positions = self._add("ReduceProd", out, keepdims=1)
        return _Sizes(per_group, (out,), positions, (self._part(offset, 0, 1), -1, out))

    def _computed_coordinates(self, axis: int, sizes: _Sizes, shifts: str, image: str, offset: str) -> str:
        """Return what `_known_coordinates` does, computed from the shapes of the input map and of the offsets."""
        conv, number = self._conv, self._ints(f"axis{2 + axis}", 2 + axis)
        count = self._add("Gather", offset, number)
        steps = self._add("Range", self._ints("first", 0), count, self._ints("next", 1))
        starts = self._ints(f"tap_starts{axis}", self._tap_starts(axis)[:, None])
        strides = self._add("Mul", steps, self._ints(f"stride{axis}", conv.strides[axis]))
        pixels = self._add("Add", strides, starts)  # (k, y) or (k, x)
        pixels = self._reshape(pixels, conv.taps, *((-1, 1) if axis == 0 else (1, -1)))
        pixels = self._add("Cast", pixels, to=onnx.TensorProto.FLOAT)
        pixels = self._add("Add", self._add("Gather", shifts, self._ints(f"shift{axis}", axis), axis=2), pixels)
        # As above; the other convention divides by s - 1 and so fails on maps of one pixel.
        side = self._add("Cast", self._add("Gather", image, number), to=onnx.TensorProto.FLOAT)
        scale = self._add("Div", self._float("two", 2), side)
        one = self._float("one", 1)
        start = self._add("Sub", self._add("Div", one, side), one)
        grid = self._add("Add", self._add("Mul", pixels, scale), start)
        return self._reshape(self._clipped(grid), -1, conv.taps, sizes.positions, 1)

    def _tap_starts(self, axis: int) -> npt.NDArray[np.int64]:
        """Return the pixel that each tap reads for the first output along one axis."""
        conv = self._conv
        taps: npt.NDArray[np.int64] = np.divmod(np.arange(conv.taps), conv.kernel[1])[axis]
        return taps * conv.dilations[axis] - conv.pads[axis]

    def _clipped(self, grid: str) -> str:
        return self._add("Clip", grid, self._float("nearest", -_FARTHEST), self._float("farthest", _FARTHEST))

    def _flat_weight(self) -> str:
        """Return the weight `(o, c, kh, kw)` as `(o, c k, 1, 1)`."""
        name = self._conv.weight
        weight = self._graph.constants.get(name)
        if weight is not None:
            flat = weight.reshape(len(weight), -1, 1, 1)
            return self._graph.constant(f"{name.removesuffix('.weight')}.flat.weight", flat, np.float32)
        shape = self._graph.shapes.get(name)
        return self._reshape(name, -1, int(np.prod(shape[1:])), 1, 1) if shape else self._reshape(name, 0, -1, 1, 1)

    def _add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or f"{self._prefix}/{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def _reshape(self, tensor: str, *sizes: _Size) -> str:
        """Reshape; a size of -1 is inferred, as in ONNX, so that any number of images fits."""
        numbers = [size for size in sizes if isinstance(size, int)]
        if len(numbers) == len(sizes):
            return self._add("Reshape", tensor, self._ints("shape", numbers))
        names = [size if isinstance(size, str) else self._ints(f"size{size}", [size]) for size in sizes]
        return self._add("Reshape", tensor, self._add("Concat", *names, axis=0))

    def _part(self, shape: str, start: int, end: int) -> str:
        return self._add("Slice", shape, self._ints(f"from{start}", [start]), self._ints(f"to{end}", [end]))

    def _every_other_channel(self, tensor: str, start: int, end: int) -> str:
        limits = {"from": start, "to": end, "axis": 1, "step": 2}
        return self._add("Slice", tensor, *(self._ints(key, [value]) for key, value in limits.items()))

    def _ints(self, name: str, values: npt.ArrayLike) -> str:
        return self._graph.constant(f"{self._prefix}/{name}", values, np.int64)

    def _float(self, name: str, values: npt.ArrayLike) -> str:
        return self._graph.constant(f"{self._prefix}/{name}", values, np.float32)
