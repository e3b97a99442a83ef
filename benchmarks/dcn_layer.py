"""One deformable convolution in half precision, by our plugin and by NVIDIA's, against float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import tensorrt as trt
import torch
from onnx import TensorProto, helper, numpy_helper

from fairmot.engine.cuda.gpu import Gpu
from fairmot.engine.graph.fusion import pack_weight
from fairmot.engine.trt.runtime import TensorRTLogger
from fairmot.export.networks.deform_conv import deform_conv2d_reference
from fairmot.plugins import library

LAYERS = ((64, 152, 272), (128, 76, 136), (256, 38, 68))
"""Channels, rows and columns of maps in dla_34 at 1088x608."""

_TAPS = 9


class Layer:
    """A 3x3 layer with random input, weights, and offsets of a few pixels; all rounded to half precision."""

    def __init__(self, channels: int, rows: int, columns: int, spread: float = 2.0) -> None:
        generator = torch.Generator().manual_seed(channels)

        def normal(*shape: int, scale: float = 1.0) -> torch.Tensor:
            return (scale * torch.randn(*shape, generator=generator)).half()

        self.channels = channels
        self.x = normal(1, channels, rows, columns)
        self.offset = normal(1, 2 * _TAPS, rows, columns, scale=spread)
        self.logits = normal(1, _TAPS, rows, columns)
        self.weight = normal(channels, channels, 3, 3, scale=(_TAPS * channels) ** -0.5)
        self.bias = normal(channels)

    def exact(self) -> torch.Tensor:
        """Return the result in float64."""
        x, offset, logits, weight, bias = (
            tensor.double().cuda() for tensor in (self.x, self.offset, self.logits, self.weight, self.bias)
        )
        return deform_conv2d_reference(x, offset, logits.sigmoid(), weight, bias)

    def ours(self) -> torch.Tensor:
        """Return the result of `FusedDeformConv`."""
        predicted = torch.cat([self.offset, self.logits], dim=1)
        node = helper.make_node(
            "FusedDeformConv",
            ["x", "predicted", "weight", "bias"],
            ["y"],
            kernel_shape=[3, 3],
            strides=[1, 1],
            pads=[1, 1, 1, 1],
            dilations=[1, 1],
            offset_group=1,
            relu=0,
        )
        constants = {"weight": pack_weight(self.weight.numpy()), "bias": self.bias.float().numpy()}
        return _run(node, {"x": self.x, "predicted": predicted}, constants, self.x.shape, trt.TensorFormat.HWC8)

    def nvidias(self) -> torch.Tensor:
        """Return the result of `ModulatedDeformConv2d`, which gets the mask after the sigmoid."""
        node = helper.make_node(
            "ModulatedDeformConv2d",
            ["x", "offset", "mask", "weight", "bias"],
            ["y"],
            stride=[1, 1],
            padding=[1, 1],
            dilation=[1, 1],
            group=1,
            deformable_group=1,
        )
        inputs = {"x": self.x, "offset": self.offset, "mask": self.logits.sigmoid()}
        constants = {"weight": self.weight.numpy(), "bias": self.bias.numpy()}
        return _run(node, inputs, constants, self.x.shape, trt.TensorFormat.LINEAR)


def errors(layer: Layer) -> dict[str, tuple[float, float]]:
    """Return by plugin the relative error, ||y - exact|| / ||exact||, and the largest over the largest value."""
    exact = layer.exact()
    found = {"ours": layer.ours(), "NVIDIA's": layer.nvidias()}
    return {
        name: (
            float((y.double() - exact).norm() / exact.norm()),
            float((y.double() - exact).abs().max() / exact.abs().max()),
        )
        for name, y in found.items()
    }


def _run(
    node: onnx.NodeProto,
    inputs: dict[str, torch.Tensor],
    constants: dict[str, np.ndarray],
    shape: torch.Size,
    layout: Any,
) -> torch.Tensor:
    """Build an engine of one node with these formats at its ends, and run it once."""
    graph = helper.make_graph(
        [node],
        "layer",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT16, list(each.shape)) for name, each in inputs.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, list(shape))],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    gpu, logger = Gpu.open(), TensorRTLogger()
    library.load(trt)
    trt.init_libnvinfer_plugins(logger, "")
    builder = trt.Builder(logger)
    modern = int(trt.__version__.split(".")[0]) >= 10
    flags = trt.NetworkDefinitionCreationFlag
    network = builder.create_network(1 << int(flags.STRONGLY_TYPED if modern else flags.EXPLICIT_BATCH))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model.SerializeToString()):
        raise RuntimeError(f"{node.op_type}: {parser.get_error(0).desc()}")
    for tensor in [*(network.get_input(index) for index in range(network.num_inputs)), network.get_output(0)]:
        tensor.allowed_formats = 1 << int(layout)
    config = builder.create_builder_config()
    if not modern:
        from fairmot.engine.trt.capabilities import leave_out_libraries

        config.set_flag(trt.BuilderFlag.FP16)
        leave_out_libraries(config, keep_cublas=True)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise RuntimeError(f"{node.op_type}: {(logger.errors or ['no reason given'])[-1]}")
    runtime = trt.Runtime(logger)
    engine = runtime.deserialize_cuda_engine(plan)
    context = engine.create_execution_context()
    vectors = layout == trt.TensorFormat.HWC8
    buffers = {name: (_vectors(each) if vectors else each.contiguous()).cuda() for name, each in inputs.items()}
    y = _vectors(torch.zeros(shape, dtype=torch.float16)) if vectors else torch.zeros(shape, dtype=torch.float16)
    buffers["y"] = y.cuda()
    for name, buffer in buffers.items():
        context.set_tensor_address(name, buffer.data_ptr())
    torch.cuda.synchronize()
    if not context.execute_async_v3(gpu.handle):
        raise RuntimeError(f"{node.op_type}: {(logger.errors or ['no reason given'])[-1]}")
    gpu.synchronize()
    return buffers["y"][..., : shape[1]].permute(0, 3, 1, 2) if vectors else buffers["y"]


def _vectors(tensor: torch.Tensor) -> torch.Tensor:
    """Return `(n, c, h, w)` as kHWC8 lays it out: `(n, h, w, c)`, c filled to a multiple of 8."""
    padded = torch.nn.functional.pad(tensor, (0, 0, 0, 0, 0, -tensor.shape[1] % 8))
    return padded.permute(0, 2, 3, 1).contiguous()
