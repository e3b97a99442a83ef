"""The wide network of the benchmarks computes what the narrow file does."""

import sys

import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from benchmarks.widened import main, widened_network
from fairmot.core.errors import ModelError
from fairmot.export.networks import HeadSizes
from fairmot.export.networks.dla import DLASeg
from fairmot.export.onnx_model import save, to_onnx

HALF = (8, 16, 32, 64, 128, 256)


def lively(network):
    """Set layers that start at zero, and those that a BatchNorm cancels, to values that change the outputs."""
    generator = torch.Generator().manual_seed(0)
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.running_var, module.weight.data):
                values.uniform_(0.7, 1.4, generator=generator)
            for values in (module.running_mean, module.bias.data):
                values.normal_(std=0.2, generator=generator)
        elif name.endswith("conv_offset_mask"):
            module.weight.data.normal_(std=0.02, generator=generator)
            module.bias.data.normal_(std=0.3, generator=generator)
        elif isinstance(module, nn.ConvTranspose2d):  # else equal ones are exported as one
            module.weight.data *= 0.8 + 0.4 * torch.rand(module.weight.shape, generator=generator)
    return network.eval()


@pytest.fixture(scope="module")
def half():
    return lively(DLASeg(HeadSizes(embedding=64, hidden=64), HALF))


@pytest.fixture(scope="module")
def half_file(half, tmp_path_factory):
    path = tmp_path_factory.mktemp("half") / "half.onnx"
    save(to_onnx(half, "dla_34", (96, 64), ["person"]), path)
    return path


def test_the_wide_network_computes_the_same(half, half_file):
    wide = widened_network(half_file)
    images = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted, found = half(images), wide(images)
    wanted["id"] = wanted["id"].repeat_interleave(2, dim=1)
    for head, values in wanted.items():
        assert torch.allclose(found[head], values, rtol=1e-3, atol=1e-3 * float(values.abs().max())), head
        assert values.std() > 0


def rename(tensor):
    tensor.name = tensor.name.replace("node_1.conv.weight", "node_1.0.weight")


def crop(tensor):
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[:48], tensor.name))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "ida_up.node_1.conv.weight",
            rename,
            "half.onnx has ida_up.node_1.0.weight, so it is no dla_34 with a part of",
        ),
        ("id.0.weight", lambda tensor: tensor.ClearField("name"), "lacks id.0.weight, so"),
        ("id.2.weight", crop, r"has id.2.weight \(48, 64, 1, 1\), so"),
    ],
)
def test_layers_that_do_not_fit(half_file, tmp_path, name, change, message):
    model = onnx.load(half_file)
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == f"network.{name}")
    change(tensor)
    onnx.save(model, tmp_path / "half.onnx")
    with pytest.raises(ModelError, match=message):
        widened_network(tmp_path / "half.onnx")


@pytest.mark.parametrize(("content", "message"), [(None, "cannot be read"), (b"some text\n", "is not an ONNX file")])
def test_files_that_are_not_models(tmp_path, monkeypatch, capsys, content, message):
    path = tmp_path / "half.onnx"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setattr(sys, "argv", ["widened", str(tmp_path / "folder"), "--weights", str(path)])
    assert main() == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "folder").exists()
