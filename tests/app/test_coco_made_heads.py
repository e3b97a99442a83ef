"""Ground truth as heads through the whole way: decoding, boxes of the image, results.json, COCOeval."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from support import coco_set
from support.coco_set import Forward, MadeHeads, Object, Scene, fixed, kept

from fairmot.app.coco.command import Task, evaluate_detections
from fairmot.app.coco.detectors import NetworkDetector
from fairmot.app.coco.settings import DetectionSettings

Evaluate = Callable[..., dict[str, float]]


@pytest.fixture
def evaluate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Evaluate:
    """Return a function that evaluates made heads and returns the scores, with the results written to `tmp_path`."""

    def run(
        content: list[Scene],
        forwards: list[Forward],
        settings: DetectionSettings,
        resize: str = "linear",
        raw: bool = False,
        class_boxes: bool = False,
        change: Callable[[list[Scene]], None] = lambda content: None,
        **changes: Any,
    ) -> dict[str, float]:
        annotations = coco_set.write_set(tmp_path / "set", content, **changes)
        change(content)  # of what the network sees
        network = MadeHeads(coco_set.model_of(resize, raw=raw, class_boxes=class_boxes), content, forwards)
        task = Task(annotations, tmp_path / "set" / "images", tmp_path / "results.json")
        code = evaluate_detections(task, lambda clock: nullcontext(NetworkDetector(network, settings, None, clock)))
        assert code == 0
        printed = capsys.readouterr()
        lines = re.findall(r"\((AP|AR)\) @\[ IoU=(\S+)\s*\| area=\s*(\w+) \| maxDets=\s*(\d+) \] = (\S+)", printed.out)
        assert len(lines) == 12
        return {" ".join(words): float(number) for *words, number in lines}

    return run


AP = "AP 0.50:0.95 all 100"


@pytest.mark.parametrize("resize", ["linear", "linear-centered", "area"])
@pytest.mark.parametrize(
    ("forwards", "settings"),
    [
        (lambda resize: [fixed(resize)], DetectionSettings()),
        (lambda resize: [fixed(resize)], DetectionSettings(flip=True)),
        (lambda resize: [kept()], DetectionSettings(keep_res=True)),
        (
            lambda resize: [fixed(resize, factor=each) for each in (0.75, 1, 1.5)],
            DetectionSettings(scales=(0.75, 1, 1.5)),
        ),
        (lambda resize: [kept(each) for each in (1.25, 2)], DetectionSettings(True, (1.25, 2), True, nms=True)),
    ],
    ids=["plain", "flip", "keep-res", "scales", "all"],
)
def test_ground_truth_as_heads_is_found(
    resize: str, forwards: Callable[[str], list[Forward]], settings: DetectionSettings, evaluate: Evaluate
) -> None:
    scores = evaluate(coco_set.scenes(), forwards(resize), settings, resize)
    assert scores[AP] > 0.99
    assert scores["AR 0.50:0.95 all 100"] > 0.99


def test_raw_heads_are_finished(evaluate: Evaluate) -> None:
    scores = evaluate(coco_set.scenes(), [fixed("linear")], DetectionSettings(flip=True), raw=True)
    assert scores[AP] > 0.99


@pytest.mark.parametrize("flip", [False, True])
def test_every_class_may_have_a_box_of_its_own(flip: bool, evaluate: Evaluate) -> None:
    scores = evaluate(coco_set.scenes(), [fixed("linear")], DetectionSettings(flip=flip), class_boxes=True)
    assert scores[AP] > 0.99


def test_one_of_two_objects_in_a_cell_is_lost(evaluate: Evaluate) -> None:
    content = [Scene((128, 128), [Object(0, (65.0, 65.0), (8.0, 9.0, 10.0, 11.0), 0.9)])]
    content[0].objects.append(Object(0, (66.0, 66.0), (20.0, 30.0, 25.0, 22.0), 0.8))
    scores = evaluate(content, [fixed("linear")], DetectionSettings())
    assert scores["AR 0.50:0.95 all 100"] == 0.5


@pytest.mark.parametrize(
    ("change", "most"),
    [
        (lambda each: setattr(each, "class_id", (each.class_id + 1) % 3), 0.3),
        (lambda each: setattr(each, "sides", (each.sides[2], each.sides[1], each.sides[0], each.sides[3])), 0.9),
        (lambda each: setattr(each, "center", (each.center[0] + 3.0, each.center[1])), 0.9),
    ],
    ids=["classes", "sides", "positions"],
)
def test_wrong_heads_are_seen(change: Callable[[Object], None], most: float, evaluate: Evaluate) -> None:
    """Or the others would prove nothing."""

    def spoil(content: list[Scene]) -> None:
        for each in content[1].objects + content[2].objects:
            change(each)

    assert evaluate(coco_set.scenes(), [fixed("linear")], DetectionSettings(), change=spoil)[AP] < most


def test_what_is_found_in_a_crowd_does_not_count(evaluate: Evaluate) -> None:
    content = coco_set.scenes()
    content[0].crowds.clear()
    assert evaluate(content, [fixed("linear")], DetectionSettings())[AP] < 0.98


def test_results_are_those_of_coco(evaluate: Evaluate, tmp_path: Path) -> None:
    content = coco_set.scenes()
    evaluate(content, [fixed("linear")], DetectionSettings())
    results = json.loads((tmp_path / "results.json").read_text())
    assert len(results) == sum(len(scene.objects) for scene in content)
    assert {each["image_id"] for each in results} == {500, 501, 502, 503}
    assert {each["category_id"] for each in results} == {1, 3, 18}
    numbers = [number for each in results for number in (*each["bbox"], each["score"])]
    assert all(round(number, 2) == number for number in numbers)
    best = max(content[2].objects, key=lambda each: each.score)
    first = next(each for each in results if each["image_id"] == 502)
    assert first["bbox"] == pytest.approx(best.bbox, abs=0.006)
    assert first["category_id"] == coco_set.CATEGORY_IDS[coco_set.NAMES[best.class_id]]


def test_an_image_has_at_most_100_results(evaluate: Evaluate, tmp_path: Path) -> None:
    crowded = Scene((128, 128))
    for row in range(11):
        for column in range(11):
            center = (9.0 + 11 * column, 9.0 + 11 * row)
            crowded.objects.append(Object(1, center, (4.0, 4.0, 4.0, 4.0), 0.2 + 0.006 * len(crowded.objects)))
    scores = evaluate([crowded], [fixed("linear")], DetectionSettings())
    results = json.loads((tmp_path / "results.json").read_text())
    assert len(results) == 100
    assert min(each["score"] for each in results) == pytest.approx(0.2 + 0.006 * 21, abs=0.006)
    assert scores["AR 0.50:0.95 all 100"] == pytest.approx(100 / 121, abs=0.001)
