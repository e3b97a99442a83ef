"""Reference of the plugins in float64 NumPy: slow, short, and written from the definitions.

Deformable convolution: Zhu et al., "Deformable ConvNets v2", arXiv:1811.11168, equation 1, and the operator
DeformConv of ONNX opset 19.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def deform_conv(
    x: Array,
    offset: Array,
    mask: Array | None,
    weight: Array,
    bias: Array | None,
    strides: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilations: tuple[int, int] = (1, 1),
    groups: int = 1,
    offset_groups: int = 1,
) -> Array:
    """Return y of (n, O, H', W').

    Args:
        x: (n, C, H, W).
        offset: (n, 2 taps offset_groups, H', W'), for each tap dy then dx, in pixels of x.
        mask: (n, taps offset_groups, H', W'); None means ones.
        weight: (O, C / groups, kernel height, kernel width).
        bias: (O,) or None.
        strides, dilations: (y, x).
        pads: top, left, bottom, right.
        groups, offset_groups: into how many parts channels are divided.
    """
    x, offset, weight = (array.astype(np.float64) for array in (x, offset, weight))
    batch, channels, height, width = x.shape
    outputs, _, kernel_y, kernel_x = weight.shape
    taps, (rows, columns) = kernel_y * kernel_x, offset.shape[2:]
    offset = offset.reshape(batch, offset_groups, taps, 2, rows, columns)
    tap_y, tap_x = np.divmod(np.arange(taps), kernel_x)
    # Sampling positions in x, each (n, offset group, tap, H', W').
    y = offset[:, :, :, 0] + (np.arange(rows)[:, None] * strides[0] - pads[0] + tap_y[:, None, None] * dilations[0])
    at_x = offset[:, :, :, 1] + (np.arange(columns) * strides[1] - pads[1] + tap_x[:, None, None] * dilations[1])
    of_group = x.reshape(batch, offset_groups, channels // offset_groups, height * width)
    sampled = np.zeros((batch, offset_groups, channels // offset_groups, taps, rows, columns))
    for corner_y in (np.floor(y), np.floor(y) + 1):
        for corner_x in (np.floor(at_x), np.floor(at_x) + 1):
            share = (1 - abs(y - corner_y)) * (1 - abs(at_x - corner_x))
            inside = (corner_y >= 0) & (corner_y < height) & (corner_x >= 0) & (corner_x < width)
            cell = np.where(inside, corner_y * width + corner_x, 0).astype(np.int64)
            values = np.take_along_axis(of_group, cell.reshape(batch, offset_groups, 1, -1), axis=3)
            sampled += values.reshape(sampled.shape) * np.where(inside, share, 0)[:, :, None]
    if mask is not None:
        sampled *= mask.astype(np.float64).reshape(batch, offset_groups, 1, taps, rows, columns)
    sampled = sampled.reshape(batch, groups, channels // groups, taps, rows, columns)
    weight = weight.reshape(groups, outputs // groups, channels // groups, taps)
    result = np.einsum("ngctyx,goct->ngoyx", sampled, weight, optimize=True).reshape(batch, outputs, rows, columns)
    return result if bias is None else result + bias.astype(np.float64)[:, None, None]


def split_predicted(predicted: Array, taps: int, offset_groups: int) -> tuple[Array, Array]:
    """Return offsets and mask (after the sigmoid) of the output of an offset convolution."""
    offsets = 2 * taps * offset_groups
    return predicted[:, :offsets], 1 / (1 + np.exp(-predicted[:, offsets:].astype(np.float64)))


def deform_conv_block(
    x: Array, offset_weight: Array, offset_bias: Array, weight: Array, bias: Array, relu: bool
) -> Array:
    """Return y of (n, O, H, W): a convolution predicts offsets and mask logits of the deformable one, all unrounded.

    Args:
        x: (n, C, H, W).
        offset_weight: (27, C, 3, 3); padding 1.
        offset_bias: (27,).
        weight: (O, C, 3, 3); padding 1.
        bias: (O,).
        relu: cut off what is negative.
    """
    nowhere = np.zeros((x.shape[0], 18, *x.shape[2:]))  # without offsets it is a plain convolution
    predicted = deform_conv(x, nowhere, None, offset_weight, offset_bias, pads=(1, 1, 1, 1))
    y = deform_conv(x, *split_predicted(predicted, 9, 1), weight, bias, pads=(1, 1, 1, 1))
    return np.maximum(y, 0) if relu else y


def pack_weight(weight: Array) -> Array:
    """Return a weight (O, C, kernel height, kernel width) as the fused kernels read it: (k-tiles, O, 64) halves."""
    outputs, channels, kernel_y, kernel_x = weight.shape
    depth = kernel_y * kernel_x * channels
    flat = weight.transpose(0, 2, 3, 1).reshape(outputs, depth)
    padded = np.zeros((outputs, -(-depth // 64) * 64), np.float16)
    padded[:, :depth] = flat
    return np.ascontiguousarray(padded.reshape(outputs, -1, 64).transpose(1, 0, 2))


def upsample_add(x: Array, weight: Array, skip: Array) -> Array:
    """Return skip + the depthwise transposed convolution of x with weight (2 f, 2 f, C), stride f, padding f / 2."""
    batch, channels, height, width = x.shape
    size = weight.shape[0]
    factor, pad = size // 2, size // 4
    full = np.zeros((batch, channels, (height + 1) * factor, (width + 1) * factor))
    for tap_y in range(size):
        for tap_x in range(size):
            rows = slice(tap_y, tap_y + height * factor, factor)
            columns = slice(tap_x, tap_x + width * factor, factor)
            full[:, :, rows, columns] += x.astype(np.float64) * weight[tap_y, tap_x].astype(np.float64)[:, None, None]
    return full[:, :, pad : pad + height * factor, pad : pad + width * factor] + skip.astype(np.float64)


def normalize(x: Array) -> Array:
    """Return x divided by its length over the channels, as torch.nn.functional.normalize."""
    values = x.astype(np.float64)
    return values / np.maximum(1e-12, np.linalg.norm(values, axis=1, keepdims=True))
