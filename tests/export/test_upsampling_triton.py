"""Enlarging maps by Triton against PyTorch's transposed convolution in float64: on a GPU or interpreted on the CPU.

`TRITON_INTERPRET=1 pytest tests/export/test_upsampling_triton.py` is how they run without a GPU.
"""

import os

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

pytest.importorskip("triton", reason="Triton is not installed")
from fairmot.export.networks.upsampling_triton import enlarge_triton

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
CPU = pytest.param("cpu", marks=pytest.mark.skipif(not INTERPRETED, reason="the interpreter wants TRITON_INTERPRET=1"))
GPU = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(INTERPRETED, reason="interpreted on the CPU")])


def compare(device, shape, factor, dtype, tolerance):
    torch.manual_seed(0)
    count, channels, height, width = shape
    x = torch.randn(shape, device=device).to(dtype)
    weight = torch.randn(channels, 1, 2 * factor, 2 * factor, device=device)
    grad = torch.randn(count, channels, height * factor, width * factor, device=device).to(dtype)
    results = []
    for function, kind in ((enlarge_triton, None), (F.conv_transpose2d, torch.float64)):
        inputs = [(tensor if kind is None else tensor.to(kind)).detach().requires_grad_() for tensor in (x, weight)]
        options = {} if kind is None else {"stride": factor, "padding": factor // 2, "groups": channels}
        result = function(*inputs, **options)
        results.append([result, *torch.autograd.grad(result, inputs, grad.to(result.dtype))])
    assert [tensor.dtype for tensor in results[0]] == [dtype, dtype, torch.float32]
    for found, exact in zip(*results, strict=True):
        assert bool((found.double() - exact).norm() <= tolerance * exact.norm())


@pytest.mark.parametrize("device", [CPU, GPU])
@pytest.mark.parametrize(("channels", "factor"), [(3, 2), (24, 2), (40, 4), (200, 2)])
def test_odd_shapes(device, channels, factor):
    compare(device, (2, channels, 3, 5), factor, torch.float32, 2e-6)


@pytest.mark.gpu
@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-3)])
def test_gpu_sizes_of_networks(factor, dtype, tolerance):
    compare("cuda", (4, 64, 19, 34), factor, dtype, tolerance)
