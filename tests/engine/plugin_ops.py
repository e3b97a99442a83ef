"""The operators of our TensorRT plugins in PyTorch on the CPU, so that rewritten graphs run without a GPU.

Written from the operators' definitions alone: each result is computed in float32 from the values that the
plugin gets, and rounded to the type that it returns.
"""

from __future__ import annotations

import numpy as np
import onnx
import torch
import torch.nn.functional as F  # noqa: N812
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from fairmot.engine.graph.input_scale import IMAGE_SCALE
from fairmot.export.networks.deform_conv import deform_conv2d_reference


def _tensor(array: np.ndarray | torch.Tensor) -> torch.Tensor:
    return array if isinstance(array, torch.Tensor) else torch.from_numpy(np.array(array, np.float32))


def _deform_conv(x, weight, offset, bias, mask, kernel_shape, strides, pads, dilations, offset_group):
    """The definition for any even padding; groups of offsets one after the other, summed."""
    assert strides[0] == strides[1]
    assert len(set(pads)) == 1
    assert dilations[0] == dilations[1]
    x, weight, offset = _tensor(x), _tensor(weight), _tensor(offset)
    taps = kernel_shape[0] * kernel_shape[1]
    mask = torch.ones_like(offset[:, : taps * offset_group]) if mask is None else _tensor(mask)
    total = sum(
        deform_conv2d_reference(*parts, stride=strides[0], padding=pads[0], dilation=dilations[0])
        for parts in zip(
            x.chunk(offset_group, 1),
            offset.chunk(offset_group, 1),
            mask.chunk(offset_group, 1),
            weight.chunk(offset_group, 1),
            strict=False,
        )
        for parts in [(parts[0], parts[1], parts[2], parts[3])]
    )
    return total if bias is None else total + _tensor(bias)[:, None, None]


