"""A network as older exporters of CenterNet and FairMOT write it: `DCNv2` nodes, opset 11, no metadata.

Offsets and mask come from a Split in three whose first two parts are joined again, as the published DCNv2 layer does
it; weights are listed among the inputs, as files of that age do. It needs neither torch nor the exporter.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = (48, 32)


def build(size: tuple[int, int] | None = None) -> onnx.ModelProto:
    """Build the network; a `size` (width, height) fixes the input at one image of it."""
    random = np.random.default_rng(3)
    nodes: list[onnx.NodeProto] = []
    weights: dict[str, np.ndarray] = {}

    def conv(x: str, name: str, shape: tuple[int, ...], gain: float = 1.0, **attributes: object) -> str:
        weights[f"{name}.weight"] = gain * random.normal(scale=np.sqrt(2 / np.prod(shape[1:])), size=shape)
        weights[f"{name}.bias"] = random.normal(scale=0.2, size=shape[0])
        inputs = [x, f"{name}.weight", f"{name}.bias"]
        pads = [shape[2] // 2] * 4
        nodes.append(helper.make_node("Conv", inputs, [f"{name}_out"], kernel_shape=shape[2:], pads=pads, **attributes))
        return f"{name}_out"

    def dcn(x: str, name: str, channels: int, out_channels: int) -> str:
        predicted = conv(x, f"{name}.conv_offset_mask", (27, channels, 3, 3), 0.7)
        weights[f"{name}.weight"] = random.normal(scale=0.2, size=(out_channels, channels, 3, 3))
        weights[f"{name}.bias"] = random.normal(scale=0.2, size=out_channels)
        parts = [f"{name}_{part}" for part in ("o1", "o2", "logits")]
        nodes.append(helper.make_node("Split", [predicted], parts, axis=1, split=[9, 9, 9]))
        nodes.append(helper.make_node("Concat", parts[:2], [f"{name}_offset"], axis=1))
        nodes.append(helper.make_node("Sigmoid", parts[2:], [f"{name}_mask"]))
        inputs = [x, f"{name}_offset", f"{name}_mask", f"{name}.weight", f"{name}.bias"]
        settings = {"stride": [1, 1], "padding": [1, 1], "dilation": [1, 1], "groups": 1, "deformable_group": 1}
        nodes.append(helper.make_node("DCNv2", inputs, [f"{name}_dcn"], **settings))
        nodes.append(helper.make_node("Relu", [f"{name}_dcn"], [f"{name}_relu"]))
        return f"{name}_relu"

    x = conv("input.1", "stem", (16, 3, 7, 7), strides=[4, 4])
    x = dcn(dcn(x, "first", 16, 24), "second", 24, 16)
    heads = {"hm": 2, "wh": 4, "reg": 2}
    for name, channels in heads.items():
        conv(x, name, (channels, 16, 1, 1))
        finish = "Sigmoid" if name == "hm" else "Identity"
        nodes.append(helper.make_node(finish, [f"{name}_out"], [name]))
    shape = ["n", 3, "h", "w"] if size is None else [1, 3, size[1], size[0]]
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    graph = helper.make_graph(
        nodes,
        "foreign",
        [
            helper.make_tensor_value_info("input.1", TensorProto.FLOAT, shape),
            *(helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, list(tensor.dims)) for tensor in tensors),
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in heads],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=4)


def save(path: Path, size: tuple[int, int] | None = None) -> Path:
    onnx.save(build(size), path)
    return path
