"""Several classes, from the network to every file of a run."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from support import blob_network, material
from support.commands import associate
from support.commands import track as main

import fairmot
from fairmot.core.records import Detections
from fairmot.core.tracked_classes import TrackedClasses
from fairmot.tracker.detection_file import DetectionWriter, read_detection_file

NAMES = ["person", "car", "bus, long"]
PERSON, CAR = (6, 5), (15, 9)  # cells: white squares are people, and cyan ones cars
FILES = ["tracks.txt", "tracks.jsonl", "tracks.csv"]


def network(names: list[str], threshold: str = "0.4") -> onnx.ModelProto:
    """The blob network with up to three classes: the first sees red, the others its absence in bright squares."""
    facts = blob_network.metadata(class_names=json.dumps(names), score_threshold=threshold)
    model = blob_network.build(facts)
    red, other = [20.0, 0.0, 0.0], [-20.0, 10.0, 10.0]
    values = {
        "brightness_weight_half": np.float16([red, other, [0.0, 0.0, 0.0]])[: len(names), :, None, None],
        "bias": np.full(len(names), -15.0, np.float32),
    }
    for tensor in model.graph.initializer:
        if tensor.name in values:
            tensor.CopyFrom(numpy_helper.from_array(values[tensor.name], tensor.name))
    shape = next(value for value in model.graph.output if value.name == "heatmap").type.tensor_type.shape
    shape.dim[1].dim_value = len(names)
    helper.set_model_props(model, {f"fairmot.{key}": value for key, value in facts.items()})
    return model


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return blob_network.save(tmp_path_factory.mktemp("weights") / "classes.onnx", network(NAMES))


@pytest.fixture(scope="module")
def sequence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images of a person and a car; the ground truth is of the person."""
    folder = material.write_sequence(tmp_path_factory.mktemp("sources") / "street", [[PERSON]] * 6)
    material.write_images(
        folder / "img1", [blob_network.image_of(material.SIZE, {PERSON: (255,) * 3, CAR: (255, 255, 0)})] * 6
    )
    return folder


def run(sequence: Path, weights: Path, output: Path, *options: str) -> Path:
    common = [str(sequence), "--weights", str(weights), "--output", str(output), "--no-video", "--csv"]
    assert main([*common, *options]) == 0
    return output / "street"


def test_every_file_names_the_class(tmp_path: Path, sequence: Path, weights: Path) -> None:
    saved = tmp_path / "street.npz"
    folder = run(sequence, weights, tmp_path, "--eval", "--interpolate", "--save-detections", str(saved))
    for line in material.read_lines(folder):
        assert [(each["class"], each["class_name"]) for each in line["tracks"]] == [(0, "person"), (1, "car")]
        assert "landmarks" not in line["tracks"][0]
    rows = [line.split(",") for line in (folder / "tracks.txt").read_text().splitlines()]
    assert [(row[1], *row[7:]) for row in rows] == [("1", "1", "-1", "-1"), ("2", "2", "-1", "-1")] * 6
    table = list(csv.DictReader((folder / "tracks.csv").open()))
    assert [(row["frame"], row["id"], row["class_id"], row["class_name"]) for row in table[-2:]] == [
        ("6", "1", "0", "person"),
        ("6", "2", "1", "car"),
    ]
    assert [table[0][key] for key in ("left", "top", "width", "height", "score")] == rows[0][2:7]
    scores = json.loads((folder / "scores.json").read_text())
    assert (scores["mota"], scores["false_positives"], scores["gt_boxes"]) == (1.0, 0, 6)
    assert read_detection_file(saved).classes == TrackedClasses.of(NAMES)
    associate([str(saved), "-o", str(tmp_path / "again.txt")], lambda line: None)
    assert (tmp_path / "again.txt").read_text() == (folder / "tracks.txt").read_text()


