"""`fairmot evaluate-detections` through ONNX Runtime, and its errors: an exit code and one line."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support import blob_network, coco_set, material
from support.coco_set import Scene
from support.commands import evaluate_detections as main

from fairmot.app.coco.annotations import read_annotations
from fairmot.app.coco.command import Task, evaluate_detections
from fairmot.app.coco.detectors import NetworkDetector, open_detector
from fairmot.app.coco.scoring import score
from fairmot.app.coco.settings import DetectionSettings
from fairmot.core.errors import ConfigError
from fairmot.core.timing import StageClock
from fairmot.engine.decode import HeadOutputs
from fairmot.engine.model import ModelInfo

SQUARES = [{(5, 4): (255, 255, 255), (15, 9): (240, 250, 245)}, {(8, 8): (255, 230, 240)}]


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of bright squares, one of them gray, and where the network of `blob_network` sees them."""
    folder = tmp_path_factory.mktemp("squares")
    images, annotations = [], []
    for number, content in enumerate(SQUARES):
        image = blob_network.image_of((96, 64), content)
        name = f"deep/{number}.png"
        (folder / "deep").mkdir(exist_ok=True)
        cv2.imwrite(str(folder / name), image[..., 0] if number else image)
        images.append({"id": number, "file_name": name, "width": 96, "height": 64})
        for column, row in content:
            left, top, right, bottom = blob_network.expected_box(column, row)
            box = [left, top, right - left, bottom - top]
            annotations.append({"id": 7, "image_id": number, "category_id": 4, "bbox": box})
    data = {"images": images, "annotations": annotations, "categories": [{"id": 4, "name": "blob"}]}
    (folder / "annotations.json").write_text(json.dumps(data))
    return folder


def arguments(folder: Path, weights: Path, output: Path, *more: str) -> list[str]:
    coco = str(folder / "annotations.json")
    return [str(weights), "--coco", coco, "--images", str(folder), "-o", str(output), *more]


@pytest.mark.parametrize("more", [(), ("--keep-res",), ("--scales", "1,2", "--nms", "--keep-res")])
def test_a_model_in_onnx_runtime(
    more: tuple[str, ...], squares: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(squares, weights, tmp_path / "new" / "results.json", *more)) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert printed.err == ""
    assert "in 2 images by ONNX Runtime" in lines[0]
    assert lines[1].startswith(" Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all | maxDets=100 ] = ")
    if "--scales" not in more:  # squares of 8x8 pixels are something else to this network
        assert lines[1].endswith(" = 1.000")
    assert [line.split()[0] for line in lines[15:]] == ["read", "letterbox", "network", "decode", "merge", "all"]
    assert lines[14].split() == ["stage", "total", "ms", "ms", "an", "image"]
    results = json.loads((tmp_path / "new" / "results.json").read_text())
    assert set(results[0]) == {"image_id", "category_id", "bbox", "score"}


def change(key: str, number: int, **values: Any) -> Callable[[dict[str, Any]], object]:
    return lambda data: data[key][number].update(values)


