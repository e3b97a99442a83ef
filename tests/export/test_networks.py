"""Architectures against the key lists of the official checkpoints."""

import hashlib
from pathlib import Path
from typing import get_args

import pytest
import torch

from fairmot.core.errors import ConfigError
from fairmot.export.architectures import Architecture
from fairmot.export.checkpoint import matching_architectures
from fairmot.export.networks import ARCHITECTURES, HeadSizes, build_network
from fairmot.export.onnx_model import ExportedNetwork

KEYS = Path(__file__).resolve().parents[3] / "shared" / "reference" / "keys"

# Entries and parameters: DESIGN section 4 for dla_34, the rest counted from the key lists.
SIZES = {
    "dla_34": (402, 19_836_711),
    "dla_34_lite": (366, 4_834_489),
    "dlav0_34": (328, 18_122_295),
    "resdcn_18": (181, 14_946_648),
    "resdcn_34": (277, 25_054_808),
    "resdcn_50": (379, 31_190_360),
    "resfpndcn_34": (331, 26_823_674),
}

# SHA-256 of the sorted entries "key (shape)" of the official checkpoints, without base.fc.
OFFICIAL = {
    "dla_34": "f5508ddfb470571070d1839e888c6f6952cc936aabea88a9b5dd0ebb06f4c3f7",
    "dlav0_34": "4fa340e00ec83065e635df88269b915df08b8d1602b13edd92147e8984943cc9",
    "resdcn_18": "340fba80e5c160ef3cb461c76eca1cfd1081bb212c80468bdb6184328dc31dbe",
    "resdcn_34": "aa072b803071c6136855fbe13f0aa71343b9bdf7985b59fae1a1d56401f3548d",
    "resdcn_50": "f749b5d72ff959d33998a84eb7e4598daf1eef72a23da8644e2a3864ed90a9b4",
    "resfpndcn_34": "30a7bd930f978b0ecf3b8f62a8126c72969a54c1856e896010659be53c333bbc",
}


def build_meta(name, heads=None):
    with torch.device("meta"):
        return build_network(name, heads)


@pytest.mark.parametrize("name", SIZES)
def test_entries_and_parameters(name):
    network = build_meta(name)
    assert len(network.state_dict()) == SIZES[name][0]
    assert sum(parameter.numel() for parameter in network.parameters()) == SIZES[name][1]


def entries(name):
    return {f"{key} {tuple(value.shape)}" for key, value in build_meta(name).state_dict().items()}


@pytest.mark.parametrize("name", OFFICIAL)
def test_digest_of_official_keys(name):
    assert hashlib.sha256("\n".join(sorted(entries(name))).encode()).hexdigest() == OFFICIAL[name]


@pytest.mark.parametrize("name", OFFICIAL)
def test_official_keys(name):
    """The same where the lists are at hand, to see what differs."""
    path = KEYS / f"{name.replace('_', '', 1) if not name.startswith('dlav0') else name}.txt"
    if not path.exists():
        pytest.skip(f"no key list {path.name} beside the checkout")
    lines = {line for line in path.read_text().splitlines() if line and not line.startswith("base.fc.")}
    assert entries(name) == lines


def test_names_are_stated_without_pytorch_too():
    assert get_args(Architecture) == tuple(ARCHITECTURES)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_outputs_have_stride_4(name):
    """Heads of CenterNet, where it has this architecture with a box of each class."""
    network = build_network(name, HeadSizes(classes=3, box=6, embedding=0, hidden=8, class_boxes=True)).eval()
    with torch.no_grad():
        heads = network(torch.rand(1, 3, 64, 96))
        shapes = {head: tuple(value.shape) for head, value in heads.items()}
        assert shapes == {"hm": (1, 3, 16, 24), "wh": (1, 6, 16, 24), "reg": (1, 2, 16, 24)}
        network.forward = lambda images: heads
        outputs = ExportedNetwork(network)(heads["hm"])
    assert [output.shape[1] for output in outputs] == [3, 12, 2]
    assert torch.equal(outputs[1][:, 4:8], heads["wh"][:, [2, 3, 2, 3]] / 2)


@pytest.mark.parametrize(("name", "count"), [("dla_34", 16), ("dla_34_lite", 6)])
def test_deformable_layers(name, count):
    keys = build_meta(name).state_dict()
    assert sum(key.endswith("conv_offset_mask.weight") for key in keys) == count


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_weights_tell_the_architecture(name):
    """With the heads of CenterNet, whose hidden layer has 256 channels in DLA and 64 in ResNet (`opts.py`)."""
    heads = HeadSizes(classes=80, box=160, embedding=0, hidden=256 if "dla" in name else 64, class_boxes=True)
    assert matching_architectures(build_meta(name, heads).state_dict()) == [name]


def test_the_skip_reaches_the_features():
    network = build_network("dla_34_lite").eval()
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = network.features(images)
        torch.nn.init.zeros_(network.get_submodule("skip.0").weight)
        after = network.features(images)
    assert not torch.equal(before, after)


def test_upsampling_starts_bilinear():
    network = build_network("dla_34")
    layer = network.get_submodule("ida_up.up_1")
    ramp = torch.arange(12.0).expand(1, 64, 12, 12)
    raised = layer(ramp)[0, 0, 8]
    steps = raised[4:-4].diff()
    assert torch.allclose(steps, torch.full_like(steps, 0.5), atol=1e-5)


def test_unknown_architecture_suggests_the_nearest():
    with pytest.raises(ConfigError, match='Did you mean "dla_34"'):
        build_network("dla34")
