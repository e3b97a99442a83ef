"""Every form of heads, exported: what the decoder reads is the same whatever the network predicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from support.commands import export as main
from support.torch_network import OneLayerNetwork

from benchmarks.head_variants import VARIANTS, Variant, run
from fairmot.core.class_names import VOC_NAMES
from fairmot.engine.model import ModelInfo
from fairmot.engine.onnxruntime import open_session
from fairmot.engine.preprocessing import CENTERNET, FAIRMOT
from fairmot.export.compare import compare_outputs, tied_peaks
from fairmot.export.networks import HeadSizes, build_network
from fairmot.export.onnx_model import ExportedNetwork, save, to_onnx
from fairmot.export.verify_engine import onnx_reference, torch_reference

NAMES = ["a", "b", "c"]


def expected_box(wh: np.ndarray, sizes: HeadSizes) -> np.ndarray:
    """The box of every class or of all, from width and height."""
    if not sizes.box_is_size:
        return wh
    halves = [0.5 * wh[:, 2 * box : 2 * box + 2] for box in range(sizes.boxes)]
    return np.concatenate([half for half in halves for _ in range(2)], axis=1)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: f"{variant.box} {variant.offset} {variant.embedding}")
def test_every_form_of_heads(variant: Variant, tmp_path: Path) -> None:
    torch.manual_seed(3)
    network = OneLayerNetwork(variant.sizes).eval()
    path = tmp_path / "model.onnx"
    save(to_onnx(network, "one", (96, 64), NAMES, preprocessing=variant.preprocessing), path)
    info = ModelInfo.read(path)
    assert info.class_boxes == (variant.box == "2C")
    assert info.embedding_size == variant.sizes.embedding
    assert (info.channel_order, info.resize) == (("rgb", "area") if variant.embedding else ("bgr", "linear"))

    images = np.random.default_rng(0).random((3, 3, 64, 128), np.float32)
    results = dict(
        zip(info.output_names, open_session(path, 1).run(info.output_names, {"images": images}), strict=True)
    )
    info.check_outputs((128, 64), {name: result.shape for name, result in results.items()})
    with torch.no_grad():
        raw = {head: values.numpy() for head, values in network(torch.from_numpy(images)).items()}
    np.testing.assert_allclose(results["box"], expected_box(raw["wh"], variant.sizes), rtol=1e-4, atol=1e-5)
    assert np.ptp(results["box"]) > 0.1
    if variant.offset:
        np.testing.assert_allclose(results["offset"], raw["reg"], rtol=1e-4, atol=1e-5)
    else:
        assert np.array_equal(results["offset"], np.full((3, 2, 16, 32), 0.5, np.float32))
    kept = results["heatmap"] > 0
    np.testing.assert_allclose(results["heatmap"][kept], (1 / (1 + np.exp(-raw["hm"])))[kept], rtol=1e-4, atol=1e-5)
    assert 0 < kept.mean() < 0.5


def test_the_offset_is_a_half_whatever_the_boxes_are() -> None:
    """Half precision overflows to infinity."""
    module = ExportedNetwork(OneLayerNetwork(HeadSizes(box=2, offset=False, embedding=0, hidden=4)))
    heads = {"hm": torch.zeros(1, 1, 2, 2), "wh": torch.tensor([[[[np.inf, -np.inf], [0.0, 7.0]]] * 2])}
    module.network.forward = lambda images: heads  # type: ignore[method-assign]
    assert torch.equal(module(torch.zeros(1))[2], torch.full((1, 2, 2, 2), 0.5))


def test_raw_heads_have_the_same_boxes_and_offsets() -> None:
    torch.manual_seed(3)
    network = OneLayerNetwork(Variant("2C", False, True).sizes).eval()
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        finished, raw = ExportedNetwork(network)(images), ExportedNetwork(network, raw=True)(images)
        assert torch.equal(raw[0], network(images)["hm"])
    assert torch.equal(finished[1], raw[1])
    assert torch.equal(finished[2], raw[2])


@pytest.mark.parametrize(("box", "class_boxes"), [(3, False), (4, True), (2, True), (6, False), (0, False)])
def test_boxes_of_no_form(box: int, class_boxes: bool) -> None:
    with pytest.raises(ValueError, match="only 2 or 4 each"):
        HeadSizes(classes=3, box=box, class_boxes=class_boxes)


def test_a_centernet_checkpoint_is_tracked(tmp_path: Path) -> None:
    result = run("res_18", Variant("2", False, False), tmp_path)
    assert result.error < 1e-4
    assert (result.found, result.identities) == (result.true, 3)


def exported(folder: Path, sizes: HeadSizes, *options: str) -> ModelInfo:
    torch.manual_seed(0)
    content = {
        "epoch": 140,
        "state_dict": build_network("res_18", sizes).state_dict(),
        "optimizer": {"param_groups": []},
    }
    torch.save(content, folder / "a.pth")
    assert main([str(folder / "a.pth"), "-o", str(folder / "a.onnx"), *options]) == 0
    return ModelInfo.read(folder / "a.onnx")


def test_defaults_of_a_centernet_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    info = exported(tmp_path, HeadSizes(classes=20, box=2, embedding=0, hidden=0))
    assert "20 classes, boxes as width, height, offsets, no embeddings; pre-processing of centernet" in (
        capsys.readouterr().out
    )
    assert (info.architecture, info.size, info.class_names) == ("res_18", (512, 512), VOC_NAMES)
    assert (info.mean, info.std, info.channel_order) == (CENTERNET.mean, CENTERNET.std, "bgr")
    assert (info.border, info.resize, info.score_threshold, info.max_detections) == (0, "linear", 0.3, 100)


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> ModelInfo:
    """A model of two classes whose four channels are two boxes, with all that has a default given."""
    options = ("--boxes", "per-class", "--preprocess", "fairmot", "--size", "96x64", "--classes", "cat,dog")
    sizes = HeadSizes(classes=2, box=4, embedding=0, hidden=8, offset=False, class_boxes=True)
    return exported(tmp_path_factory.mktemp("chosen"), sizes, *options)


def test_what_is_given_wins(chosen: ModelInfo) -> None:
    assert (chosen.size, chosen.class_names, chosen.class_boxes) == ((96, 64), ("cat", "dog"), True)
    assert (chosen.mean, chosen.channel_order, chosen.resize) == (FAIRMOT.mean, "rgb", "area")
    assert (chosen.score_threshold, chosen.max_detections) == (0.4, 500)


def test_both_references_of_an_engine_agree(chosen: ModelInfo) -> None:
    """PyTorch has to be told by the model that the four channels are two boxes."""
    images = np.random.default_rng(0).random((2, 3, 64, 96), np.float32)
    wanted, heat = torch_reference(chosen.path.with_suffix(".pth"), chosen)(images)
    found, other_heat = onnx_reference(chosen)(images)
    assert wanted.box.shape == (2, 8, 16, 24)
    assert [name for name, _ in wanted.named()] == ["heatmap", "box", "offset"]
    for difference in compare_outputs(found, wanted, tied_peaks(found.heatmap, wanted.heatmap, heat, 1e-4)):
        assert difference.relative < 1e-4
    assert heat is not None
    np.testing.assert_allclose(heat, other_heat, rtol=1e-4, atol=1e-5)


def test_a_person_model_has_the_metadata_that_it_always_had() -> None:
    model = to_onnx(OneLayerNetwork(HeadSizes(embedding=4, hidden=4)), "dla_34", (1088, 608), ["person"])
    assert {entry.key: entry.value for entry in model.metadata_props} == {
        "fairmot.format": "1",
        "fairmot.architecture": "dla_34",
        "fairmot.stride": "4",
        "fairmot.size": "1088x608",
        "fairmot.size_multiple": "32",
        "fairmot.channel_order": "rgb",
        "fairmot.mean": "0,0,0",
        "fairmot.std": "1,1,1",
        "fairmot.border": "128",
        "fairmot.resize": "area",
        "fairmot.class_names": '["person"]',
        "fairmot.raw_heads": "0",
        "fairmot.score_threshold": "0.4",
        "fairmot.max_detections": "500",
    }
    assert not {"Gather", "Mul"} & {node.op_type for node in model.graph.node}  # boxes are passed on as they are
    onnx.checker.check_model(model)
