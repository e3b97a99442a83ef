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
from fairmot.engine.graph.input_scale import IMAGE_SCALE, round_keeping_sums
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
