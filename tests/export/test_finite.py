"""A network that computes with NaN or infinity is never certified."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.commands import export as main
from support.torch_network import OneLayerNetwork
from torch import Tensor

import fairmot.export.verify
from fairmot.core.errors import ModelError, SourceError
from fairmot.engine import ModelInfo
from fairmot.engine.decode import HeadOutputs
from fairmot.export.networks import HeadSizes, Network, build_network
from fairmot.export.onnx_model import round_to_half, save, to_onnx
from fairmot.export.verify_engine import judge

HEADS = HeadSizes(embedding=8, hidden=4)


@pytest.fixture
def weights() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {key: value.clone() for key, value in build_network("res_18", HEADS).state_dict().items()}


def exported(folder: Path, weights: dict[str, Tensor], *options: str) -> tuple[int, Path]:
    torch.save({"epoch": 1, "state_dict": weights}, folder / "a.pth")
    output = folder / "a.onnx"
    return main([str(folder / "a.pth"), "-o", str(output), "--size", "96x64", *options]), output


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("hm.2.bias", 1),
        ("hm.0.weight", 3),
        ("conv1.weight", 1),
        ("bn1.running_mean", 2),
        ("bn1.running_var", 1),
        ("bn1.weight", 1),
        ("id.2.weight", 5),
    ],
)
def test_weights_that_are_not_finite(
    tmp_path: Path, weights: dict[str, Tensor], name: str, count: int, value: float, capsys: pytest.CaptureFixture[str]
) -> None:
    weights[name].view(-1)[:count] = value
    status, output = exported(tmp_path, weights)
    assert status == 1
    error = capsys.readouterr().err
    assert f"a.pth: {count} of the {weights[name].numel()} weights in {name} are not finite, so" in error
    assert error.count("\n") == 1
    assert not output.exists()


def test_the_others_are_counted(tmp_path: Path, weights: dict[str, Tensor], capsys: pytest.CaptureFixture[str]) -> None:
    for value in weights.values():
        if value.is_floating_point():
            value.fill_(float("nan"))
    assert exported(tmp_path, weights)[0] == 1
    assert " other layers, so training diverged" in capsys.readouterr().err


def test_a_negative_variance(tmp_path: Path, weights: dict[str, Tensor], capsys: pytest.CaptureFixture[str]) -> None:
    weights["layer1.0.bn1.running_var"][3] = -1.0
    assert exported(tmp_path, weights)[0] == 1
    assert "the variances in layer1.0.bn1.running_var are negative" in capsys.readouterr().err


def test_finite_weights_whose_outputs_are_not(
    tmp_path: Path, weights: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    """1e38 twice: finite as it is, infinite in the sum, NaN in what follows."""
    weights["hm.0.weight"].fill_(1e38)
    weights["hm.2.weight"].fill_(1.0)
    for name in weights:
        if name.startswith("deconv") and name.endswith("bias"):
            weights[name].fill_(1.0)
    status, output = exported(tmp_path, weights)
    assert status == 1
    error = capsys.readouterr().err
    assert 'the head "hm" is not finite on the verification image, from the layer hm.0 on' in error
    assert not output.exists()


@pytest.mark.parametrize("raw", [[], ["--raw"]])
@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf"])
def test_a_score_shift_that_is_no_number(
    tmp_path: Path, weights: dict[str, Tensor], value: str, raw: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    status, output = exported(tmp_path, weights, f"--score-shift={value}", *raw)
    assert status == 2
    assert f"score_shift must be a finite number, not {value.replace('.', '')}" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize(("value", "fits"), [(65504.0, True), (65519.0, True), (65520.0, False), (-1e6, False)])
def test_half_storage_ends_at_65504(weights: dict[str, Tensor], value: float, fits: bool) -> None:
    network = build_network("res_18", HEADS)
    weights["layer2.0.conv1.weight"][0, 0, 0, 0] = value
    network.load_state_dict(weights)
    if fits:
        assert round_to_half(network).state_dict()["layer2.0.conv1.weight"].max() == 65504
        return
    with pytest.raises(ModelError, match=r"weights in layer2\.0\.conv1\.weight reach .*without --half-storage"):
        round_to_half(network)


def test_half_storage_of_folded_weights(
    tmp_path: Path, weights: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    """A tiny variance makes large weights."""
    weights["bn1.running_var"].fill_(0.0)
    weights["bn1.weight"].fill_(1e6)
    status, output = exported(tmp_path, weights, "--half-storage")
    assert status == 1
    assert "The weights in conv1.weight reach " in capsys.readouterr().err
    assert not output.exists()


@pytest.fixture(scope="module")
def finite(tmp_path_factory: pytest.TempPathFactory) -> tuple[Network, Path]:
    """A network and its file."""
    torch.manual_seed(0)
    network = OneLayerNetwork(HEADS)
    path = tmp_path_factory.mktemp("finite") / "a.onnx"
    save(to_onnx(network, "one", (96, 64), ["person"]), path)
    return network, path


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("head", ["heatmap", "box", "offset", "embedding"])
def test_onnx_runtime_alone_computes_nan(
    finite: tuple[Network, Path], head: str, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, output = finite
    assert len(fairmot.export.verify.verify(network, output, np.zeros((64, 96, 3), np.uint8))) == 4
    real = fairmot.export.verify.open_session

    class Broken:
        def __init__(self, *arguments: object) -> None:
            self.session = real(*arguments)  # type: ignore[arg-type]

        def run(self, names: list[str], feed: object) -> list[np.ndarray]:
            results = self.session.run(names, feed)
            results[names.index(head)].reshape(-1)[7] = value
            return list(results)

    monkeypatch.setattr(fairmot.export.verify, "open_session", Broken)
    with pytest.raises(ModelError, match=f'the output "{head}" is not finite in ONNX Runtime'):
        fairmot.export.verify.verify(network, output, np.zeros((64, 96, 3), np.uint8))


def heads() -> HeadOutputs:
    """Outputs with one person."""
    heatmap = np.zeros((1, 1, 8, 8), np.float32)
    heatmap[0, 0, 3, 4] = 0.9
    embedding = np.full((1, 4, 8, 8), 0.5, np.float32)
    return HeadOutputs(heatmap, np.ones((1, 4, 8, 8), np.float32), np.zeros((1, 2, 8, 8), np.float32), embedding)


@pytest.fixture(scope="module")
def model() -> ModelInfo:
    return ModelInfo.read()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("cell", [(0, 0, 0, 0), (0, 0, 3, 3)], ids=["far", "beside the peak"])
@pytest.mark.parametrize("head", ["heatmap", "box", "offset", "embedding"])
def test_no_plan_with_nan_is_accepted(
    head: str, cell: tuple[int, ...], value: float, model: ModelInfo, capsys: pytest.CaptureFixture[str]
) -> None:
    expected, found = heads(), heads()
    heat = np.full_like(expected.heatmap, 0.8999)  # every cell is nearly a peak: differences pass as ties
    assert judge([(1, heads())], expected, heat, model, 5e-3, 0.4)
    getattr(found, head)[cell] = value
    assert not judge([(1, found)], expected, heat, model, 5e-3, 0.4)
    assert f"batch 1: not finite in {head}" in capsys.readouterr().out
    assert not judge([(1, heads()), (8, found)], expected, heat, model, 5e-3, 0.4)


@pytest.mark.parametrize("head", ["heatmap", "box", "offset", "embedding"])
def test_no_reference_with_nan_judges(head: str, model: ModelInfo) -> None:
    expected, heat = heads(), heads().heatmap
    (heat if head == "heatmap" else getattr(expected, head))[0, 0, 0, 0] = np.nan
    with pytest.raises(ModelError, match=f"The outputs {head} of the model itself are not finite"):
        judge([(1, heads())], expected, heat, model, 5e-3, 0.4)


def test_nobody_is_nothing_to_compare(model: ModelInfo) -> None:
    nobody = replace(heads(), heatmap=np.zeros((1, 1, 8, 8), np.float32))
    with pytest.raises(SourceError, match="Nothing in the frame"):
        judge([(1, nobody)], nobody, nobody.heatmap, model, 5e-3, 0.4)
