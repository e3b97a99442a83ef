"""Checkpoint loading: strict about keys, lenient only where official files need it."""

import pytest
import torch

from core.errors import ModelError
from export.checkpoint import load_network, read_state_dict
from export.networks import HeadSizes, build_network
from export.networks.dla import DLASeg

HEADS = HeadSizes(embedding=8, hidden=4)


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(0)
    return build_network("res_18", HEADS).state_dict()


def saved(tmp_path, content):
    path = tmp_path / "model.pth"
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    "wrap",
    [
        lambda w: w,
        lambda w: {"epoch": 30, "state_dict": w},
        lambda w: {"epoch": 30, "state_dict": {f"module.{k}": v for k, v in w.items()}, "optimizer": {"lr": 0.1}},
        lambda w: {"state_dict": {**w, "base.fc.weight": torch.zeros(2), "base.fc.bias": torch.zeros(2)}},
        lambda w: {"state_dict": {k: v for k, v in w.items() if "num_batches" not in k}},
    ],
    ids=["bare", "wrapped", "parallel", "classifier", "without counters"],
)
def test_forms_of_checkpoints(tmp_path, weights, wrap):
    name, network = load_network(saved(tmp_path, wrap(weights)))
    assert name == "res_18"
    assert network.head_sizes == HEADS
    assert not network.training
    assert torch.equal(network.state_dict()["layer1.0.conv1.weight"], weights["layer1.0.conv1.weight"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("layer2.0.bn1.bias"), "1 missing: layer2.0.bn1.bias"),
        (lambda w: w.update({"extra.weight": torch.zeros(1)}), "1 unexpected: extra.weight"),
        (lambda w: w.update({"bn1.weight": torch.zeros(3)}), r"bn1.weight \(3,\) instead of \(64,\)"),
        (lambda w: w.update({"fc.weight": torch.zeros(3)}), "1 unexpected: fc.weight"),
    ],
)
def test_every_difference_is_named(tmp_path, weights, change, message):
    changed = dict(weights)
    change(changed)
    with pytest.raises(ModelError, match=message):
        load_network(saved(tmp_path, changed), "res_18")


def test_wrong_architecture_names_the_right_one(tmp_path, weights):
    with pytest.raises(ModelError, match="It fits res_18: use --arch res_18"):
        load_network(saved(tmp_path, weights), "resdcn_18")


def test_channels_that_no_architecture_has(tmp_path):
    path = saved(tmp_path, DLASeg(HEADS, (8, 16, 32, 64, 128, 256)).state_dict())
    with pytest.raises(ModelError, match="fits no known architecture"):
        load_network(path)


def test_boxes_by_width_and_height_are_refused(tmp_path):
    path = saved(tmp_path, build_network("res_18", HeadSizes(box=2, hidden=4)).state_dict())
    with pytest.raises(ModelError, match="wh head has 2 channels"):
        load_network(path)


class Payload:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a checkpoint"),
        (b"some text\n", "not a checkpoint"),
        ({}, "holds no weights"),
        ({"state_dict": {"a": "text"}}, "holds no weights"),
        ([1, 2], "holds no weights"),
        ({"state_dict": Payload()}, "not a checkpoint that torch can load safely"),
        ({"weight": torch.zeros(1)}, "not FairMOT's"),
    ],
)
def test_files_that_are_not_checkpoints(tmp_path, content, message, capsys):
    path = tmp_path / "model.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ModelError, match=message):
        load_network(path)
    assert "executed" not in capsys.readouterr().out


def test_missing_file(tmp_path):
    with pytest.raises(ModelError, match="There is no checkpoint"):
        read_state_dict(tmp_path / "none.pth")
