"""Modulated deformable convolution, DCNv2 (Zhu et al., "Deformable ConvNets v2", CVPR 2019).

Exported as one standard ONNX `DeformConv` node; computed by this project's Triton kernels on an NVIDIA GPU where Triton
is installed and compiles, else by torchvision's kernel if it is installed, else by plain PyTorch operators.
"""

from __future__ import annotations

import logging
from functools import cache

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

try:
    from fairmot.export.networks import deform_conv_triton as _triton
except ImportError:  # Triton comes with PyTorch for CUDA on Linux
    _triton = None  # type: ignore[assignment]
try:
    from torchvision.ops import deform_conv2d as _torchvision_deform_conv2d
except (ImportError, RuntimeError):  # RuntimeError: built for another torch
    _torchvision_deform_conv2d = None

_TAPS = 9  # of the 3x3 kernel
_ALIGNED = 32  # channels that hold the 27 predicted ones: a multiple of 8 for tensor cores

logger = logging.getLogger(__name__)


def deform_conv2d_reference(
    x: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int = 1,
    padding: int = 1,
    dilation: int = 1,
) -> Tensor:
    """Compute DCNv2 with `grid_sample` and one matrix product; exact, differentiable, any device.

    Args:
        x: `(n, c, h, w)`.
        offset: `(n, 2 k, h', w')` in pixels, (dy, dx) per kernel tap, taps row by row.
        mask: `(n, k, h', w')` factors of the taps, already through the sigmoid.
        weight: `(c', c, kernel height, kernel width)`.
        bias: `(c',)` or None.
        stride: step between output cells in pixels.
        padding: zeros around the input in pixels.
        dilation: distance between kernel taps in pixels.

    Returns:
        `(n, c', h', w')`.
    """
    batch, _, height, width = x.shape
    kernel_height, kernel_width = weight.shape[2:]
    taps = kernel_height * kernel_width
    out_height, out_width = offset.shape[2:]
    steps = torch.arange(max(kernel_height, kernel_width, out_height, out_width), device=x.device, dtype=offset.dtype)
    tap_y = (steps[:kernel_height] * dilation).repeat_interleave(kernel_width)
    tap_x = (steps[:kernel_width] * dilation).repeat(kernel_height)
    origin_y = steps[:out_height] * stride - padding
    origin_x = steps[:out_width] * stride - padding
    delta = offset.reshape(batch, taps, 2, out_height, out_width)
    y = delta[:, :, 0] + tap_y[:, None, None] + origin_y[:, None]
    x_position = delta[:, :, 1] + tap_x[:, None, None] + origin_x
    # With align_corners=False a coordinate g means pixel ((g + 1) size - 1) / 2; this form needs no size - 1.
    grid = torch.stack(((2 * x_position + 1) / width - 1, (2 * y + 1) / height - 1), dim=-1)
    grid = grid.reshape(batch, taps * out_height, out_width, 2).to(x.dtype)
    columns = F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    columns = columns.reshape(batch, -1, taps, out_height, out_width) * mask[:, None]
    columns = columns.reshape(batch, -1, out_height, out_width)
    return F.conv2d(columns, weight.reshape(weight.shape[0], -1, 1, 1), bias)


def _deform_conv2d_onnx(
    x: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None,
) -> Tensor:
    """Emit the standard operator `DeformConv` (ONNX opset 19) for a 3x3 kernel with stride and padding 1."""
    inputs: list[Tensor | None] = [x, weight, offset, bias, mask]
    result: Tensor = torch.onnx.ops.symbolic(
        "DeformConv",
        inputs,
        {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [1, 1], "dilations": [1, 1]},
        dtype=x.dtype,
        shape=(x.shape[0], weight.shape[0], x.shape[2], x.shape[3]),
        version=19,
    )
    return result


@cache
def triton_builds(device: torch.device) -> bool:
    """Return whether Triton is installed and compiles for a device; it needs a C compiler and Python's headers."""
    if _triton is None or device.type != "cuda":
        return False
    x, predicted = torch.zeros(1, 1, 2, 2, device=device), torch.zeros(1, _ALIGNED, 2, 2, device=device)
    try:
        _triton.deform_conv2d_triton(x, predicted, x.new_zeros(1, 1, 3, 3), x.new_zeros(1))
    except Exception as error:  # of the compiler, of the system's tools or of the driver
        logger.warning("Triton builds no kernels here, so that training is slower: %s", error)
        return False
    return True


def takes_triton(x: Tensor) -> bool:
    """Return whether our Triton kernels compute a layer of `x`; they accumulate in float32, so not for float64."""
    return not torch.compiler.is_exporting() and x.dtype != torch.float64 and triton_builds(x.device)


class DeformConv2d(nn.Module):
    """A 3x3 DCNv2 layer, stride 1, that predicts its own offsets and mask (reference: `DCN` of DCNv2).

    The state-dict keys are the official ones: `weight`, `bias`, `conv_offset_mask.weight` and
    `conv_offset_mask.bias`, whose 27 channels are 18 offsets (dy, dx per tap) and 9 mask logits.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.conv_offset_mask = nn.Conv2d(in_channels, 3 * _TAPS, 3, padding=1)
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        # DCNv2, section 3.1: start as an ordinary convolution with every tap at half strength.
        nn.init.zeros_(self.conv_offset_mask.weight)
        nn.init.zeros_(self.conv_offset_mask.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, c, h, w)` to `(n, c', h, w)`."""
        if takes_triton(x):
            return _triton.deform_conv2d_triton(x, self._aligned_prediction(x), self.weight, self.bias)
        predicted = self.conv_offset_mask(x)
        offset, mask = predicted[:, : 2 * _TAPS], predicted[:, 2 * _TAPS :].sigmoid()
        if torch.compiler.is_exporting():
            return _deform_conv2d_onnx(x, offset, mask, self.weight, self.bias)
        if _torchvision_deform_conv2d is None:
            return deform_conv2d_reference(x, offset, mask, self.weight, self.bias)
        result: Tensor = _torchvision_deform_conv2d(
            x, offset, self.weight, self.bias, padding=1, mask=mask.contiguous()
        )
        return result

    def _aligned_prediction(self, x: Tensor) -> Tensor:
        """Return offsets and mask logits `(n, 27, h, w)` with channels of zeros behind them."""
        more = _ALIGNED - 3 * _TAPS
        weight = F.pad(self.conv_offset_mask.weight, (0, 0, 0, 0, 0, 0, 0, more))
        bias = F.pad(self.conv_offset_mask.bias, (0, more))  # type: ignore[arg-type]
        return F.conv2d(x, weight, bias, padding=1)