def _unpack(packed, channels, taps):
    """The weight `(o, c, taps)` of a packed one, k = tap * c + channel in stages of 64."""
    stages, out_channels, _ = packed.shape
    flat = packed.transpose(1, 0, 2).reshape(out_channels, -1)
    assert stages == -(-taps * channels // 64)
    assert not flat[:, taps * channels :].any()
    return flat[:, : taps * channels].reshape(out_channels, taps, channels).transpose(0, 2, 1).astype(np.float32)


class DeformConvBlock(OpRun):
    op_domain = ""

    def _run(self, x, offset_weight, offset_bias, weight, bias, relu):
        kinds = [array.dtype.name for array in (x, offset_weight, offset_bias, weight, bias)]
        assert kinds == ["float16", "float16", "float32", "float16", "float32"]
        assert (offset_weight.shape[1:], offset_bias.shape) == ((32, 64), (32,))
        assert not offset_weight[:, 27:].any()
        assert not offset_bias[27:].any()
        channels = x.shape[1]
        kernels = [_unpack(packed, channels, 9) for packed in (offset_weight, weight)]
        predict, kernel = (kernel.reshape(len(kernel), channels, 3, 3) for kernel in kernels)
        predicted = F.conv2d(_tensor(x), _tensor(predict[:27]), _tensor(offset_bias[:27]), padding=1)
        y = _deform_conv(
            x, kernel, predicted[:, :18], bias, predicted[:, 18:].sigmoid(), (3, 3), (1, 1), [1] * 4, (1, 1), 1
        )
        return ((y.relu() if relu else y).numpy().astype(np.float16),)


class FusedDeformConv(OpRun):
    op_domain = ""

    def _run(self, x, predicted, packed, bias, kernel_shape, strides, pads, dilations, offset_group, relu):
        assert (x.dtype, predicted.dtype, packed.dtype, bias.dtype) == (np.float16, np.float16, np.float16, np.float32)
        taps, channels = kernel_shape[0] * kernel_shape[1], x.shape[1]
        weight = _unpack(packed, channels, taps)
        offsets = 2 * taps * offset_group
        mask = 1 / (1 + np.exp(-predicted[:, offsets:].astype(np.float32)))
        weight = weight.reshape(len(weight), channels, *kernel_shape)
        y = _deform_conv(
            x, weight, predicted[:, :offsets], bias, mask, kernel_shape, strides, pads, dilations, offset_group
        )
        return ((y.relu() if relu else y).numpy().astype(np.float16),)


class DeformConv(OpRun):
    op_domain = ""

    def _run(self, x, weight, offset, bias=None, mask=None, **settings):
        assert settings["group"] == 1
        order = ("kernel_shape", "strides", "pads", "dilations", "offset_group")
        y = _deform_conv(x, weight, offset, bias, mask, *(settings[name] for name in order))
        return (y.numpy().astype(x.dtype),)


class ModulatedDeformConv2d(OpRun):
    op_domain = ""

    def _run(self, x, offset, mask, weight, bias, stride, padding, dilation, group, deformable_group):
        assert group == 1
        y = _deform_conv(
            x, weight, offset, bias, mask, weight.shape[2:], stride, [*padding, *padding], dilation, deformable_group
        )
        return (y.numpy().astype(x.dtype),)


class UpsampleAdd(OpRun):
    op_domain = ""

    def _run(self, x, weight, skip, factor):
        assert (x.dtype, weight.dtype, skip.dtype) == (np.float16, np.float16, np.float16)
        kernel = _tensor(weight).permute(2, 0, 1)[:, None]
        y = F.conv_transpose2d(_tensor(x), kernel, stride=factor, padding=factor // 2, groups=x.shape[1])
        return ((y + _tensor(skip)).numpy().astype(np.float16),)


class NormalizeEmbedding(OpRun):
    op_domain = ""

    def _run(self, x):
        assert x.dtype == np.float16
        return (F.normalize(_tensor(x), dim=1).numpy(),)


class Conv(OpRun):
    """ONNX's own operator, quicker than the reference's and with float32 sums as on a GPU."""

    op_domain = ""

    def _run(self, x, weight, bias=None, **settings):
        assert weight.dtype == x.dtype
        pads = settings.get("pads") or [0, 0, 0, 0]
        assert pads[:2] == pads[2:]
        y = F.conv2d(
            _tensor(x),
            _tensor(weight),
            None if bias is None else _tensor(bias),
            settings.get("strides") or 1,
            pads[:2],
            settings.get("dilations") or 1,
            settings.get("group") or 1,
        )
        return (y.numpy().astype(x.dtype),)


class ConvTranspose(OpRun):
    """As `Conv`, for the upsampling layers that stay as they are."""

    op_domain = ""

    def _run(self, x, weight, bias=None, **settings):
        assert weight.dtype == x.dtype
        pads = settings["pads"]
        assert pads[:2] == pads[2:]
        y = F.conv_transpose2d(
            _tensor(x),
            _tensor(weight),
            None if bias is None else _tensor(bias),
            settings["strides"],
            pads[:2],
            groups=settings["group"],
        )
        return (y.numpy().astype(x.dtype),)


class MaxPool(OpRun):
    """ONNX's own operator, hundreds of times quicker than the reference's."""

    op_domain = ""

    def _run(self, x, kernel_shape, pads=None, strides=None, **settings):
        assert len(set(pads or [0])) == 1
        y = F.max_pool2d(_tensor(x), kernel_shape, strides or 1, (pads or [0])[0])
        return (y.numpy().astype(x.dtype),)


OPERATORS = [
    Conv,
    ConvTranspose,
    DeformConv,
    DeformConvBlock,
    FusedDeformConv,
    MaxPool,
    ModulatedDeformConv2d,
    NormalizeEmbedding,
    UpsampleAdd,
]


def as_input(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    """Normalized images as the input of a rewritten graph takes them."""
    kind = onnx.helper.tensor_dtype_to_np_dtype(model.graph.input[0].type.tensor_type.elem_type)
    return (images * np.float32(IMAGE_SCALE if kind == np.float16 else 1)).astype(kind)


def run(model: onnx.ModelProto, images: np.ndarray) -> dict[str, np.ndarray]:
    """Run a rewritten graph on images, which are scaled and cast if its input is float16."""
    (value,) = model.graph.input
    evaluator = ReferenceEvaluator(model, new_ops=OPERATORS)
    names = [output.name for output in model.graph.output]
    return dict(zip(names, evaluator.run(None, {value.name: as_input(model, images)}), strict=True))
