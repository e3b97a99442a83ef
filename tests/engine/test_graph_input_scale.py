"""Images of half precision engines: every level exact, and the same answers as in float32."""

from __future__ import annotations

import numpy as np
import onnx
import plugin_ops
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from fairmot.engine import BUNDLED_WEIGHTS
from fairmot.engine.graph.input_scale import IMAGE_SCALE, HalfImages, round_keeping_sums
from fairmot.engine.graph.prepare import prepare

SIZE = (96, 64)
LEVELS = np.arange(256, dtype=np.float32) / np.float32(255)


def weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_levels_are_exact_in_half_precision() -> None:
    levels = (LEVELS * np.float32(IMAGE_SCALE)).astype(np.float16)
    np.testing.assert_array_equal(levels.astype(np.float64) * 256, np.arange(256))


def test_the_first_layer_answers_even_areas_of_any_color_as_in_float32() -> None:
    """Rounded levels are off by up to 2.4e-4 of themselves, and rounded weights by as much."""
    model = onnx.load(BUNDLED_WEIGHTS)
    whole, half = (prepare(model, SIZE, (1,), precision) for precision in ("fp32", "fp16"))
    sums = {}
    for name, graph in (("fp32", whole), ("fp16", half)):
        (first,) = [node for node in graph.graph.node if "images" in node.input]
        assert first.op_type == "Conv"
        sums[name] = weights(graph)[first.input[1]].astype(np.float64).sum((2, 3))
    assert weights(half)[first.input[1]].dtype == np.float16
    colors = np.random.default_rng(0).integers(0, 256, (500, 3))
    wanted = LEVELS[colors].astype(np.float64) @ sums["fp32"].T
    found = (LEVELS[colors] * np.float32(IMAGE_SCALE)).astype(np.float16).astype(np.float64) @ sums["fp16"].T
    assert np.abs(found - wanted).max() < 2e-5 * np.abs(wanted).max()


def test_the_rounded_weights_are_near_the_exact_ones() -> None:
    weight = np.random.default_rng(1).normal(size=(6, 3, 7, 7))
    rounded = round_keeping_sums(weight)
    assert rounded.dtype == np.float32
    np.testing.assert_array_equal(rounded, rounded.astype(np.float16))
    plain = weight.astype(np.float16).astype(np.float64)
    assert np.abs(rounded - weight).max() < 3 * np.abs(plain - weight).max()
    assert np.abs((rounded - weight).sum((2, 3))).max() < 0.02 * np.abs((plain - weight).sum((2, 3))).max()


@given(seed=st.integers(0, 1000), height=st.integers(1, 4), width=st.integers(1, 4))
def test_kernels_of_any_form_keep_their_sums(seed: int, height: int, width: int) -> None:
    weight = np.random.default_rng(seed).normal(size=(2, 3, height, width))
    rounded = round_keeping_sums(weight)
    plain = np.abs(weight).astype(np.float16)
    steps = np.spacing(plain).astype(np.float64)
    smallest = np.spacing(plain.reshape(2, 3, -1).min(2)).astype(np.float64)
    assert np.all(np.abs(rounded - weight).max((2, 3)) <= 2 * steps.max((2, 3)))
    # The smallest tap may have grown by what was left for it.
    assert np.all(np.abs((rounded - weight).sum((2, 3))) <= smallest + steps.max((2, 3)) / 2)


