"""DCNv2's Triton kernels against the reference in float64: on a GPU, or on the CPU in Triton's interpreter.

`TRITON_INTERPRET=1 pytest tests/export/test_deform_conv_triton.py` is how they run without a GPU.
"""

import os

import pytest
import torch

from fairmot.export.networks.deform_conv import DeformConv2d, deform_conv2d_reference

pytest.importorskip("triton", reason="Triton is not installed")
from fairmot.export.networks.deform_conv_triton import _gradients, deform_conv2d_triton

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


def scattered(seed, device, height=5, width=6, channels=24):
    """Return the arguments of `_gradients`: two maps sampled between cells, gradients of many sizes."""
    x, predicted, _, _ = case(seed, 2, channels, height, width, 1, 1.5)
    sizes = 10 ** torch.empty(2, height, width, 9, channels).uniform_(-6, 0)
    grad = torch.randn(sizes.shape) * sizes
    return x.permute(0, 2, 3, 1).to(device), predicted.permute(0, 2, 3, 1).to(device), grad.to(device)


def gradient_of_x(x, predicted, grad):
    return _gradients(x.contiguous(), predicted.contiguous(), grad.reshape(-1, 9 * x.shape[3]).contiguous())[1]


@pytest.mark.parametrize("device", [CPU, GPU])
def test_sums_in_the_opposite_order_are_equal(device):
    """Everything mirrored, its contributions are the same, but come in another order."""
    x, predicted, grad = scattered(1, device)
    moves, mask = predicted[..., :18].unflatten(3, (9, 2)), predicted[..., 18:]
    mirrored = torch.cat((-moves.flip(1, 2, 3).flatten(3), mask.flip(1, 2, 3)), 3)
    expected = gradient_of_x(x, predicted, grad)
    assert torch.equal(gradient_of_x(x.flip(1, 2), mirrored, grad.flip(1, 2, 3)).flip(1, 2), expected)
    swapped = gradient_of_x(*(tensor.flip(0) for tensor in (x, predicted, grad))).flip(0)
    assert torch.equal(swapped, expected)


@pytest.mark.parametrize("device", [CPU, GPU])
def test_fixed_point_equals_float64(device):
    """Every sum is within half a unit of each of its contributions, however different these are."""
    x, predicted, grad = scattered(2, device)
    count, height, width, channels = x.shape
    exact = x.permute(0, 3, 1, 2).double().requires_grad_()
    weight = torch.eye(9 * channels, dtype=torch.float64, device=device).view(-1, 9, channels).transpose(1, 2)
    weight = weight.reshape(-1, channels, 3, 3)  # hands on the columns as they are
    columns = reference(exact, predicted.permute(0, 3, 1, 2).double(), weight, None)
    grad_columns = grad.reshape(count, height, width, -1).permute(0, 3, 1, 2).double()
    (theirs,) = torch.autograd.grad(columns, exact, grad_columns)
    error = (gradient_of_x(x, predicted, grad).double() - theirs.permute(0, 2, 3, 1)).abs()
    largest = float(grad.abs().max())
    # A unit is at most 2^-24 of the largest; what is left is the float32 rounding of shares, masks and the result.
    assert float(error.max()) <= 36 * largest * 2**-25 + float(theirs.abs().max()) * 2**-21
    assert float(error.mean()) <= 6 * largest * 2**-25 + float(theirs.abs().mean()) * 2**-21


@pytest.mark.parametrize("device", [CPU, GPU])
@pytest.mark.parametrize("scale", [2.0**-60, 2.0**100])
def test_gradients_of_any_size(device, scale):
    x, predicted, grad = scattered(3, device)
    assert torch.equal(gradient_of_x(x, predicted, grad * scale), gradient_of_x(x, predicted, grad) * scale)


@pytest.mark.parametrize("device", [CPU, GPU])
def test_gradients_of_nothing_and_not_a_number(device):
    x, predicted, grad = scattered(4, device)
    assert torch.equal(gradient_of_x(x, predicted, grad * 0), torch.zeros_like(x))
    for value in (torch.nan, torch.inf):
        grad[0, 2, 3, 4, 7] = value  # the middle tap
        predicted[0, 2, 3, 8:10] = 0.25
        found = gradient_of_x(x, predicted, grad).isnan().nonzero().tolist()
        assert found == [[0, row, column, 7] for row in (2, 3) for column in (3, 4)]


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gpu_repeats_to_the_bit(dtype):
    inputs = [tensor.to("cuda", dtype) for tensor in case(5, 8, 64, 40, 72, 64, 2.0, 5)]
    grad = torch.randn(8, 64, 40, 72, device="cuda").to(dtype)
    first = derivatives(deform_conv2d_triton, inputs, grad)
    for _ in range(5):
        again = derivatives(deform_conv2d_triton, inputs, grad)
        assert all(torch.equal(a, b) for a, b in zip(again, first, strict=True))


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
        # Rounded offsets fall on the other side of some cells, where the derivative is another one: 0.101 on an H200.
        assert float((rounded.float() - exact).norm()) < 0.15 * float(exact.norm())


@pytest.mark.gpu
def test_gpu_layer_equals_the_cpu():
    torch.manual_seed(0)
    layer = DeformConv2d(24, 16)
    torch.nn.init.normal_(layer.conv_offset_mask.weight, std=0.05)
    x = torch.randn(2, 24, 9, 14)
    assert torch.allclose(layer(x), layer.cuda()(x.cuda()).cpu(), atol=2e-3)  # cuDNN may use TF32
