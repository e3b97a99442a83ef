"""The same network through PyTorch and through ONNX Runtime on annotated images: equal average precision."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from support import material
from support.commands import evaluate_detections as main

from benchmarks.coco_engines import main as compare
from fairmot.core.errors import ModelError
from fairmot.export.networks import HeadSizes, build_network
from fairmot.export.onnx_model import save, to_onnx
from fairmot.export.torch_network import TorchNetwork

CLASSES = ("person", "car", "dog")
SIZE = (96, 64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of three classes with embeddings, as a checkpoint and exported; images, all with the same objects."""
    folder = tmp_path_factory.mktemp("coco")
    torch.manual_seed(3)
    network = build_network("res_18", HeadSizes(classes=3, embedding=8, hidden=16)).eval()
    with torch.no_grad():
        spread = network(torch.rand(1, 3, 64, 96))
        for head, value in spread.items():
            network.get_submodule(head)[2].weight.mul_(2.0 / value.std().clamp(min=1e-6))
        network.wh[2].bias.fill_(9.0)
        network.hm[2].bias.fill_(0.0)
    torch.save({"state_dict": network.state_dict(), "class_names": list(CLASSES)}, folder / "model.pth")
    save(to_onnx(network, "res_18", SIZE, list(CLASSES)), folder / "model.onnx")
    random = np.random.default_rng(8)
    images = []
    for number, size in enumerate([(140, 90), (75, 100), (96, 64)]):
        noise = random.integers(0, 255, (12, 16, 3), np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), cv2.resize(noise, size, interpolation=cv2.INTER_CUBIC))
        images.append({"id": number, "file_name": f"{number}.png"})
    categories = [{"id": 10 + number, "name": name} for number, name in enumerate(CLASSES)]
    data = {"images": images, "categories": categories}
    (folder / "images.json").write_text(json.dumps(data))
    words = ["--coco", str(folder / "images.json"), "--images", str(folder), "-o", str(folder / "truth.json")]
    assert main([str(folder / "model.onnx"), *words]) == 0
    found = json.loads((folder / "truth.json").read_text())
    data["annotations"] = [
        {"image_id": each["image_id"], "category_id": each["category_id"], "bbox": each["bbox"]}
        for number in range(3)
        for each in [each for each in found if each["image_id"] == number][:12]  # the best
    ]
    assert all(min(each["bbox"][2:]) > 0 for each in data["annotations"])
    (folder / "annotations.json").write_text(json.dumps(data))
    return folder


