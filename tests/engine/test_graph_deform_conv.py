"""Fusion of deformable convolutions: where it applies, and that each form computes what the operator does."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import onnxruntime
import plugin_ops
import pytest
from onnx import TensorProto, helper, numpy_helper

from fairmot.engine.graph.grid_sample import deform_conv_to_grid_sample
from fairmot.engine.graph.prepare import prepare

SIZE = (22, 18)


class Layer:
    """A map of some channels, a convolution that predicts, a deformable convolution and a ReLU."""

    def __init__(
        self,
        channels: int = 16,
        out_channels: int = 8,
        *,
        predicting: dict[str, Any] | None = None,
        extra: list[onnx.NodeProto] | None = None,
        predict_from: str = "x",
        groups: int = 1,
        mask: bool = True,
        relu: bool = True,
        output: str | None = None,
        **settings: Any,
    ) -> None:
        random = np.random.default_rng(5)
        same = {"kernel_shape": [3, 3], "strides": [1, 1], "pads": [1, 1, 1, 1], "dilations": [1, 1]}
        settings = same | settings
        predicting = {name: settings[name] for name in same} | (predicting or {})
        offset_group = settings.setdefault("offset_group", 1)
        taps = int(np.prod(settings["kernel_shape"]))
        offsets, everything = 2 * taps * offset_group, 3 * taps * offset_group
        weights = {
            "first.weight": random.normal(size=(channels, 3, 1, 1)),
            "predict.weight": random.normal(size=(everything, channels, *predicting["kernel_shape"])) / 8,
            "predict.bias": random.normal(size=everything),
            "dcn.weight": random.normal(size=(out_channels, channels // groups, *settings["kernel_shape"])) / 12,
            "dcn.bias": random.normal(size=out_channels) / 4,
        }
        tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
        integers = {"zero": 0, "one": 1, "offsets": offsets, "everything": everything}
        tensors += [numpy_helper.from_array(np.int64([value]), name) for name, value in integers.items()]
        inputs = ["x", "dcn.weight", "offset", "dcn.bias", *(["mask"] if mask else [])]
        last = output or ("out" if relu else "y")
        nodes = [
            helper.make_node("Conv", ["images", "first.weight"], ["x"]),
            helper.make_node("Sin", ["x"], ["other"]),
            helper.make_node("Conv", [predict_from, "predict.weight", "predict.bias"], ["p"], **predicting),
            helper.make_node("Slice", ["p", "zero", "offsets", "one"], ["offset"]),
            helper.make_node("Slice", ["p", "offsets", "everything", "one"], ["logits"]),
            helper.make_node("Sigmoid", ["logits"], ["mask"]),
            helper.make_node("DeformConv", inputs, ["y"], group=groups, **settings),
            *([helper.make_node("Relu", ["y"], ["out"])] if relu else []),
            *(extra or []),
        ]
        graph = helper.make_graph(
            nodes,
            "layer",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, "h", "w"])],
            [helper.make_tensor_value_info(last, TensorProto.FLOAT, None)],
            tensors,
        )
        self.output = last
        self.model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)

    def wanted(self, images: np.ndarray) -> np.ndarray:
        """The answer of ONNX Runtime, by the rewrite that keeps every size open."""
        standard = deform_conv_to_grid_sample(self.model).SerializeToString()
        session = onnxruntime.InferenceSession(standard, providers=["CPUExecutionProvider"])
        return session.run(None, {"images": images})[0]


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).random((2, 3, SIZE[1], SIZE[0]), np.float32)


def operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def assert_equal(layer: Layer, model: onnx.ModelProto, images: np.ndarray, tolerance: float) -> None:
    found = plugin_ops.run(model, images)[layer.output]
    wanted = layer.wanted(images)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < tolerance * np.abs(wanted).max()


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize(("channels", "out_channels"), [(8, 8), (16, 24), (40, 16)])
def test_the_block_predicts_and_samples(channels, out_channels, relu, images):
    layer = Layer(channels, out_channels, relu=relu)
    model = prepare(layer.model, SIZE, (2,))
    assert operators(model) == {"Conv": 1, "DeformConvBlock": 1, "Cast": 1}
    (block,) = [node for node in model.graph.node if node.op_type == "DeformConvBlock"]
    assert block.name == "dcn"
    assert [(attribute.name, attribute.i) for attribute in block.attribute] == [("relu", int(relu))]
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    stages = -(-9 * channels // 64)
    assert [shapes[name] for name in block.input[1:]] == [
        (stages, 32, 64), (32,), (stages, out_channels, 64), (out_channels,),
    ]  # fmt: skip
    assert_equal(layer, model, images, 5e-3)


@pytest.mark.parametrize(
    "changes",
    [
        {"predicting": {"kernel_shape": [1, 1], "pads": [0, 0, 0, 0]}},
        {"predicting": {"dilations": [2, 2], "pads": [2, 2, 2, 2]}},
        {"predict_from": "other"},
        {"extra": [helper.make_node("ReduceMax", ["p"], ["peak"]), helper.make_node("Add", ["out", "peak"], ["z"])]},
        {"extra": [helper.make_node("ReduceMax", ["mask"], ["peak"]), helper.make_node("Add", ["out", "peak"], ["z"])]},
        {"strides": [2, 2]},
        {"dilations": [2, 2], "pads": [2, 2, 2, 2]},
        {"offset_group": 2},
        {"kernel_shape": [1, 1], "pads": [0, 0, 0, 0]},
    ],
    ids=["kernel 1", "dilated", "other map", "read twice", "mask read", "stride 2", "dilation 2", "2 groups", "1 tap"],
)
def test_what_the_block_cannot_do_is_fused_as_before(changes, images):
    layer = Layer(output="z" if "extra" in changes else None, **changes)
    model = prepare(layer.model, SIZE, (2,))
    found = operators(model)
    assert (found["DeformConvBlock"], found["FusedDeformConv"], found["DeformConv"]) == (0, 1, 0)
    assert_equal(layer, model, images, 5e-3)


@pytest.mark.parametrize("changes", [{"channels": 12}, {"out_channels": 12}, {"mask": False}, {"groups": 2}])
def test_what_no_fused_plugin_can_do_stays_standard(changes):
    found = operators(prepare(Layer(**changes).model, SIZE, (2,)))
    assert (found["DeformConvBlock"], found["FusedDeformConv"], found["DeformConv"]) == (0, 0, 1)


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"strides": [2, 1]},
        {"pads": [2, 0, 1, 3]},
        {"dilations": [2, 3], "pads": [2, 3, 2, 3]},
        {"kernel_shape": [1, 3], "pads": [0, 1, 0, 1]},
        {"kernel_shape": [5, 5], "pads": [2, 2, 2, 2]},
        {"offset_group": 4},
        {"offset_group": 2, "groups": 2, "strides": [2, 2], "mask": False},
        {"channels": 6, "out_channels": 5},
    ],
    ids=str,
)
def test_native_layers_compute_the_same(changes, precision, images):
    layer = Layer(**changes)
    model = prepare(layer.model, SIZE, (2,), precision, "native")
    assert set(operators(model)) <= {
        "Conv", "Sin", "Slice", "Sigmoid", "Mul", "Add", "Clip", "Reshape", "Concat", "GridSample", "Relu", "Cast",
    }  # fmt: skip
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(None, {"images": plugin_ops.as_input(model, images)})[0]
    wanted = layer.wanted(images)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < {"fp16": 5e-3, "fp32": 2e-5}[precision] * np.abs(wanted).max()


def test_native_layers_take_any_batch(images):
    layer = Layer(offset_group=2)
    model = prepare(layer.model, SIZE, (1, 2), "fp32", "native")
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for batch in (images[:1], images):
        np.testing.assert_allclose(session.run(None, {"images": batch})[0], layer.wanted(batch), atol=1e-4)


def test_native_samplings_have_one_type():
    """From the coordinates to the product everything is float32, or TensorRT 8.6 finds no implementation."""
    model = prepare(Layer().model, SIZE, (1,), "fp16", "native")
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    (sampling,) = [node for node in model.graph.node if node.op_type == "GridSample"]
    waiting, seen = [sampling.output[0]], []
    while waiting:
        name = waiting.pop()
        for reader in model.graph.node:
            if name in reader.input and reader.op_type != "Cast":
                seen.append(reader.op_type)
                assert kinds[reader.output[0]] == TensorProto.FLOAT
                waiting += reader.output
    assert seen == ["Mul", "Reshape"]


def test_huge_offsets_stay_outside(images):
    layer = Layer()
    for tensor in layer.model.graph.initializer:
        if tensor.name == "predict.weight":
            tensor.CopyFrom(numpy_helper.from_array(1e9 * numpy_helper.to_array(tensor), tensor.name))
    model = prepare(layer.model, SIZE, (2,), "fp32", "native")
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(None, {"images": images})[0]
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, layer.wanted(images), atol=1e-4)
