"""DCNv2's Triton kernels against the reference in float64: on a GPU, or on the CPU in Triton's interpreter.

`TRITON_INTERPRET=1 pytest tests/export/test_deform_conv_triton.py` is how they run without a GPU.
"""

import os

import pytest
import torch

from export.networks.deform_conv import DeformConv2d, deform_conv2d_reference

pytest.importorskip("triton", reason="Triton is not installed")
from export.networks.deform_conv_triton import deform_conv2d_triton

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
CPU = pytest.param("cpu", marks=pytest.mark.skipif(not INTERPRETED, reason="the interpreter wants TRITON_INTERPRET=1"))
GPU = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(INTERPRETED, reason="interpreted on the CPU")])


def case(seed, count, channels, height, width, outputs, spread, more=0):
    torch.manual_seed(seed)
    x, predicted = torch.randn(count, channels, height, width), torch.randn(count, 27 + more, height, width)
    # Never quite on a cell, where the derivative jumps, and exact in all types.
    predicted[:, :18] = (predicted[:, :18] * spread * 16).round() / 16 + 1 / 32
    return [x, predicted, torch.randn(outputs, channels, 3, 3) / channels**0.5, torch.randn(outputs)]


def derivatives(function, inputs, grad):
    """The result and the gradients of all inputs."""
    inputs = [tensor.detach().requires_grad_() for tensor in inputs]
    result = function(*inputs)
    return [result, *torch.autograd.grad(result, inputs, grad.to(result))]


def reference(x, predicted, weight, bias):
    return deform_conv2d_reference(x, predicted[:, :18], predicted[:, 18:27].sigmoid(), weight, bias)


def compare(inputs, device, tolerance, dtype=torch.float32):
    given = [tensor.to(device, dtype) for tensor in inputs]
    exact = [tensor.double() for tensor in given]  # what rounding to `dtype` left is exact here
    grad = torch.randn(len(inputs[0]), len(inputs[2]), *inputs[0].shape[2:]).to(device, dtype)
    found = derivatives(deform_conv2d_triton, given, grad)
    for mine, theirs in zip(found, derivatives(reference, exact, grad), strict=True):
        assert mine.dtype == dtype
        assert bool((mine.double() - theirs).norm() <= tolerance * theirs.norm())


@pytest.mark.parametrize("device", [CPU, GPU])
@pytest.mark.parametrize(
    ("channels", "spread", "more"), [(3, 0.6, 0), (24, 1.5, 5), (40, 3.0, 5), (48, 1.0, 0), (96, 2.0, 5), (200, 1.0, 5)]
)
def test_odd_shapes(device, channels, spread, more):
    compare(case(channels, 2, channels, 5, 3, 6, spread, more), device, 2e-6)


@pytest.mark.parametrize("device", [CPU, GPU])
def test_samples_on_the_grid_and_far_outside(device):
    inputs = case(1, 1, 8, 4, 8, 5, 0)  # sizes that are powers of two: the reference's own grid is exact then
    inputs[1][:, :18] = torch.randint(-3, 4, (1, 18, 4, 8))
    inputs[1][:, :18:5] = torch.tensor([-1e30, -7, 9, 1e30])[:, None].expand(1, 4, 4, 8)
    compare(inputs, device, 2e-6)


@pytest.mark.parametrize("device", [CPU, GPU])
def test_layout_of_the_result(device):
    x, predicted, weight, bias = (tensor.to(device) for tensor in case(1, 2, 8, 4, 5, 6, 1))
    assert deform_conv2d_triton(x, predicted, weight, bias).is_contiguous(memory_format=torch.channels_last)
    last = torch.channels_last
    inputs = x.to(memory_format=last), predicted.to(memory_format=last), weight.to(memory_format=last), bias
    assert torch.equal(deform_conv2d_triton(*inputs), deform_conv2d_triton(x, predicted, weight, bias))


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float16, 2e-3), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("channels", [32, 64, 256, 512])
def test_gpu_sizes_of_networks(channels, dtype, tolerance):
    compare(case(channels, 3, channels, 19, 34, 64, 1.5, 5), "cuda", tolerance, dtype)


@pytest.mark.gpu
def test_gpu_layer_under_autocast():
    """The layer trains as in float32: same result and gradients up to bf16, gradients in the parameters' type."""
    torch.manual_seed(0)
    layer = DeformConv2d(32, 16).cuda()
    torch.nn.init.normal_(layer.conv_offset_mask.weight, std=0.03)
    x = torch.randn(2, 32, 12, 20, device="cuda").to(memory_format=torch.channels_last)
    results = []
    for enabled in (False, True):
        layer.zero_grad()
        inputs = x.clone().requires_grad_()
        with torch.autocast("cuda", torch.bfloat16, enabled=enabled):
            result = layer(inputs)
        assert result.dtype == (torch.bfloat16 if enabled else torch.float32)
        result.float().square().mean().backward()
        results.append([result.detach(), inputs.grad, *(parameter.grad for parameter in layer.parameters())])
    for exact, rounded in zip(*results, strict=True):
        # Rounded offsets fall on the other side of some cells, where the derivative is another one.
        assert float((rounded.float() - exact).norm()) < 0.1 * float(exact.norm())


@pytest.mark.gpu
def test_gpu_layer_equals_the_cpu():
    torch.manual_seed(0)
    layer = DeformConv2d(24, 16)
    torch.nn.init.normal_(layer.conv_offset_mask.weight, std=0.05)
    x = torch.randn(2, 24, 9, 14)
    assert torch.allclose(layer(x), layer.cuda()(x.cuda()).cpu(), atol=2e-3)  # cuDNN may use TF32