@pytest.mark.parametrize("more", [(), ("--keep-res", "--flip")])
def test_torch_and_onnx_runtime_have_the_same_average_precision(
    more: tuple[str, ...], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = {}
    for engine, name in (("torch", "model.pth"), ("onnxruntime", "model.onnx")):
        words = ["--coco", str(folder / "annotations.json"), "--images", str(folder), "-o", str(tmp_path / "r.json")]
        size = [] if "--keep-res" in more else ["--size", "96x64"]
        assert main([str(folder / name), "--engine", engine, *words, *size, *more]) == 0
        out = capsys.readouterr().out
        scores[engine] = np.array([float(number) for number in re.findall(r"\] = (\S+)", out)])
    assert scores["torch"] == pytest.approx(scores["onnxruntime"], abs=0.003)
    least = 0.02 if more else 0.95  # other views of an image are other images to a network that was not trained
    assert scores["torch"][0] > least


def test_the_comparison_of_engines_on_training_images(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Labels made of the annotations: the same AP, to the rounding of their numbers."""
    data = json.loads((folder / "annotations.json").read_text())
    (tmp_path / "images").mkdir()
    (tmp_path / "labels_with_ids").mkdir()
    for image in data["images"]:
        name = image["file_name"]
        (tmp_path / "images" / name).write_bytes((folder / name).read_bytes())
        height, width = cv2.imread(str(folder / name)).shape[:2]
        lines = ["7 -1 0.5 0.5 0.1 0.1"]  # of a class that is left out
        for each in data["annotations"]:
            if each["image_id"] == image["id"]:
                x, y, w, h = each["bbox"]
                center = (x + w / 2) / width, (y + h / 2) / height
                lines.append(f"{each['category_id'] - 10} -1 {center[0]} {center[1]} {w / width} {h / height}")
        (tmp_path / "labels_with_ids" / name).with_suffix(".txt").write_text("\n".join(lines))
    words = ["--labels", str(tmp_path), "--classes", "person:0,car:1,dog:2", "--engines", "onnxruntime"]
    assert compare([str(folder / "model.pth"), str(folder / "model.onnx"), *words]) == 0
    found = re.search(r"onnxruntime  AP (\S+)\n0.0 points apart", capsys.readouterr().out)
    assert found is not None
    assert float(found[1]) > 95


def test_the_metadata_of_a_checkpoint_is_that_of_its_export(folder: Path) -> None:
    network = TorchNetwork(folder / "model.pth")
    assert network.model.class_names == CLASSES
    assert (network.model.size, network.model.resize, network.model.channel_order) == ((1088, 608), "area", "rgb")
    other = TorchNetwork(folder / "model.pth", preprocess="centernet", all_cells=True)
    assert (other.model.size, other.model.resize, other.model.channel_order) == ((512, 512), "linear", "bgr")
    images = np.random.default_rng(0).normal(size=(2, 3, 32, 64)).astype(np.float32)
    peaks, logits = network(images).heatmap, other(images).heatmap
    kept = peaks > 0
    assert peaks[kept] == pytest.approx(1 / (1 + np.exp(-logits[kept])), rel=1e-4)
    assert not kept.all()


def test_boxes_of_each_class(tmp_path: Path) -> None:
    """Four channels of two classes are two boxes by width and height, if that is said."""
    heads = HeadSizes(classes=2, box=4, embedding=0, hidden=4, class_boxes=True)
    torch.save(build_network("res_18", heads).state_dict(), tmp_path / "model.pth")
    with pytest.raises(ModelError, match="give --boxes shared or --boxes per-class"):
        TorchNetwork(tmp_path / "model.pth")
    network = TorchNetwork(tmp_path / "model.pth", boxes="per-class")
    assert network.model.class_boxes
    assert (network.model.resize, network.model.embedding_size) == ("linear", 0)  # CenterNet's, without embeddings
    assert network(np.zeros((1, 3, 32, 64), np.float32)).box.shape == (1, 8, 8, 16)


def test_what_is_no_checkpoint(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--coco", str(folder / "annotations.json"), "--images", str(folder), "-o", str(tmp_path / "r.json")]
    assert main([str(folder / "model.pth"), *words]) == 2
    material.check_sentence(capsys.readouterr().err, "is a checkpoint, which --engine onnxruntime does not run")
    assert main([str(folder / "images.json"), "--engine", "torch", *words]) == 1
    material.check_sentence(capsys.readouterr().err, "is not a checkpoint that torch can load safely")
    with pytest.raises(ModelError, match="There is no checkpoint"):
        TorchNetwork(tmp_path / "none.pth")


@pytest.mark.gpu
def test_tensorrt_has_the_same_average_precision(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In half precision; the network was not trained, so that many of its scores are nearly equal."""
    scores = {}
    for engine in ("onnxruntime", "tensorrt"):
        words = ["--coco", str(folder / "annotations.json"), "--images", str(folder), "-o", str(tmp_path / "r.json")]
        assert main([str(folder / "model.onnx"), "--engine", engine, *words]) == 0
        (scores[engine],) = re.findall(r"maxDets=100 \] = (\S+)", capsys.readouterr().out)[:1]
    assert float(scores["tensorrt"]) == pytest.approx(float(scores["onnxruntime"]), abs=0.03)