@pytest.mark.parametrize(
    ("spoil", "code", "message"),
    [
        (lambda data: data.pop("images"), 1, 'a JSON object with a list "images"'),
        (lambda data: data.update(images=[]), 1, "lists no images"),
        (lambda data: data.pop("categories"), 1, 'no list "categories"'),
        (lambda data: data.update(categories=[]), 1, "lists no categories"),
        (change("images", 1, id=0), 1, "lists the image id 0 twice"),
        (change("images", 1, file_name="deep/0.png"), 1, "lists the image deep/0.png twice"),
        (change("images", 1, file_name="x.png"), 1, "1 of the 2 images of .* are not in .*, the first is x.png"),
        (change("images", 1, file_name="../x.png"), 1, "image 2 should have an id and a file_name inside"),
        (change("images", 1, file_name="/etc/passwd"), 1, "image 2 should have an id and a file_name inside"),
        (change("images", 1, id="2"), 1, "image 2 should have an id"),
        (change("images", 1, width=10.5), 1, "image 2 should have width and height"),
        (change("images", 0, width=100), 1, "0.png is 96x64 but .* states 100x64"),
        (change("annotations", 2, image_id=77), 1, "1 of the 3 annotations in .* belong to no image .* image id 77"),
        (change("annotations", 0, category_id=5), 1, "belong to no category that it lists"),
        (change("annotations", 0, bbox=[1, 2, 3]), 1, "annotation 1 should have a bbox of four numbers"),
        (change("annotations", 0, bbox=[1, 2, -3, 4]), 1, "annotation 1 should have a bbox of four numbers"),
        (change("annotations", 0, bbox=[1, 2, float("inf"), 4]), 1, "annotation 1 should have a bbox"),
        (change("annotations", 0, bbox=[1, 2, 10**400, 4]), 1, "annotation 1 should have a bbox"),
        (change("annotations", 0, area="big"), 1, "annotation 1 should have its area"),
        (change("annotations", 0, iscrowd=2), 1, "annotation 1 should have iscrowd as 0 or 1"),
        (lambda data: data["annotations"].insert(0, None), 1, "annotation 1 should have image_id"),
        (change("categories", 0, name="bob"), 2, r"No class of the model \(blob\) is a category of .* \(bob\): give"),
        (
            lambda data: data["categories"].insert(0, {"id": 4, "name": "x"}),
            1,
            "lists the category id 4 twice",
        ),
        (
            lambda data: (data["categories"].append({"id": 9, "name": "x"}), [
                each.update(category_id=9) for each in data["annotations"]
            ]),
            1,
            "has no annotations of the model's classes",
        ),
    ],
)  # fmt: skip
def test_annotations_that_are_wrong(
    spoil: Callable[[dict[str, Any]], object],
    code: int,
    message: str,
    squares: Path,
    weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = json.loads((squares / "annotations.json").read_text())
    spoil(data)
    path = tmp_path / "spoiled.json"
    path.write_text(json.dumps(data))
    words = [str(weights), "--coco", str(path), "--images", str(squares), "-o", str(tmp_path / "results.json")]
    assert main(words) == code
    error = capsys.readouterr().err.splitlines()[-1:]  # a warning may come before
    material.check_sentence("\n".join(error), message)
    assert not (tmp_path / "results.json").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "There is no annotation file"),
        (b'{"images": [', "is not JSON, or is cut off"),
        (b"\xff\xfe\x00{", "is not JSON, or is cut off"),
        (b"[" * 100_000, "is not JSON, or is cut off"),
        (b"[]", "does not have COCO's form"),
        (b"1" * 5000, "COCO's form|is not JSON"),
    ],
)
def test_files_that_are_no_annotations(
    content: bytes | None, message: str, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "annotations.json").write_bytes(content)
    assert main(arguments(tmp_path, weights, tmp_path / "results.json")) == 1
    material.check_sentence(capsys.readouterr().err, message)


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (("--images", "nowhere"), 1, "There is no folder nowhere"),
        (("--classes", "person"), 2, r"No class of the model \(person\) is a category of .* \(blob\)"),
        (("--classes", "blob,person"), 2, "The model has 1 classes but --classes names 2"),
        (("--size", "97x64"), 2, "97x64 does not suit"),
        (("--size", "96x64", "--keep-res"), 2, "leave --size out"),
        (("--scales", "0.5,big"), 2, "scales"),
        (("--scales", "0"), 2, "scales must be from 0.125 to 8"),
        (("--engine", "torch"), 2, "is an ONNX file, which --engine torch does not run: give --engine onnxruntime"),
        (("--preprocess", "fairmot"), 2, "--preprocess is for --engine torch alone"),
        (("--boxes", "shared"), 2, "--boxes is for --engine torch alone"),
        (("--output", "/dev/null/x"), 1, "Cannot write"),
    ],
)
def test_options_that_are_wrong(
    more: tuple[str, ...],
    code: int,
    message: str,
    squares: Path,
    weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(arguments(squares, weights, tmp_path / "results.json", *more)) == code
    material.check_sentence(capsys.readouterr().err, message)


@pytest.mark.parametrize(
    "settings",
    [DetectionSettings(flip=True), DetectionSettings(scales=(1.0, 2.0)), DetectionSettings(keep_res=True)],
)
def test_tensorrt_has_one_size_and_peaks_alone(settings: DetectionSettings, weights: Path) -> None:
    opening = open_detector("tensorrt", ModelInfo.read(weights), settings, None, StageClock())
    with pytest.raises(ConfigError, match=r"so --\S+ cannot be done: leave it out"), opening:
        pass


def test_an_image_that_cannot_be_read(
    squares: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "annotations.json").write_bytes((squares / "annotations.json").read_bytes())
    for name in ("deep/0.png", "deep/1.png"):
        (tmp_path / name).write_bytes((squares / name).read_bytes()[:60])
    assert main(arguments(tmp_path, weights, tmp_path / "results.json")) == 1
    material.check_sentence(capsys.readouterr().err, r"The image .*0.png cannot be read \(.*\): replace it, or take it")


def test_other_names_and_categories_without_a_class(
    squares: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = json.loads((squares / "annotations.json").read_text())
    data["categories"] = [{"id": 4, "name": "square"}, {"id": 2, "name": "circle"}]
    data["annotations"].append(dict(data["annotations"][0], category_id=2))  # not evaluated, so no miss
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(data))
    words = [str(weights), "--coco", str(path), "--images", str(squares), "-o", str(tmp_path / "results.json")]
    assert main([*words, "--classes", "square"]) == 0
    printed = capsys.readouterr()
    material.check_sentence(printed.err, "The model has no class for the categories circle")
    assert "maxDets=100 ] = 1.000" in printed.out.splitlines()[1]


def test_images_without_annotations_give_results_alone(
    squares: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = json.loads((squares / "annotations.json").read_text())
    del data["annotations"]
    path = tmp_path / "image_info.json"
    path.write_text(json.dumps(data))
    assert main([str(weights), "--coco", str(path), "--images", str(squares), "-o", str(tmp_path / "r.json")]) == 0
    assert "has no annotations, so nothing is scored" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "r.json").read_text())) > 2


