"""The exported file: equal to PyTorch, dynamic, with the metadata that the engine reads."""

import logging

import cv2
import numpy as np
import onnx
import pytest
import torch
from support.commands import export as main

from fairmot.engine.model import ModelInfo
from fairmot.engine.onnxruntime import open_session
from fairmot.export.networks import HeadSizes, build_network
from fairmot.export.networks.deform_conv import DeformConv2d
from fairmot.export.onnx_model import ExportedNetwork, fold_batch_norm, round_to_half, save, to_onnx
from fairmot.export.verify import verify

HEADS = HeadSizes(classes=2, embedding=8, hidden=16)


def lively(name, heads=HEADS):
    """A network whose offsets, BatchNorm statistics and outputs all differ from their start values."""
    torch.manual_seed(7)
    network = build_network(name, heads).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.7, 1.3)
            torch.nn.init.normal_(module.bias, std=0.1)
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.7, 1.3)
        if isinstance(module, DeformConv2d):
            torch.nn.init.normal_(module.conv_offset_mask.weight, std=0.02)
    with torch.no_grad():
        spread = network(torch.rand(1, 3, 64, 96))
        for head, value in spread.items():
            network.get_submodule(head)[2].weight.mul_(2.0 / value.std().clamp(min=1e-6))
    return network


@pytest.fixture(scope="module")
def image():
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    return cv2.resize(noise, (320, 240), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def network():
    return lively("resdcn_18")


@pytest.fixture(scope="module")
def exported(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    save(to_onnx(network, "resdcn_18", (96, 64), ["person", "bag"]), path)
    return path


def test_folding_batch_norm_changes_nothing(network):
    images = torch.rand(2, 3, 64, 96)
    folded = fold_batch_norm(network)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    with torch.no_grad():
        for head, value in network(images).items():
            assert torch.allclose(folded(images)[head], value, rtol=1e-4, atol=1e-4)


def test_file_equals_pytorch(network, exported, image):
    errors = verify(network, exported, image)
    assert [error.name for error in errors] == ["heatmap", "box", "offset", "embedding"]
    assert all(error.maximum < 1e-4 for error in errors), errors


def test_verification_sees_a_wrong_weight(network, exported, image, tmp_path):
    model = onnx.load(exported)
    weight = next(tensor for tensor in model.graph.initializer if tensor.name.endswith("wh.2.weight"))
    weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) + np.float32(0.01), weight.name))
    onnx.save(model, tmp_path / "wrong.onnx")
    assert max(error.maximum for error in verify(network, tmp_path / "wrong.onnx", image)) > 1e-3


def test_deformable_layers_are_one_standard_operator(exported):
    model = onnx.load(exported)
    assert sum(node.op_type == "DeformConv" for node in model.graph.node) == 3
    assert {node.domain for node in model.graph.node} == {""}
    assert model.opset_import[0].version >= 19


def test_metadata(exported):
    info = ModelInfo.read(exported)
    assert info.architecture == "resdcn_18"
    assert info.size == (96, 64)
    assert info.class_names == ("person", "bag")
    assert (info.stride, info.size_multiple, info.embedding_size, info.raw_heads) == (4, 32, 8, False)


def test_file_names_no_path_of_this_machine(exported):
    assert b"/export/" not in exported.read_bytes()


def test_outputs_are_finished(exported):
    session = open_session(exported, 1)
    heatmap, _, _, embedding = session.run(None, {"images": np.random.default_rng(1).random((3, 3, 96, 128), "f")})
    assert heatmap.shape == (3, 2, 24, 32)
    assert 0 <= heatmap.min() <= heatmap.max() <= 1
    assert (heatmap == 0).mean() > 0.5
    assert np.allclose(np.linalg.norm(embedding, axis=1), 1, atol=1e-5)


def test_peaks_of_equal_cells_all_stay(network):
    module = ExportedNetwork(network)
    flat = torch.zeros(1, 2, 4, 4)
    module.network.forward = lambda images: {"hm": flat, "wh": flat, "reg": flat, "id": flat}  # type: ignore[method-assign]
    try:
        assert torch.equal(module(torch.zeros(1))[0], torch.full((1, 2, 4, 4), 0.5))
    finally:
        del module.network.forward


def test_raw_heads_come_out_as_they_are(tmp_path):
    network = lively("res_18")
    save(to_onnx(network, "res_18", (64, 64), ["a", "b"], raw=True), tmp_path / "raw.onnx")
    images = np.random.default_rng(2).random((1, 3, 64, 64), "f")
    heatmap = open_session(tmp_path / "raw.onnx", 1).run(["heatmap"], {"images": images})[0]
    with torch.no_grad():
        assert np.allclose(heatmap, network(torch.from_numpy(images))["hm"].numpy(), atol=1e-4)
    assert ModelInfo.read(tmp_path / "raw.onnx").raw_heads


def test_half_storage_halves_the_file_and_computes_in_float32(network, exported, image, tmp_path):
    path = tmp_path / "half.onnx"
    rounded = round_to_half(fold_batch_norm(network))
    save(to_onnx(rounded, "resdcn_18", (96, 64), ["person", "bag"], half_storage=True), path)
    assert path.stat().st_size < 0.52 * exported.stat().st_size
    assert all(error.maximum < 1e-4 for error in verify(rounded, path, image))
    assert max(error.maximum for error in verify(network, path, image)) < 0.05


def test_command(network, image, tmp_path, capsys):
    torch.save({"epoch": 1, "state_dict": network.state_dict()}, tmp_path / "model.pth")
    cv2.imwrite(str(tmp_path / "frame.png"), image)
    command = [str(tmp_path / "model.pth"), "-o", str(tmp_path / "out.onnx"), "--size", "96x64"]
    assert main([*command, "--classes", "person,bag", "--frame", str(tmp_path / "frame.png")]) == 0
    printed = capsys.readouterr().out
    assert "resdcn_18, 96x64" in printed
    assert printed.count("maximum error") == 4
    assert ModelInfo.read(tmp_path / "out.onnx").class_names == ("person", "bag")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--size", "100x64"], "multiples of 32"),
        (["--classes", "person"], "has 2 classes but --classes names 1"),
        (["--frame", "none.png"], "not an image"),
        (["-o", "/proc/nowhere/out.onnx"], "Cannot write"),
        (["--arch", "res_18"], "It fits resdcn_18"),
    ],
)
def test_command_errors(network, tmp_path, capsys, extra, message):
    torch.save(network.state_dict(), tmp_path / "model.pth")
    code = main([str(tmp_path / "model.pth"), "-o", str(tmp_path / "o.onnx"), "--size", "96x64", *extra])
    error = capsys.readouterr().err
    assert code in (1, 2)
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_quiet(network, exported, caplog):
    with caplog.at_level(logging.WARNING):
        to_onnx(network, "resdcn_18", (96, 64), ["a", "b"])
    assert not caplog.records
