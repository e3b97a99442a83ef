"""DCNv2 for training on a GPU: Triton kernels gather and scatter, cuBLAS does the GEMMs.

A 3x3 layer of stride 1 is the GEMM of its weight with `columns` (im2col), the bilinear samples of every pixel and tap
times their mask (Zhu et al., "Deformable ConvNets v2", CVPR 2019, equation 1). Maps are channels last, so that a
program loads and stores contiguous channels. Columns are not saved for the backward pass: its kernel has the same
samples in registers and stores them once more. Sampling points, bilinear weights and accumulators are float32 whatever
the type of the maps.

The gradient of the input is summed by atomic additions, whose order is not fixed, but in fixed point: every
contribution is rounded once to a multiple of 2^-25 of the power of two above the largest gradient of a column, and no
sum is rounded before the last addition, so that two equal steps on a GPU agree to the bit. A multiple is stored as two
float32 digits that hold integers, since a GPU atomically adds four float32 at once but only one integer. A digit is at
most 2^12, so 2^12 contributions of the largest size fit before a sum exceeds the integers that float32 represents,
2^24. Nine are usual, since the bilinear weights of a tap are at most 1, and so are masks; gradients of that size on
thousands of taps in one cell would only round sums, as float32 always does, in an order that is not fixed.
"""

# Parameters of kernels are pointers and numbers of Triton's own types, constants are capitals by its custom.
# ruff: noqa: N803
# mypy: disable-error-code="import-not-found, import-untyped, no-untyped-def, untyped-decorator, no-any-return"

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from fairmot.export.networks.triton_blocks import SIZES, blocks

# Elements of a thread and warps of a program. Forward, a thread accesses 16-byte chunks of half precision; backward, it
# adds 16-byte chunks of float32, and a single warp reduces over channels without a barrier.
_COLUMNS = (8, 4)
_GRADIENTS = (4, 1)

# Digits of the fixed-point sums: the largest contribution is below 2^12 units of the coarse digit, and a unit of it is
# 2^13 of the fine one, which is at most half a coarse unit. So both digits of a contribution are at most 2^12.
_COARSE = 2.0**12
_FINE = 2.0**13