@pytest.mark.parametrize("layer", ["grouped", "other"])
def test_what_reads_the_images_otherwise(layer: str) -> None:
    random = np.random.default_rng(2)
    kernel = random.normal(size=(6, 1, 3, 3)).astype(np.float32)
    image = torch.from_numpy(random.random((1, 3, SIZE[1], SIZE[0]), np.float32))
    if layer == "grouped":
        nodes = [helper.make_node("Conv", ["images", "kernel"], ["out"], group=3, pads=[1] * 4)]
        wanted = F.conv2d(image, torch.from_numpy(kernel), padding=1, groups=3)
    else:
        nodes = [
            helper.make_node("Conv", ["images", "kernel"], ["part"], group=3, pads=[1] * 4),
            helper.make_node("AveragePool", ["images"], ["mean"], kernel_shape=[3, 3], pads=[1] * 4),
            helper.make_node("Concat", ["part", "mean"], ["all"], axis=1),
            helper.make_node("Relu", ["all"], ["out"]),
        ]
        means = F.avg_pool2d(image, 3, 1, 1, count_include_pad=False)
        wanted = torch.cat([F.conv2d(image, torch.from_numpy(kernel), padding=1, groups=3), means], 1).relu()
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, "h", "w"])
        for name, channels in (("images", 3), ("out", wanted.shape[1]))
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [numpy_helper.from_array(kernel, "kernel")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    found = plugin_ops.run(prepare(model, SIZE), image.numpy())["out"]
    assert np.abs(found - wanted.numpy()).max() < 2e-3 * np.abs(wanted.numpy()).max()


KINDS = {
    "fairmot": HalfImages(),
    "centernet": HalfImages((0.408, 0.447, 0.47), (0.289, 0.274, 0.278)),
    "coco": HalfImages((0.40789654, 0.44719302, 0.47026115), (0.28863828, 0.27408164, 0.27809835)),
    "centerface": HalfImages(std=(1 / 255,) * 3),
    "white": HalfImages((1.0, 0.5, 0.0)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_levels_are_exact_after_any_mean_and_std(kind: str) -> None:
    half = KINDS[kind]
    levels = np.arange(256)[:, None]
    values = ((levels / 255 - half.black) * IMAGE_SCALE).astype(np.float16).astype(np.float64)
    np.testing.assert_allclose(half.black * 255, np.array(half.mean) * 255, atol=1 / 16)
    np.testing.assert_array_equal(values * 2048, 8 * levels - np.rint(half.black * 255 * 8))
    assert half.is_centered
    # From images normalized in float32, as `TensorRTNetwork.set_images` gets them.
    normalized = ((levels / np.float32(255) - np.float32(half.mean)) / np.float32(half.std)).astype(np.float32)
    found = (normalized * np.float32(half.scale) + np.float32(half.shift)).astype(np.float16)
    np.testing.assert_allclose(found.astype(np.float64), values, atol=1e-6)


def conv_network(groups: int, bias: bool) -> tuple[onnx.ModelProto, np.ndarray, np.ndarray | None]:
    random = np.random.default_rng(7)
    kernel = random.normal(size=(6, 3 // groups, 3, 3)).astype(np.float32)
    constants = [numpy_helper.from_array(kernel, "kernel")]
    if bias:
        constants.append(numpy_helper.from_array(random.normal(size=6).astype(np.float32), "bias"))
    inputs = ["images", "kernel", *["bias"] * bias]
    nodes = [helper.make_node("Conv", inputs, ["out"], group=groups, pads=[1] * 4)]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, "h", "w"])
        for name, channels in (("images", 3), ("out", 6))
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    return model, kernel, numpy_helper.to_array(constants[1]).copy() if bias else None


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("kind", ["centernet", "centerface"])
def test_mean_and_std_move_into_the_first_layer(kind: str, groups: int, bias: bool) -> None:
    half = KINDS[kind]
    model, kernel, terms = conv_network(groups, bias)
    levels = np.random.default_rng(8).integers(0, 256, (1, 3, SIZE[1], SIZE[0]))
    levels[..., :40] = np.array([30, 180, 250])[:, None, None]  # an even area
    mean, std = (np.array(each)[:, None, None] for each in (half.mean, half.std))
    normalized = ((levels / 255 - mean) / std).astype(np.float32)
    wanted = F.conv2d(
        torch.from_numpy(normalized).double(),
        torch.from_numpy(kernel).double(),
        None if terms is None else torch.from_numpy(terms).double(),
        padding=1,
        groups=groups,
    ).numpy()
    rewritten = prepare(model, SIZE, images=half)
    assert [node.op_type for node in rewritten.graph.node if node.op_type != "Cast"] == ["Conv"]
    weight, *rest = (weights(rewritten)[name].copy() for name in rewritten.graph.node[0].input[1:])
    assert weight.dtype == np.float16
    values = ((levels / 255 - half.black[:, None, None]) * IMAGE_SCALE).astype(np.float16)
    found = F.conv2d(
        torch.from_numpy(values).double(),
        torch.from_numpy(weight).double(),
        torch.from_numpy(rest[0]).double() if rest else None,
        padding=1,
        groups=groups,
    ).numpy()
    scale = np.abs(wanted).max()
    assert np.abs(found - wanted).max() < 1e-3 * scale  # rounded weights
    even = np.s_[:, :, 1:-1, 1:39]
    assert np.abs(found - wanted)[even].max() < 2e-4 * scale  # whose sums are kept
    ran = plugin_ops.run(rewritten, normalized, half)["out"]
    assert np.abs(ran - wanted).max() < 2e-3 * scale


@pytest.mark.parametrize(
    "half", [KINDS["centernet"], HalfImages((3.0, -1.0, 0.5), (0.5, 1.0, 2.0))], ids=["pool", "mean beyond the colors"]
)
def test_images_are_normalized_again_where_they_must(half: HalfImages) -> None:
    if half.is_centered:
        nodes = [helper.make_node("AveragePool", ["images"], ["out"], kernel_shape=[3, 3], pads=[1] * 4)]
        ends = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, "h", "w"]) for name in ("images", "out")
        ]
        graph = helper.make_graph(nodes, "g", ends[:1], ends[1:])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    else:
        model, _, _ = conv_network(1, True)
    levels = np.random.default_rng(9).integers(0, 256, (1, 3, SIZE[1], SIZE[0]))
    mean, std = (np.array(each)[:, None, None] for each in (half.mean, half.std))
    normalized = ((levels / 255 - mean) / std).astype(np.float32)
    wanted = plugin_ops.run(prepare(model, SIZE, precision="fp32"), normalized)["out"]
    rewritten = prepare(model, SIZE, images=half)
    assert {"Mul", "Add"} <= {node.op_type for node in rewritten.graph.node}
    found = plugin_ops.run(rewritten, normalized, half)["out"]
    assert np.abs(found - wanted).max() < 2e-3 * np.abs(wanted).max()
