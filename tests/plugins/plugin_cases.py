"""Random cases for every operation of the plugin library: one ONNX node each, its inputs, and what must come out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper
from support.dcn_reference import (
    Array,
    deform_conv,
    deform_conv_block,
    normalize,
    pack_weight,
    split_predicted,
    upsample_add,
)

LINEAR, HWC8 = "linear", "hwc8"


@dataclass
class Case:
    """One node.

    Attributes:
        name: for the test's id.
        node: its inputs and output `y` have names that start with the case's own.
        inputs: arrays by tensor name; the batch is the first axis.
        weights: constant inputs by tensor name.
        formats: LINEAR or HWC8 by tensor name, for inputs and the output.
        expected: computes the output in float64 from inputs of any batch.
        tolerance: largest error allowed, as a share of the largest expected value.
    """

    name: str
    node: NodeProto
    inputs: dict[str, Array]
    weights: dict[str, Array]
    formats: dict[str, str]
    expected: Callable[[dict[str, Array]], Array]
    tolerance: float
    output_type: type = np.float32

    @property
    def output(self) -> str:
        """Name of the output tensor."""
        return self.node.output[0]


@dataclass
class Geometry:
    """Sizes and attributes of a deformable convolution."""

    channels: int = 16
    outputs: int = 16
    size: tuple[int, int] = (13, 17)
    kernel: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (1, 1, 1, 1)
    dilations: tuple[int, int] = (1, 1)
    groups: int = 1
    offset_groups: int = 1
    batch: int = 2
    reach: float = 3.0  # standard deviation of the offsets, pixels
    far: bool = False  # some offsets point far outside

    @property
    def taps(self) -> int:
        return self.kernel[0] * self.kernel[1]

    @property
    def output_size(self) -> tuple[int, int]:
        rows, columns = (
            (self.size[a] + self.pads[a] + self.pads[a + 2] - self.dilations[a] * (self.kernel[a] - 1) - 1)
            // self.strides[a]
            + 1
            for a in (0, 1)
        )
        return rows, columns

    def offsets(self, random: np.random.Generator) -> Array:
        shape = (self.batch, 2 * self.taps * self.offset_groups, *self.output_size)
        offsets = random.normal(scale=self.reach, size=shape)
        if self.far:
            beyond = random.choice([-60000.0, -300.0, 300.0, 60000.0], size=shape)
            offsets = np.where(random.random(shape) < 0.3, beyond, offsets)
        return offsets


def _values(random: np.random.Generator, *shape: int) -> Array:
    return random.normal(size=shape)


def standard(
    name: str,
    geometry: Geometry,
    dtype: type = np.float32,
    layout: str = LINEAR,
    mask: bool = True,
    bias: bool = True,
    operator: str = "DeformConv",
) -> Case:
    """Return a case of DeformConv, or of DCNv2."""
    g, random = geometry, np.random.default_rng(sum(name.encode()))
    inputs = {
        "x": _values(random, g.batch, g.channels, *g.size).astype(dtype),
        "offset": g.offsets(random).astype(dtype),
        "mask": random.random((g.batch, g.taps * g.offset_groups, *g.output_size)).astype(dtype),
    }
    weights = {
        "weight": (_values(random, g.outputs, g.channels // g.groups, *g.kernel) / np.sqrt(g.taps)).astype(dtype),
        "bias": _values(random, g.outputs).astype(dtype),
    }
    if operator == "DCNv2":
        order = ["x", "offset", "mask", "weight", "bias"]
        assert g.pads[:2] == g.pads[2:]
        square = g.strides[0] == g.strides[1]
        attributes = {
            "stride": g.strides[0] if square else g.strides,
            "padding": g.pads[:2],
            "dilation": g.dilations,
            "deformable_group": g.offset_groups,
        }
        if g.groups != 1:
            attributes["groups"] = g.groups
    else:
        order = ["x", "weight", "offset", *(["bias"] if bias else []), *(["mask"] if mask else [])]
        attributes = {
            "kernel_shape": g.kernel,
            "strides": g.strides,
            "pads": g.pads,
            "dilations": g.dilations,
            "group": g.groups,
            "offset_group": g.offset_groups,
        }

    def expected(given: dict[str, Array]) -> Array:
        return deform_conv(
            given[f"{name}.x"],
            given[f"{name}.offset"],
            given.get(f"{name}.mask"),
            weights["weight"],
            weights["bias"] if "bias" in order else None,
            g.strides,
            g.pads,
            g.dilations,
            g.groups,
            g.offset_groups,
        )

    # Float32 sums of products round at 1e-7 a term; positions of float32 are exact to 1e-6 pixels here.
    tolerance = 2e-5 if dtype is np.float32 else 4e-3
    return _case(name, operator, order, attributes, inputs, weights, expected, tolerance, layout, dtype)


def fused(name: str, geometry: Geometry, relu: bool = False) -> Case:
    """Return a case of FusedDeformConv."""
    g, random = geometry, np.random.default_rng(sum(name.encode()))
    logits = random.normal(size=(g.batch, g.taps * g.offset_groups, *g.output_size))
    inputs = {
        "x": _values(random, g.batch, g.channels, *g.size).astype(np.float16),
        "predicted": np.concatenate([g.offsets(random), logits], axis=1).astype(np.float16),
    }
    weight = (_values(random, g.outputs, g.channels, *g.kernel) / np.sqrt(g.taps * g.channels)).astype(np.float16)
    weights = {"weight": pack_weight(weight), "bias": _values(random, g.outputs).astype(np.float32)}

    def expected(given: dict[str, Array]) -> Array:
        offset, mask = split_predicted(given[f"{name}.predicted"], g.taps, g.offset_groups)
        y = deform_conv(
            given[f"{name}.x"],
            offset,
            mask,
            weight,
            weights["bias"],
            g.strides,
            g.pads,
            g.dilations,
            1,
            g.offset_groups,
        )
        return np.maximum(y, 0) if relu else y

    attributes = {
        "kernel_shape": g.kernel,
        "strides": g.strides,
        "pads": g.pads,
        "dilations": g.dilations,
        "offset_group": g.offset_groups,
        "relu": int(relu),
    }
    order = ["x", "predicted", "weight", "bias"]
    return _case(name, "FusedDeformConv", order, attributes, inputs, weights, expected, 4e-3, HWC8, np.float16)


def block(name: str, geometry: Geometry, relu: bool = False) -> Case:
    """Return a case of DeformConvBlock, whose offsets reach as far as the geometry says by their weights."""
    g, random = geometry, np.random.default_rng(sum(name.encode()))
    depth = g.taps * g.channels
    scale = np.repeat([g.reach, 1.0], [2 * g.taps, g.taps]) / np.sqrt(depth)  # offsets, logits
    offset_weight = (_values(random, 3 * g.taps, g.channels, *g.kernel) * scale[:, None, None, None]).astype(np.float16)
    offset_bias = (_values(random, 3 * g.taps) * min(g.reach, 1)).astype(np.float32)
    if g.far:
        offset_bias[: 2 * g.taps : 5] = [-60000, 300, 60000, -300]
        offset_bias[2 * g.taps :: 4] = [-100, 0, 100]
    weight = (_values(random, g.outputs, g.channels, *g.kernel) / np.sqrt(depth)).astype(np.float16)
    bias = (_values(random, g.outputs) / 4).astype(np.float32)
    rows = 32 - 3 * g.taps
    weights = {
        "offset_weight": np.pad(pack_weight(offset_weight), ((0, 0), (0, rows), (0, 0))),
        "offset_bias": np.pad(offset_bias, (0, rows)),
        "weight": pack_weight(weight),
        "bias": bias,
    }

    def expected(given: dict[str, Array]) -> Array:
        return deform_conv_block(given[f"{name}.x"], offset_weight, offset_bias, weight, bias, relu)

    inputs = {"x": _values(random, g.batch, g.channels, *g.size).astype(np.float16)}
    order = ["x", "offset_weight", "offset_bias", "weight", "bias"]
    attributes = {"relu": int(relu)}
    # Offsets rounded to half would be off by more; those of float32 err by some millionths of their size.
    tolerance = 1.5e-3 + 2e-5 * g.reach
    return _case(name, "DeformConvBlock", order, attributes, inputs, weights, expected, tolerance, HWC8, np.float16)


def upsample(name: str, factor: int, channels: int, size: tuple[int, int], batch: int = 2) -> Case:
    """Return a case of UpsampleAdd."""
    random = np.random.default_rng(sum(name.encode()))
    inputs = {
        "x": _values(random, batch, channels, *size).astype(np.float16),
        "skip": _values(random, batch, channels, factor * size[0], factor * size[1]).astype(np.float16),
    }
    weights = {"weight": random.random((2 * factor, 2 * factor, channels)).astype(np.float16)}

    def expected(given: dict[str, Array]) -> Array:
        return upsample_add(given[f"{name}.x"], weights["weight"], given[f"{name}.skip"])

    order = ["x", "weight", "skip"]
    return _case(name, "UpsampleAdd", order, {"factor": factor}, inputs, weights, expected, 1e-3, HWC8, np.float16)


def embedding(name: str, channels: int, size: tuple[int, int], batch: int = 2) -> Case:
    """Return a case of NormalizeEmbedding, one cell of which is zero."""
    x = _values(np.random.default_rng(sum(name.encode())), batch, channels, *size).astype(np.float16)
    x[0, :, 0, 0] = 0
    case = _case(
        name,
        "NormalizeEmbedding",
        ["x"],
        {},
        {"x": x},
        {},
        lambda given: normalize(given[f"{name}.x"]),
        1e-5,
        HWC8,
        np.float32,
    )
    case.formats[case.output] = LINEAR
    return case


def _case(name, operator, order, attributes, inputs, weights, expected, tolerance, layout, output_type) -> Case:
    node = helper.make_node(operator, [f"{name}.{key}" for key in order], [f"{name}.y"], name=name, **attributes)
    formats = dict.fromkeys([f"{name}.{key}" for key in order if key in inputs], LINEAR)
    channels_last = {"x", "predicted", "skip"} if layout == HWC8 else set()
    formats |= {f"{name}.{key}": HWC8 for key in channels_last & set(inputs)}
    formats[f"{name}.y"] = layout
    return Case(
        name,
        node,
        {f"{name}.{key}": inputs[key] for key in order if key in inputs},
        {f"{name}.{key}": weights[key] for key in order if key in weights},
        formats,
        expected,
        tolerance,
        output_type,
    )


def onnx_bytes(cases: list[Case], dynamic_batch: bool) -> bytes:
    """Return an ONNX file with one node per case."""
    inputs: list[ValueInfoProto] = []
    outputs, weights = [], []
    for case in cases:
        for name, array in case.inputs.items():
            shape = ["batch" if dynamic_batch else array.shape[0], *array.shape[1:]]
            inputs.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), shape))
        weights += [numpy_helper.from_array(array, name) for name, array in case.weights.items()]
        kind = TensorProto.FLOAT if case.output_type is np.float32 else TensorProto.FLOAT16
        outputs.append(helper.make_tensor_value_info(case.output, kind, None))
    graph = helper.make_graph([case.node for case in cases], "cases", inputs, outputs, weights)
    # Opset 17 and IR 8 are the newest that the parser of TensorRT 8.6 knows.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


FLOAT_CASES = [
    standard("plain", Geometry()),
    standard("odd_channels", Geometry(channels=5, outputs=7, size=(11, 6))),
    standard("strided", Geometry(strides=(2, 2), pads=(1, 2, 0, 1), size=(17, 14))),
    standard("dilated", Geometry(strides=(1, 2), dilations=(2, 3), pads=(2, 3, 2, 3))),
    standard("groups", Geometry(channels=12, outputs=9, groups=3, offset_groups=2)),
    standard("offset_groups", Geometry(channels=16, offset_groups=4)),
    standard("kernel_1", Geometry(kernel=(1, 1), pads=(0, 0, 0, 0))),
    standard("kernel_5", Geometry(kernel=(5, 5), pads=(2, 2, 2, 2), channels=6)),
    standard("kernel_3x1", Geometry(kernel=(3, 1), pads=(1, 0, 1, 0))),
    standard("far", Geometry(far=True)),
    standard("no_mask", Geometry(), mask=False),
    standard("no_bias_no_mask", Geometry(), mask=False, bias=False),
    standard("wide", Geometry(channels=64, outputs=64, size=(33, 41), batch=1)),
    standard("older", Geometry(), operator="DCNv2"),
    standard("older_strided", Geometry(strides=(2, 2), offset_groups=2, groups=2), operator="DCNv2"),
    standard("older_uneven", Geometry(strides=(2, 1), pads=(2, 1, 2, 1), dilations=(2, 1)), operator="DCNv2"),
]

HALF_CASES = [
    standard("half", Geometry(), np.float16),
    standard("half_groups", Geometry(channels=12, outputs=9, groups=3, offset_groups=2), np.float16),
    standard("half_far", Geometry(far=True), np.float16),
    standard("half_older", Geometry(strides=(2, 2)), np.float16, operator="DCNv2"),
    standard("half_last", Geometry(channels=24, outputs=40), np.float16, HWC8),
    standard("half_last_strided", Geometry(channels=32, offset_groups=2, strides=(2, 1)), np.float16, HWC8),
    standard("half_last_1", Geometry(kernel=(1, 1), pads=(0, 0, 0, 0)), np.float16, HWC8, mask=False),
    standard("half_last_5", Geometry(kernel=(5, 5), pads=(2, 2, 2, 2)), np.float16, HWC8),
    fused("fused_small", Geometry(channels=8, outputs=8, size=(7, 5), batch=1)),
    fused("fused_64", Geometry(channels=64, outputs=64, size=(38, 45), batch=1), relu=True),
    fused("fused_128_to_64", Geometry(channels=128, outputs=64, size=(19, 23)), relu=True),
    fused("fused_256", Geometry(channels=256, outputs=256, size=(9, 11), batch=3)),
    fused("fused_512", Geometry(channels=512, outputs=256, size=(19, 34), batch=1), relu=True),
    fused("fused_odd_tiles", Geometry(channels=40, outputs=72, size=(29, 31), batch=3)),
    fused("fused_offset_groups", Geometry(channels=64, outputs=32, offset_groups=2)),
    fused("fused_strided", Geometry(channels=32, outputs=64, strides=(2, 2), size=(20, 21))),
    fused("fused_dilated", Geometry(channels=16, outputs=24, dilations=(2, 3), pads=(2, 3, 2, 3))),
    fused("fused_1", Geometry(channels=72, outputs=16, kernel=(1, 1), pads=(0, 0, 0, 0))),
    fused("fused_5", Geometry(channels=16, outputs=16, kernel=(5, 5), pads=(2, 2, 2, 2))),
    fused("fused_far", Geometry(channels=64, outputs=64, far=True)),
    # Together these have every tile, whole and cut off, alone and shared by thread blocks, on a GPU like the H200.
    block("block_small", Geometry(channels=8, outputs=8, size=(5, 7), batch=3)),
    block("block_cell", Geometry(channels=64, outputs=40, size=(1, 1), batch=3, reach=0.3)),
    block("block_cell_256", Geometry(channels=256, outputs=64, size=(1, 1), reach=0.3)),
    block("block_row", Geometry(channels=40, outputs=32, size=(1, 37))),
    block("block_column", Geometry(channels=32, outputs=64, size=(41, 1)), relu=True),
    block("block_40", Geometry(channels=40, outputs=40, size=(33, 65), batch=3)),
    block("block_64", Geometry(channels=64, outputs=64, size=(38, 68), batch=1), relu=True),
    block("block_64_wide", Geometry(channels=64, outputs=64, size=(38, 68), reach=30.0, batch=1)),
    block("block_64_large", Geometry(channels=64, outputs=64, size=(80, 143), batch=4), relu=True),
    block("block_64_large_wide", Geometry(channels=64, outputs=64, size=(70, 151), reach=30.0, batch=4)),
    block("block_64_to_32", Geometry(channels=64, outputs=32, size=(49, 70), batch=3)),
    block("block_64_to_128", Geometry(channels=64, outputs=128, size=(38, 68), batch=3)),
    block("block_64_to_256", Geometry(channels=64, outputs=256, size=(38, 68)), relu=True),
    block("block_72_to_104", Geometry(channels=72, outputs=104, size=(61, 63), batch=3), relu=True),
    block("block_128_to_64", Geometry(channels=128, outputs=64, size=(33, 65), batch=1), relu=True),
    block("block_128", Geometry(channels=128, outputs=128, size=(19, 34), reach=0.1), relu=True),
    block("block_256", Geometry(channels=256, outputs=256, size=(5, 7), batch=3)),
    block("block_256_to_128", Geometry(channels=256, outputs=128, size=(19, 34), batch=1), relu=True),
    block("block_256_to_200", Geometry(channels=256, outputs=200, size=(5, 7), batch=3)),
    block("block_512_to_256", Geometry(channels=512, outputs=256, size=(19, 34), batch=1), relu=True),
    block("block_512", Geometry(channels=512, outputs=512, size=(5, 7), batch=2)),
    block("block_8_to_512", Geometry(channels=8, outputs=512, size=(19, 34), batch=1)),
    block("block_512_to_8", Geometry(channels=512, outputs=8, size=(5, 7), batch=2)),
    block("block_far", Geometry(channels=64, outputs=64, far=True)),
    block("block_huge", Geometry(channels=64, outputs=32, size=(33, 65), reach=300.0, batch=1)),
    upsample("upsample_2", 2, 64, (19, 23)),
    upsample("upsample_4", 4, 24, (5, 7), batch=3),
    upsample("upsample_8", 8, 8, (3, 4)),
    embedding("embedding", 128, (19, 23)),
    embedding("embedding_odd", 24, (5, 3), batch=1),
]

DYNAMIC_CASES = [
    standard("any_batch", Geometry(batch=3)),
    fused("any_batch_fused", Geometry(channels=64, outputs=64, batch=3), relu=True),
    block("any_batch_block", Geometry(channels=64, outputs=64, batch=3), relu=True),
    upsample("any_batch_upsample", 2, 16, (5, 6), batch=3),
    embedding("any_batch_embedding", 64, (5, 6), batch=3),
]
