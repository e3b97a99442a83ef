"""DCNv2: every implementation against a plain float64 loop."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairmot.export.networks import deform_conv
from fairmot.export.networks.deform_conv import DeformConv2d, deform_conv2d_reference


def loop(x, offset, mask, weight, bias, stride, padding, dilation):
    """Sum over taps, one output at a time, in Python floats (Zhu et al. 2019, equation 1)."""
    batch, channels, height, width = x.shape
    out_channels, _, kernel_height, kernel_width = weight.shape
    out = np.zeros((batch, out_channels, *offset.shape[2:]))

    def pixel(n, c, row, column):
        return x[n, c, row, column] if 0 <= row < height and 0 <= column < width else 0.0

    for n, o, r, q in np.ndindex(*out.shape):
        total = bias[o]
        for tap in range(kernel_height * kernel_width):
            y = r * stride - padding + tap // kernel_width * dilation + offset[n, 2 * tap, r, q]
            z = q * stride - padding + tap % kernel_width * dilation + offset[n, 2 * tap + 1, r, q]
            top, left = math.floor(y), math.floor(z)
            dy, dx = y - top, z - left
            for c in range(channels):
                value = (
                    (1 - dy) * (1 - dx) * pixel(n, c, top, left)
                    + (1 - dy) * dx * pixel(n, c, top, left + 1)
                    + dy * (1 - dx) * pixel(n, c, top + 1, left)
                    + dy * dx * pixel(n, c, top + 1, left + 1)
                )
                total += value * mask[n, tap, r, q] * weight[o, c, tap // kernel_width, tap % kernel_width]
        out[n, o, r, q] = total
    return out


def case(seed, height, width, stride, padding, dilation, spread):
    generator = np.random.default_rng(seed)
    out_height = (height + 2 * padding - 2 * dilation - 1) // stride + 1
    out_width = (width + 2 * padding - 2 * dilation - 1) // stride + 1
    x = generator.normal(size=(2, 3, height, width))
    offset = generator.normal(scale=spread, size=(2, 18, out_height, out_width))
    mask = generator.uniform(size=(2, 9, out_height, out_width))
    weight, bias = generator.normal(size=(2, 3, 3, 3)), generator.normal(size=2)
    return [torch.from_numpy(array) for array in (x, offset, mask, weight, bias)]


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000),
    height=st.integers(3, 7),
    width=st.integers(3, 7),
    stride=st.integers(1, 2),
    padding=st.integers(1, 2),
    dilation=st.integers(1, 2),
    spread=st.sampled_from([0.0, 0.7, 3.0, 50.0]),
)
def test_reference_equals_loop(seed, height, width, stride, padding, dilation, spread):
    arrays = case(seed, height, width, stride, padding, max(1, min(dilation, padding)), spread)
    options = (stride, padding, max(1, min(dilation, padding)))
    expected = loop(*(array.numpy() for array in arrays), *options)
    result = deform_conv2d_reference(*arrays, *options)
    assert np.allclose(result.numpy(), expected, atol=1e-9)


def test_torchvision_equals_loop():
    if deform_conv._torchvision_deform_conv2d is None:
        pytest.skip("torchvision is not installed")
    x, offset, mask, weight, bias = case(1, 6, 7, 1, 1, 1, 2.0)
    result = deform_conv._torchvision_deform_conv2d(x, offset, weight, bias, padding=1, mask=mask)
    assert np.allclose(result.numpy(), loop(*(a.numpy() for a in (x, offset, mask, weight, bias)), 1, 1, 1), atol=1e-9)


def test_layer_with_zero_offsets_is_half_a_convolution():
    layer = DeformConv2d(4, 5).double()
    x = torch.rand(1, 4, 6, 8, dtype=torch.float64)
    plain = torch.nn.functional.conv2d(x, layer.weight, padding=1) / 2 + layer.bias[:, None, None]
    assert torch.allclose(layer(x), plain, atol=1e-12)


def test_reference_is_differentiable():
    x, offset, mask, weight, bias = (a.requires_grad_() for a in case(3, 4, 5, 1, 1, 1, 0.3))
    assert torch.autograd.gradcheck(deform_conv2d_reference, (x, offset, mask, weight, bias), atol=1e-4)