class Nothing:
    """A network that finds nothing, and sends a signal with the second image if asked to."""

    description = "nothing"

    def __init__(self, sends: bool = False) -> None:
        self.model = coco_set.model_of()
        self._sends, self._calls = sends, 0

    def __call__(self, images: np.ndarray) -> HeadOutputs[np.ndarray]:
        self._calls += 1
        if self._sends and self._calls == 2:
            os.kill(os.getpid(), signal.SIGINT)
        cells = (len(images), 4, 32, 32)
        return HeadOutputs(np.zeros(cells, np.float32)[:, :3], np.zeros(cells, np.float32), np.zeros(cells)[:, :2])


def run_nothing(folder: Path, *, sends: bool) -> int:
    annotations = coco_set.write_set(folder, coco_set.scenes())
    task = Task(annotations, folder / "images", folder / "results.json")
    network = Nothing(sends)
    return evaluate_detections(
        task, lambda clock: nullcontext(NetworkDetector(network, DetectionSettings(), None, clock))
    )


def test_nothing_found_scores_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_nothing(tmp_path, sends=False) == 0
    printed = capsys.readouterr()
    assert printed.out.count(" = 0.000") == 10
    assert printed.out.count(" = -1.000") == 2  # of sizes that no object has
    assert "Nothing was found in any image, so that all scores are 0." in printed.err
    assert (tmp_path / "results.json").read_text() == "[]"


def test_a_signal_ends_it_with_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_nothing(tmp_path, sends=True) == 128 + signal.SIGINT
    printed = capsys.readouterr()
    assert "warning: Stopped by SIGINT after 2 of 4 images; nothing was written.\n" in printed.err
    assert printed.out == ""
    assert not (tmp_path / "results.json").exists()


def test_scores_are_those_of_the_category(tmp_path: Path) -> None:
    """Of two categories, one found and one not, each alone and both."""
    content = [Scene((64, 64), [coco_set.Object(number, (20.0, 20.0), (9.0,) * 4, 0.9) for number in (0, 1)])]
    annotations = read_annotations(coco_set.write_set(tmp_path, content))
    found = [{"image_id": 500, "category_id": 1, "bbox": [11.0, 11.0, 18.0, 18.0], "score": 0.9}]
    assert [score(annotations, found, ids).stats[0] for ids in ([1], [3], [1, 3])] == pytest.approx([1, 0, 0.5])
