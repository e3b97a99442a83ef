"""Per-channel transposed convolution for training on a GPU, as the networks use it to enlarge maps.

cuDNN computes it, and above all its gradients, channel by channel; here maps are channels last and a program computes
a block of channels. Accumulators are float32 whatever the type of the maps, and results do not depend on the order of
programs.
"""

# Parameters of kernels are pointers and numbers of Triton's own types, constants are capitals by its custom.
# ruff: noqa: N803
# mypy: disable-error-code="import-not-found, import-untyped, no-untyped-def, untyped-decorator"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from fairmot.export.networks.triton_blocks import SIZES, blocks

_ELEMENTS = 8  # of a thread
_WARPS = 4


@triton.jit(do_not_specialize=SIZES)
def _enlarge_kernel(
    x,
    weight,
    result,
    pixels,
    height,
    width,
    CHANNELS: tl.constexpr,
    FACTOR: tl.constexpr,
    PIXELS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)  # of the result
    channel = (tl.program_id(1) * BLOCK + tl.arange(0, BLOCK))[None, :]
    inside = pixel < pixels
    wide, high = width * FACTOR, height * FACTOR
    number = pixel // (wide * high)
    y, x_place = pixel // wide % high + FACTOR // 2, pixel % wide + FACTOR // 2
    total = tl.zeros([PIXELS, BLOCK], tl.float32)
    for part in tl.static_range(4):  # the two rows and two columns of cells that reach a pixel
        row, column = y // FACTOR - part // 2, x_place // FACTOR - part % 2
        seen = inside & (row >= 0) & (row < height) & (column >= 0) & (column < width)
        mask = seen[:, None] & (channel < CHANNELS)
        cell = ((number * height + row) * width + column).to(tl.int64) * CHANNELS
        tap = ((y - row * FACTOR) * (2 * FACTOR) + x_place - column * FACTOR) * CHANNELS
        share = tl.load(weight + (tap[:, None] + channel), mask=mask, other=0.0).to(tl.float32)
        total += share * tl.load(x + (cell[:, None] + channel), mask=mask, other=0.0).to(tl.float32)
    place = pixel.to(tl.int64) * CHANNELS
    tl.store(result + (place[:, None] + channel), total, mask=inside[:, None] & (channel < CHANNELS))


@triton.jit(do_not_specialize=SIZES)
def _gradients_kernel(
    x,
    weight,
    grad,
    grad_x,
    grad_weight,
    pixels,
    height,
    width,
    CHANNELS: tl.constexpr,
    FACTOR: tl.constexpr,
    PIXELS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)  # of x
    channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    known = channel < CHANNELS
    inside = pixel < pixels
    wide, high = width * FACTOR, height * FACTOR
    number = pixel // (width * height)
    top, left = pixel // width % height * FACTOR - FACTOR // 2, pixel % width * FACTOR - FACTOR // 2
    place = (pixel.to(tl.int64) * CHANNELS)[:, None] + channel[None, :]
    mask = inside[:, None] & known[None, :]
    value = tl.load(x + place, mask=mask, other=0.0).to(tl.float32)
    total = tl.zeros([PIXELS, BLOCK], tl.float32)
    for tap in range(4 * FACTOR * FACTOR):
        row, column = top + tap // (2 * FACTOR), left + tap % (2 * FACTOR)
        seen = inside & (row >= 0) & (row < high) & (column >= 0) & (column < wide)
        cell = ((number * high + row) * wide + column).to(tl.int64) * CHANNELS
        given = tl.load(grad + (cell[:, None] + channel[None, :]), mask=seen[:, None] & known[None, :], other=0.0)
        given = given.to(tl.float32)
        share = tl.load(weight + tap * CHANNELS + channel, mask=known, other=0.0).to(tl.float32)
        total += share[None, :] * given
        sums = grad_weight + (tl.program_id(0) * (4 * FACTOR * FACTOR) + tap).to(tl.int64) * CHANNELS
        tl.store(sums + channel, tl.sum(value * given, 0), mask=known)
    tl.store(grad_x + place, total, mask=mask)


class _Enlarge(torch.autograd.Function):
    """Maps `(n, h, w, c)` and `(2 f, 2 f, c)` to `(n, f h, f w, c)`, all dense."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cuda")
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        count, height, width, channels = x.shape
        factor = len(weight) // 2
        result = x.new_empty(count, height * factor, width * factor, channels)
        pixels = count * height * width * factor * factor
        size, block = blocks(channels, _ELEMENTS, _WARPS)
        _enlarge_kernel[(triton.cdiv(pixels, size), triton.cdiv(channels, block))](
            x, weight, result, pixels, height, width, channels, factor, size, block, num_warps=_WARPS
        )
        ctx.save_for_backward(x, weight)
        return result

    @staticmethod
    @torch.amp.custom_bwd(device_type="cuda")
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        count, height, width, channels = x.shape
        factor = len(weight) // 2
        pixels = count * height * width
        size, block = blocks(channels, 2 * _ELEMENTS, _WARPS)
        programs = triton.cdiv(pixels, size)
        grad_x = torch.empty_like(x)
        sums = weight.new_empty(programs, *weight.shape, dtype=torch.float32)
        _gradients_kernel[(programs, triton.cdiv(channels, block))](
            x,
            weight,
            grad.contiguous(),
            grad_x,
            sums,
            pixels,
            height,
            width,
            channels,
            factor,
            size,
            block,
            num_warps=_WARPS,
        )
        return grad_x, sums.sum(0).to(weight.dtype)


def enlarge_triton(x: Tensor, weight: Tensor) -> Tensor:
    """Compute a transposed convolution of every channel separately (depthwise); autocast applies as for a convolution.

    Args:
        x: `(n, c, h, w)`, fastest channels last.
        weight: `(c, 1, 2 f, 2 f)` for an even factor `f`, which is the stride; the padding is half of it.

    Returns:
        `(n, c, f h, f w)`, channels last.
    """
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))
    taps = weight.squeeze(1).permute(1, 2, 0).contiguous()
    # Triton launches on the current device.
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        result: Tensor = _Enlarge.apply(x.permute(0, 2, 3, 1).contiguous(), taps)  # type: ignore[no-untyped-call]
    return result.permute(0, 3, 1, 2)
