"""The bundled network on a GPU, where Triton computes its neck, against PyTorch in float64 on the CPU."""

import pytest
import torch

from export.networks import build_network
from export.networks.deform_conv import DeformConv2d, triton_builds

pytestmark = pytest.mark.gpu


def outputs_and_gradients(network, images):
    network.zero_grad()
    outputs = network(images)
    sum(output.square().mean() for output in outputs.values()).backward()
    gradients = {name: p.grad.cpu() for name, p in network.named_parameters() if p.grad is not None}
    return {name: output.detach().cpu() for name, output in outputs.items()}, gradients


def test_gpu_gives_the_outputs_and_gradients_of_the_cpu():
    if not triton_builds(torch.device("cuda")):
        pytest.skip("Triton builds no kernels here")
    torch.manual_seed(0)
    network = build_network("dla_34_lite").eval()
    for layer in network.modules():
        if isinstance(layer, DeformConv2d):
            torch.nn.init.normal_(layer.conv_offset_mask.weight, std=0.1 / layer.weight.shape[1] ** 0.5)
    images = torch.rand(2, 3, 96, 160)
    expected = outputs_and_gradients(network.double(), images.double())
    network.float().cuda().to(memory_format=torch.channels_last)
    with torch.backends.cudnn.flags(allow_tf32=False):
        found = outputs_and_gradients(network, images.cuda().to(memory_format=torch.channels_last))
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.keys() == theirs.keys()
        for name, value in theirs.items():
            # A sample that rounding moves over a cell's edge has another derivative; few are.
            assert float((mine[name] - value).norm()) <= 0.05 * float(value.norm()), name
