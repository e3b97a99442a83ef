"""A network of a few layers in the exporter's forms, with the patterns that TensorRT's rewrites know, and misfits.

Deformable convolutions that fit the block, the fused plugin (offsets from a 1x1 kernel) and neither (12 channels),
upsampling that is added to a map and upsampling that is not, finished heads, weights stored in half. Lively: offsets
of pixels, outputs of about 1. It needs neither torch nor the exporter, so that GPU tests can build it anywhere.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from support.blob_network import metadata

SIZE = (96, 64)
EMBEDDING = 16


class _Builder:
    def __init__(self) -> None:
        self.random = np.random.default_rng(11)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str, output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=f"node_{output}", **attributes))
        return output

    def constant(self, name: str, values: object) -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def weight(self, name: str, shape: tuple[int, ...], gain: float = 1.0) -> str:
        """A weight in float16 with a Cast, as exported models store them."""
        scale = gain * np.sqrt(2 / np.prod(shape[1:]))
        self.constant(f"{name}.half", self.random.normal(scale=scale, size=shape).astype(np.float16))
        self.nodes.insert(0, helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
        return name

    def bias(self, name: str, count: int, spread: float = 0.2) -> str:
        return self.constant(name, self.random.normal(scale=spread, size=count).astype(np.float32))

    def conv(
        self, x: str, name: str, shape: tuple[int, ...], stride: int = 1, gain: float = 1.0, relu: bool = True
    ) -> str:
        parts = (self.weight(f"{name}.weight", shape, gain), self.bias(f"{name}.bias", shape[0]))
        settings = {"kernel_shape": list(shape[2:]), "strides": [stride] * 2, "pads": [shape[2] // 2] * 4}
        y = self.add("Conv", x, *parts, output=f"{name}_conv", **settings)
        return self.add("Relu", y, output=f"{name}_relu") if relu else y

    def deform_conv(self, x: str, name: str, channels: int, out_channels: int, predicting: int = 3) -> str:
        """A deformable convolution and the convolution (side `predicting`) that predicts its offsets and mask."""
        shape = (27, channels, predicting, predicting)
        predicted = self.conv(x, f"{name}.conv_offset_mask", shape, gain=0.7, relu=False)
        limits = [self.constant(f"{name}_limit{i}", np.int64([i])) for i in (0, 18, 27)]
        one = self.constant(f"{name}_one", np.int64([1]))
        offset = self.add("Slice", predicted, limits[0], limits[1], one, one, output=f"{name}_offset")
        logits = self.add("Slice", predicted, limits[1], limits[2], one, one, output=f"{name}_logits")
        mask = self.add("Sigmoid", logits, output=f"{name}_mask")
        weight = self.weight(f"{name}.weight", (out_channels, channels, 3, 3), gain=2.0)
        y = self.add(
            "DeformConv", x, weight, offset, self.bias(f"{name}.bias", out_channels), mask, output=f"{name}_deform",
            kernel_shape=[3, 3], pads=[1] * 4, strides=[1, 1], dilations=[1, 1],
        )  # fmt: skip
        return self.add("Relu", y, output=f"{name}_relu")

    def upsample(self, x: str, name: str, channels: int, factor: int) -> str:
        side = 2 * factor
        weight = self.constant(f"{name}.weight", self.random.random((channels, 1, side, side)).astype(np.float32) / 2)
        return self.add(
            "ConvTranspose", x, weight, output=f"{name}_up", group=channels, kernel_shape=[side] * 2,
            strides=[factor] * 2, pads=[factor // 2] * 4, output_padding=[0, 0], dilations=[1, 1], auto_pad="NOTSET",
        )  # fmt: skip


def build(classes: int = 1, embedding: int = EMBEDDING) -> onnx.ModelProto:
    """Build the network; `embedding` channels, 0 leaves that head out."""
    make = _Builder()
    x = make.conv("images", "stem", (16, 3, 7, 7), stride=2)
    fine = make.conv(x, "fine", (16, 16, 3, 3), stride=2)
    coarse = make.conv(fine, "coarse", (32, 16, 3, 3), stride=2)
    raised = make.upsample(make.deform_conv(coarse, "proj", 32, 16, predicting=1), "up", 16, 2)
    merged = make.deform_conv(make.add("Add", raised, fine, output="sum"), "node", 16, 24)
    deep = make.add("MaxPool", coarse, output="pooled", kernel_shape=[2, 2], strides=[2, 2])
    far = make.upsample(make.conv(deep, "deep", (8, 32, 3, 3)), "far", 8, 4)
    misfit = make.deform_conv(merged, "misfit", 24, 12)
    features = make.add("Concat", misfit, far, output="features", axis=1)

    heads = {"heatmap": classes, "box": 4, "offset": 2} | ({"embedding": embedding} if embedding else {})
    raw = {}
    for name, channels in heads.items():
        hidden = make.conv(features, f"{name}.0", (24, 20, 3, 3))
        raw[name] = make.conv(hidden, f"{name}.2", (channels, 24, 1, 1), gain=1.5, relu=False)
    for name in ("box", "offset"):
        next(node for node in make.nodes if node.output[0] == raw[name]).output[0] = name
    scores = make.add("Sigmoid", raw["heatmap"], output="scores")
    greatest = make.add("MaxPool", scores, output="greatest", kernel_shape=[3, 3], pads=[1] * 4, strides=[1, 1])
    shape = make.add("Shape", scores, output="scores_shape", start=0)
    zeros = make.add("Expand", make.constant("nought", np.float32(0)), shape, output="zeros")
    make.add("Where", make.add("Equal", scores, greatest, output="is_peak"), scores, zeros, output="heatmap")
    if embedding:
        vectors = raw["embedding"]
        length = make.add(
            "ReduceL2", vectors, make.constant("channel_axis", np.int64([1])), output="length", keepdims=1
        )
        length = make.add("Clip", length, make.constant("least", np.float32(1e-12)), output="safe_length")
        full = make.add("Expand", length, make.add("Shape", vectors, output="vectors_shape"), output="lengths")
        make.add("Div", vectors, full, output="embedding")

    graph = helper.make_graph(
        make.nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", c, "r", "s"]) for name, c in heads.items()],
        make.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    names = "[" + ", ".join(f'"{i}"' for i in range(classes)) + "]"
    facts = metadata(architecture="tiny", size=f"{SIZE[0]}x{SIZE[1]}", class_names=names)
    helper.set_model_props(model, {f"fairmot.{key}": value for key, value in facts.items()})
    onnx.checker.check_model(model, full_check=True)
    return model


def save(path: Path, model: onnx.ModelProto | None = None) -> Path:
    onnx.save(build() if model is None else model, path)
    return path
