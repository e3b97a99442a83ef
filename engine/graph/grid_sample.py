"""Rewrites of the exported graph for runtimes that lack one of its operators."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference

from fairmot.core.errors import ModelError


def deform_conv_to_grid_sample(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace every `DeformConv` by standard operators that compute the same.

    A deformable convolution (DCNv2, Zhu et al., arXiv:1811.11168) reads each kernel tap at its own
    fractional position, weighs it by the mask and multiplies by the kernel. `GridSample` does the reading,
    all taps in one call, one tap per row of its output; the rest is a product and a 1x1 convolution over
    channels times taps. Both operators read 0 outside the map and interpolate across its border, so they
    agree everywhere. Batch, height and width stay dynamic.

    Args:
        model: float32 graph, opset 19 or later; it is left as it is.

    Returns:
        The rewritten copy.

    Raises:
        ModelError: if a kernel's size is neither an attribute nor known from the weight.
    """
    rewritten = onnx.ModelProto()
    rewritten.CopyFrom(model)
    if not any(node.op_type == "DeformConv" for node in model.graph.node):
        return rewritten
    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    bilinear = "linear" if opset >= 20 else "bilinear"  # opset 20 renamed it
    shapes = _known_shapes(model)
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, onnx.TensorProto] = {}
    for node in model.graph.node:
        nodes += _Sampling(node, shapes, constants, bilinear).nodes if node.op_type == "DeformConv" else [node]
    del rewritten.graph.node[:]
    rewritten.graph.node.extend(nodes)
    rewritten.graph.initializer.extend(constants.values())
    return rewritten


def _known_shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    inferred = shape_inference.infer_shapes(model).graph
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*inferred.value_info, *inferred.input)
    }
    shapes.update({tensor.name: list(tensor.dims) for tensor in model.graph.initializer})
    return shapes