@triton.jit
def _tap(predicted, pixel, inside, y, x, tap, height, width, STRIDE: tl.constexpr):
    """Return the sampling point of a tap: top and left cell, the fractions beyond them, and the mask."""
    start = predicted + pixel.to(tl.int64) * STRIDE
    move_y = tl.load(start + 2 * tap, mask=inside, other=0.0).to(tl.float32)
    move_x = tl.load(start + 2 * tap + 1, mask=inside, other=0.0).to(tl.float32)
    factor = tl.sigmoid(tl.load(start + 18 + tap, mask=inside, other=0.0).to(tl.float32))
    # Samples are zero two cells outside, so clamping there changes nothing and keeps the indices within int32.
    y = tl.minimum(tl.maximum(y + tap // 3 - 1 + move_y, -2.0), height + 1.0)
    x = tl.minimum(tl.maximum(x + tap % 3 - 1 + move_x, -2.0), width + 1.0)
    top, left = tl.floor(y), tl.floor(x)
    return top.to(tl.int32), left.to(tl.int32), y - top, x - left, factor


@triton.jit
def _corner(first, inside, top, left, part_y, part_x, height, width, CORNER: tl.constexpr):
    """Return one of the four cells around a sample, its predicate, and its bilinear weights down and across."""
    row, column = top + CORNER // 2, left + CORNER % 2
    seen = inside & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    share_y = part_y if CORNER // 2 else 1 - part_y
    share_x = part_x if CORNER % 2 else 1 - part_x
    return (first + row * width + column).to(tl.int64), seen, share_y, share_x


@triton.jit(do_not_specialize=SIZES)
def _columns_kernel(
    x,
    predicted,
    columns,
    pixels,
    height,
    width,
    CHANNELS: tl.constexpr,
    STRIDE: tl.constexpr,
    PIXELS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    channel = (tl.program_id(1) * BLOCK + tl.arange(0, BLOCK))[None, :]
    inside = pixel < pixels
    first = pixel // (height * width) * (height * width)
    pixel_y, pixel_x = pixel // width % height, pixel % width
    for tap in range(9):
        top, left, part_y, part_x, factor = _tap(predicted, pixel, inside, pixel_y, pixel_x, tap, height, width, STRIDE)
        total = tl.zeros([PIXELS, BLOCK], tl.float32)
        for corner in tl.static_range(4):
            cell, seen, share_y, share_x = _corner(first, inside, top, left, part_y, part_x, height, width, corner)
            cell *= CHANNELS
            value = tl.load(x + (cell[:, None] + channel), mask=seen[:, None] & (channel < CHANNELS), other=0.0)
            total += (share_y * share_x * factor)[:, None] * value.to(tl.float32)
        place = (pixel.to(tl.int64) * 9 + tap) * CHANNELS
        tl.store(columns + (place[:, None] + channel), total, mask=inside[:, None] & (channel < CHANNELS))


@triton.jit
def _add(coarse, fine, value, mask, FINE: tl.constexpr):
    """Add scaled values to fixed-point accumulators; all additions are exact, so their order has no effect."""
    digit = tl.floor(value + 0.5)
    tl.atomic_add(coarse, digit, mask=mask, sem="relaxed")
    tl.atomic_add(fine, tl.floor((value - digit) * FINE + 0.5), mask=mask, sem="relaxed")


@triton.jit(do_not_specialize=SIZES)
def _gradients_kernel(
    x,
    predicted,
    grad_columns,
    scale,
    columns,
    coarse,
    fine,
    grad_predicted,
    pixels,
    height,
    width,
    CHANNELS: tl.constexpr,
    STRIDE: tl.constexpr,
    FINE: tl.constexpr,
    PIXELS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    inside = pixel < pixels
    unit = tl.load(scale)
    first = pixel // (height * width) * (height * width)
    pixel_y, pixel_x = pixel // width % height, pixel % width
    for tap in range(9):
        top, left, part_y, part_x, factor = _tap(predicted, pixel, inside, pixel_y, pixel_x, tap, height, width, STRIDE)
        place = (pixel.to(tl.int64) * 9 + tap) * CHANNELS
        grad_factor = tl.zeros([PIXELS], tl.float32)
        grad_move_y = tl.zeros([PIXELS], tl.float32)
        grad_move_x = tl.zeros([PIXELS], tl.float32)
        for block in range(0, CHANNELS, BLOCK):
            channel = (block + tl.arange(0, BLOCK))[None, :]
            known = inside[:, None] & (channel < CHANNELS)
            grad = tl.load(grad_columns + (place[:, None] + channel), mask=known, other=0.0).to(tl.float32)
            scaled = grad * unit
            total = tl.zeros([PIXELS, BLOCK], tl.float32)
            for corner in tl.static_range(4):
                cell, seen, share_y, share_x = _corner(first, inside, top, left, part_y, part_x, height, width, corner)
                cell *= CHANNELS
                mask = seen[:, None] & (channel < CHANNELS)
                value = tl.load(x + (cell[:, None] + channel), mask=mask, other=0.0).to(tl.float32)
                share = (share_y * share_x * factor)[:, None]
                total += share * value
                _add(coarse + (cell[:, None] + channel), fine + (cell[:, None] + channel), share * scaled, mask, FINE)
                # All three gradients of a corner are the same dot product over channels times different factors.
                dot = tl.sum(grad * value, 1)
                grad_factor += share_y * share_x * dot
                grad_move_y += (share_x if corner // 2 else -share_x) * dot
                grad_move_x += (share_y if corner % 2 else -share_y) * dot
            tl.store(columns + (place[:, None] + channel), total, mask=known)
        start = grad_predicted + pixel.to(tl.int64) * STRIDE
        tl.store(start + 2 * tap, grad_move_y * factor, mask=inside)
        tl.store(start + 2 * tap + 1, grad_move_x * factor, mask=inside)
        tl.store(start + 18 + tap, grad_factor * factor * (1 - factor), mask=inside)


def _columns(x: Tensor, predicted: Tensor) -> Tensor:
    """Return `(n h w, 9 c)` samples of `x` `(n, h, w, c)`, taps row by row, channels within a tap."""
    count, height, width, channels = x.shape
    pixels = count * height * width
    columns = x.new_empty(pixels, 9 * channels)
    size, block = blocks(channels, *_COLUMNS)
    grid = (triton.cdiv(pixels, size), triton.cdiv(channels, block))
    _columns_kernel[grid](
        x, predicted, columns, pixels, height, width, channels, predicted.shape[3], size, block, num_warps=_COLUMNS[1]
    )
    return columns


def _gradients(x: Tensor, predicted: Tensor, grad_columns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the columns again and the gradients of `x` (float32) and `predicted`."""
    count, height, width, channels = x.shape
    pixels = count * height * width
    columns = torch.empty_like(grad_columns)
    # The exponent bits are the power of two below the largest gradient; infinity, also for NaN, is clamped here, and a
    # value that is not finite makes NaN where it is added.
    largest = torch.linalg.vector_norm(grad_columns, torch.inf).float()
    power = (largest.view(torch.int32) & 0x7F800000).view(torch.float32).clamp(2.0**-100, 2.0**127)
    coarse, fine = torch.zeros(2, *x.shape, dtype=torch.float32, device=x.device)
    grad_predicted = torch.zeros_like(predicted)
    size, block = blocks(channels, *_GRADIENTS)
    _gradients_kernel[(triton.cdiv(pixels, size),)](
        x,
        predicted,
        grad_columns,
        _COARSE / 2 / power,
        columns,
        coarse,
        fine,
        grad_predicted,
        pixels,
        height,
        width,
        channels,
        predicted.shape[3],
        _FINE,
        size,
        block,
        num_warps=_GRADIENTS[1],
    )
    grad_x = coarse.add_(fine, alpha=1 / _FINE).mul_(power / (_COARSE / 2))
    return columns, grad_x, grad_predicted


class _DeformConv2d(torch.autograd.Function):
    """Maps `(n, h, w, c)`, `(n, h, w, s)`, `(c', 9 c)` and `(c',)` to `(n, h, w, c')`, all dense and of one type."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cuda")
    def forward(ctx: Any, x: Tensor, predicted: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, predicted, weight)
        return F.linear(_columns(x, predicted), weight, bias).view(*x.shape[:3], -1)

    @staticmethod
    @torch.amp.custom_bwd(device_type="cuda")
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x, predicted, weight = ctx.saved_tensors
        grad = grad.contiguous()
        columns, grad_x, grad_predicted = _gradients(x, predicted, grad.view(-1, len(weight)) @ weight)
        # Split-K over the images: as one GEMM, K has so many pixels that few multiprocessors would have work.
        grad = grad.flatten(1, 2)
        grad_weight = torch.bmm(grad.transpose(1, 2), columns.view(*grad.shape[:2], -1))
        grad_weight = grad_weight.sum(0, dtype=torch.float32).to(weight.dtype)
        grad_bias = grad.sum((0, 1), dtype=torch.float32).to(weight.dtype)
        return grad_x.to(x.dtype), grad_predicted, grad_weight, grad_bias


def deform_conv2d_triton(x: Tensor, predicted: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Compute a 3x3 DCNv2 of stride and padding 1 from its predicted offsets and mask, under autocast as a convolution.

    The gradient of a sample between cells is that of `grid_sample`, with zeros outside.

    Args:
        x: `(n, c, h, w)`, fastest channels last.
        predicted: `(n, s, h, w)`, first 18 offsets in pixels, (dy, dx) per tap, then 9 mask logits; more is ignored.
        weight: `(c', c, 3, 3)`.
        bias: `(c',)`.

    Returns:
        `(n, c', h, w)`, channels last.
    """
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight, bias = x.to(dtype), weight.to(dtype), bias.to(dtype)
    # Triton launches on the current device.
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        result: Tensor = _DeformConv2d.apply(  # type: ignore[no-untyped-call]
            x.permute(0, 2, 3, 1).contiguous(),
            predicted.permute(0, 2, 3, 1).contiguous(),
            weight.permute(0, 2, 3, 1).flatten(1).contiguous(),
            bias,
        )
    return result.permute(0, 3, 1, 2)