@pytest.mark.parametrize(("chosen", "class_id"), [("person", 0), ("Car", 1)])
def test_one_class_left_is_a_run_of_one_class(
    tmp_path: Path, sequence: Path, weights: Path, chosen: str, class_id: int
) -> None:
    saved = tmp_path / "street.npz"
    folder = run(sequence, weights, tmp_path, "--classes", chosen, "--save-detections", str(saved))
    tracks = [track for line in material.read_lines(folder) for track in line["tracks"]]
    assert [(track["id"], track["class"], "class_name" in track) for track in tracks] == [(1, class_id, False)] * 6
    text = (folder / "tracks.txt").read_text()
    assert all(line.endswith(",-1,-1,-1") for line in text.splitlines())
    found = read_detection_file(saved)
    assert {*np.concatenate([each.class_ids for _, each in found])} == {class_id}
    associate([str(saved), "-o", str(tmp_path / "again.txt")], lambda line: None)
    assert (tmp_path / "again.txt").read_text() == text
    if chosen == "person":  # byte for byte what a model of people alone writes
        people = blob_network.save(tmp_path / "people.onnx", network(["person"]))
        alone = run(sequence, people, tmp_path / "alone")
        assert [(alone / name).read_bytes() for name in FILES] == [(folder / name).read_bytes() for name in FILES]


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (["--classes", "perzon"], 2, 'no class "perzon"; choose from person, car, bus, long. Did you mean "person"?'),
        (["--classes", "car,bus"], 2, 'no class "bus"; choose from'),
        (["--eval", "--weights", "VEHICLES"], 2, "--eval scores people, and none of the tracked classes is person"),
    ],
)
def test_what_cannot_be_tracked(
    tmp_path: Path,
    sequence: Path,
    weights: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    code: int,
    sentence: str,
) -> None:
    vehicles = blob_network.save(tmp_path / "vehicles.onnx", network(["bike", "car", "bus"]))
    words = [str(vehicles) if word == "VEHICLES" else word for word in options]
    assert main([str(sequence), "--weights", str(weights), "--output", str(tmp_path / "out"), *words]) == code
    material.check_sentence(capsys.readouterr().err, "error: .*")
    assert not (tmp_path / "out").exists()


def test_the_sentence_of_an_unknown_class() -> None:
    with pytest.raises(
        fairmot.ConfigError, match=r'no class "perzon"; choose from person, car\. Did you mean "person"'
    ):
        TrackedClasses.of(["person", "car"], ["perzon"])


@pytest.mark.parametrize(("threshold", "given", "used"), [("0.3", [], 0.3), ("0.3", ["0.4"], 0.4)])
def test_the_confidence_of_the_model(
    tmp_path: Path, sequence: Path, threshold: str, given: list[str], used: float
) -> None:
    path = blob_network.save(tmp_path / "model.onnx", network(NAMES, threshold))
    flags = [f"--tracker.confidence_threshold={value}" for value in given]
    folder = run(sequence, path, tmp_path / "out", "--frames", "2", *flags)
    report = material.read_run(folder)
    assert report["configuration"]["tracker"]["confidence_threshold"] == used
    assert report["configuration"]["tracker"]["new_track_threshold"] is None


def test_the_file_of_a_killed_run_names_its_classes(tmp_path: Path) -> None:
    classes = TrackedClasses.of(NAMES, ["car", "person"])
    writer = DetectionWriter(tmp_path / "x.npz", 25.0, (96, 64), classes)
    box = np.float32([[1, 2, 30, 40]])
    writer.add(1, Detections(box, np.float32([0.9]), np.array([1]), np.zeros((1, 0), np.float32)), 0.0)
    killed = read_detection_file(tmp_path / "x.npz")
    writer.close()
    whole = read_detection_file(tmp_path / "x.npz")
    for found in (killed, whole):
        assert found.classes == classes
        assert [detections.class_ids.tolist() for _, detections in found] == [[1]]


def test_wrong_class_names_of_a_file(tmp_path: Path) -> None:
    common = {"frame": [1], "tlbr": [[1, 2, 30, 40]], "score": [0.9], "fps": 25, "n_frames": 1}
    for more in ({"class_names": ["a"], "classes": [1]}, {"class_names": ["a"], "classes": [0, 0]}):
        np.savez(tmp_path / "x.npz", **common, **more)
        with pytest.raises(fairmot.UserError, match="class_names must hold the names"):
            read_detection_file(tmp_path / "x.npz")
    np.savez(tmp_path / "x.npz", **common, class_names=[1])
    with pytest.raises(fairmot.UserError, match="something else than text in class_names"):
        read_detection_file(tmp_path / "x.npz")


def test_the_loop_of_the_public_api(tmp_path: Path, sequence: Path, weights: Path) -> None:
    with (
        fairmot.open_source(str(sequence)) as source,
        fairmot.open_engine(fairmot.EngineSettings(weights=weights)) as e,
    ):
        tracker = fairmot.FairMOTTracker(source.frame_rate, class_names=e.model.class_names)
        found = [tracks.class_ids.tolist() for _, tracks in fairmot.track_frames(source, e, tracker, classes=["car"])]
    assert found == [[1]] * 6


def test_resume_counts_the_classes(
    tmp_path: Path, sequence: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for chosen, again in (("person", False), ("person", True), ("car", False)):
        run(sequence, weights, tmp_path, "--resume", "--classes", chosen)
        assert ("already complete" in capsys.readouterr().out) is again