class _Sampling:
    """The nodes that stand for one `DeformConv`.

    Shapes in the comments: n images, g offset groups, c channels, k taps, h x w input map, y x x output map.

    Attributes:
        nodes: in order of execution; the last one writes the output of the node that they replace.
    """

    def __init__(
        self,
        node: onnx.NodeProto,
        shapes: dict[str, list[int]],
        constants: dict[str, onnx.TensorProto],
        bilinear: str,
    ) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._prefix = node.output[0]
        self._constants = constants
        image, weight, offset, bias, mask = [*node.input, "", ""][:5]
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        kernel = list(attributes.get("kernel_shape") or shapes.get(weight, [])[2:])
        if len(kernel) != 2 or min(kernel) < 1:
            raise ModelError(f'The DeformConv that makes "{node.output[0]}" needs a 2-D kernel_shape: export it again.')
        strides = attributes.get("strides") or [1, 1]
        pads = attributes.get("pads") or [0, 0, 0, 0]
        dilations = attributes.get("dilations") or [1, 1]
        groups = attributes.get("offset_group", 1)
        taps = math.prod(kernel)

        image_shape = self._add("Shape", image)
        offset_shape = self._add("Shape", offset)
        output_size = self._slice(offset_shape, 2, 4)
        # (n g, k, 2, y, x), the 2 being dy and dx
        shifts = self._reshape(offset, [-1, taps, 2], output_size)
        tap_rows, tap_columns = np.divmod(np.arange(taps), kernel[1])
        grid_y = self._coordinates(
            shifts, 0, image_shape, offset_shape, strides[0], tap_rows * dilations[0] - pads[0], [taps, -1, 1]
        )
        grid_x = self._coordinates(
            shifts, 1, image_shape, offset_shape, strides[1], tap_columns * dilations[1] - pads[1], [taps, 1, -1]
        )
        last = self._ints([-1])
        grid = self._add("Concat", *(self._add("Unsqueeze", part, last) for part in (grid_x, grid_y)), axis=-1)
        positions = self._add("ReduceProd", output_size, keepdims=1)
        grid = self._reshape(grid, [-1, taps], positions, [2])  # (n g, k, y x, 2)

        if groups > 1:
            per_group = self._add("Div", self._slice(image_shape, 1, 4), self._ints([groups, 1, 1]))
            image = self._reshape(image, [-1], per_group)  # (n g, c/g, h, w)
        # (n g, c/g, k, y x)
        sampled = self._add("GridSample", image, grid, mode=bilinear, padding_mode="zeros", align_corners=0)
        if mask:
            sampled = self._add("Mul", sampled, self._reshape(mask, [-1, 1, taps], positions))
        # (n, c k, y, x), channels outside: the order in which the weight (o, c, kh, kw) flattens to (o, c k, 1, 1)
        sampled = self._reshape(sampled, self._slice(offset_shape, 0, 1), [-1], output_size)
        flat_weight = self._reshape(weight, [0, -1, 1, 1])
        convolution = [sampled, flat_weight, bias] if bias else [sampled, flat_weight]
        self._add("Conv", *convolution, output=node.output[0], kernel_shape=[1, 1], group=attributes.get("group", 1))

    def _coordinates(
        self,
        shifts: str,
        axis: int,
        image_shape: str,
        offset_shape: str,
        stride: int,
        tap_start: np.ndarray[tuple[int], np.dtype[np.int64]],
        broadcast: Sequence[int],
    ) -> str:
        """Where the taps read along one axis (0 rows, 1 columns) in GridSample's units, `(n g, k, y, x)`."""
        count = self._add("Gather", offset_shape, self._ints(2 + axis))
        steps = self._add("Range", self._ints(0), count, self._ints(1))
        starts = self._ints(tap_start.reshape(-1, 1).tolist())
        pixels = self._add("Add", self._add("Mul", steps, self._ints(stride)), starts)  # (k, y) or (k, x)
        pixels = self._add("Cast", self._reshape(pixels, broadcast), to=onnx.TensorProto.FLOAT)
        pixels = self._add("Add", self._add("Gather", shifts, self._ints(axis), axis=2), pixels)
        # With align_corners=0 pixel p of a side of s pixels is (2 p + 1) / s - 1. The other convention divides
        # by s - 1 and so fails on maps of one pixel.
        side = self._add("Gather", image_shape, self._ints(2 + axis))
        side = self._add("Cast", side, to=onnx.TensorProto.FLOAT)
        scale = self._add("Div", self._floats(2), side)
        start = self._add("Sub", self._add("Div", self._floats(1), side), self._floats(1))
        grid = self._add("Add", self._add("Mul", pixels, scale), start)
        # Everything that touches the map lies in [-2, 2]; huge offsets must not overflow the sampler's integers.
        return self._add("Clip", grid, self._floats(-3), self._floats(3))

    def _add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or f"{self._prefix}/{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=output, **attributes))
        return output

    def _reshape(self, tensor: str, *parts: str | Sequence[int]) -> str:
        """Reshape to a shape put together from numbers and from 1-D tensors."""
        names = [part if isinstance(part, str) else self._ints(list(part)) for part in parts]
        return self._add("Reshape", tensor, names[0] if len(names) == 1 else self._add("Concat", *names, axis=0))

    def _slice(self, shape: str, start: int, end: int) -> str:
        return self._add("Slice", shape, self._ints([start]), self._ints([end]))

    def _ints(self, values: object) -> str:
        return self._constant(np.array(values, np.int64))

    def _floats(self, value: float) -> str:
        return self._constant(np.array(value, np.float32))

    def _constant(self, values: np.ndarray[tuple[int, ...], np.dtype[np.int64 | np.float32]]) -> str:
        """Name of a constant that all rewritten nodes share."""
        name = f"deform_conv/{values.dtype}_{'x'.join(map(str, values.shape))}_{'_'.join(map(str, values.ravel()))}"
        self._constants.setdefault(name, numpy_helper.from_array(values, name))
        return name
