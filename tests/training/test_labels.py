"""Labels and pictures of the user's own folders: what is read, and what is refused in one sentence."""

import cv2
import numpy as np
import pytest
from trainee import blobs, write_folder

from core.errors import ConfigError, SourceError
from training.loading import HELD_OUT, load_samples
from training.samples import Kind, crop_sheets, is_named, read_labels, scene_of
from training.settings import TrainSettings

MINE = TrainSettings(sets={"mine": 1.0}, workers=1)


def test_labels(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("0 7 0.5 0.5 0.2 0.4\n-1 -1 0.25 0.25 0.5 0.5\n\n")
    tlbr, kinds, identities = read_labels(path, 200, 100)
    assert np.allclose(tlbr, [[80, 30, 120, 70], [0, 0, 100, 50]])
    assert kinds.tolist() == [Kind.PERSON, Kind.IGNORE]
    assert identities.tolist() == [7, -1]


def test_labels_without_identities(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("\ufeff0 0.5 0.5 0.2 0.4\n0.0 3.0 1.1 0.5 0.4 1.2", encoding="utf-8")
    tlbr, kinds, identities = read_labels(path, 200, 100)
    assert np.allclose(tlbr, [[80, 30, 120, 70], [180, -10, 260, 110]])  # the second sticks out of the picture
    assert kinds.tolist() == [Kind.PERSON] * 2
    assert identities.tolist() == [-1, 3]


def test_empty_label_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("")
    tlbr, kinds, identities = read_labels(path, 200, 100)
    assert tlbr.shape == (0, 4)
    assert len(kinds) == len(identities) == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("person 1 0.5 0.5 0.2 0.4", 'Line 2 of .*a.txt must be the numbers "class id'),
        ("0 1 0.5 0.5", "Line 2 of .* must be the numbers"),
        ("0 0.1 0.1 0.2 0.1 0.2 0.2 0.1 0.2", "Line 2 of .* must be the numbers"),
        ("0 1 nan 0.5 0.2 0.4", "Line 2 of .* must be the numbers"),
        ("0 1 0.5 0.5 inf 0.4", "Line 2 of .* must be the numbers"),
        ("0 0.5 0.5 0.2 0.4 0.93", "whole numbers for class and id"),
        ("0.5 1 0.5 0.5 0.2 0.4", "whole numbers for class and id"),
        ("0 1 320 240 40 90", "not in pixels"),
        ("0 1 0.5 -0.7 0.2 0.4", "not in pixels"),
        ("0 1 0.5 0.5 0.2 -0.4", "not in pixels"),
    ],
)
def test_faulty_labels(tmp_path, line, message):
    path = tmp_path / "a.txt"
    path.write_text(f"0 7 0.5 0.5 0.2 0.4\n{line}\n")
    with pytest.raises(SourceError, match=message):
        read_labels(path, 200, 100)


def test_labels_that_are_no_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00\xd8")
    for path in (tmp_path / "a.txt", tmp_path):
        with pytest.raises(SourceError, match="cannot be read as text"):
            read_labels(path, 200, 100)


def test_a_fault_in_a_worker_names_the_file(tmp_path):
    write_folder(tmp_path, 2)
    (tmp_path / "mine" / "labels_with_ids" / "camera1_frame_1.txt").write_text("0 0.5\n")
    with pytest.raises(SourceError, match=r"Line 1 of .*camera1_frame_1.txt"):
        load_samples(tmp_path, MINE)


def test_missing_label_files(tmp_path):
    write_folder(tmp_path, 4)
    labels = tmp_path / "mine" / "labels_with_ids"
    for number in (1, 3):
        (labels / f"camera1_frame_{number}.txt").unlink()
    with pytest.raises(SourceError, match=r"2 of 4 pictures of .*mine have no label file, as .*camera1_frame_1.txt"):
        load_samples(tmp_path, MINE)
    labels.rename(tmp_path / "mine" / "annotations")
    with pytest.raises(SourceError, match=r"There is no folder labels_with_ids \(or labels\)"):
        load_samples(tmp_path, MINE)


def test_folder_named_labels(tmp_path):
    write_folder(tmp_path, 2)
    (tmp_path / "mine" / "labels_with_ids").rename(tmp_path / "mine" / "labels")
    assert [len(sample.kinds) for sample in load_samples(tmp_path, MINE)] == [4, 4]


@pytest.mark.parametrize("content", ["", "-1 -1 0.5 0.5 0.1 0.1"])
def test_nothing_is_labelled(tmp_path, content):
    write_folder(tmp_path, 2)
    for path in (tmp_path / "mine" / "labels_with_ids").iterdir():
        path.write_text(content)
    with pytest.raises(ConfigError, match="No picture to train on has a label"):
        load_samples(tmp_path, MINE)


def test_more_processes_than_pictures(tmp_path):
    write_folder(tmp_path, 2)
    with pytest.raises(ConfigError, match="too few pictures for 3 processes"):
        load_samples(tmp_path, MINE, 2, 3)


def test_pictures_of_several_formats(tmp_path):
    write_folder(tmp_path, 4)
    images = tmp_path / "mine" / "images"
    for number, ending in ((0, "png"), (1, "JPEG"), (2, "JPG")):
        path = images / f"camera{number % 2}_frame_{number}.jpg"
        path.unlink()
        cv2.imwrite(str(path.with_suffix(f".{ending}")), blobs(number).image)
    (images / "notes.txt").write_text("none")
    assert [sample.name for sample in load_samples(tmp_path, MINE)] == [
        f"mine/camera{i % 2}_frame_{i}" for i in (0, 2, 1, 3)
    ]


def test_no_pictures(tmp_path):
    with pytest.raises(SourceError, match=r"There are no images in .*images: files \*\.jpg, \*\.jpeg or \*\.png"):
        load_samples(tmp_path, MINE)
    with pytest.raises(SourceError, match=r"There are no images in .*market1501"):
        list(crop_sheets(tmp_path, 1, 0, lambda number, scene: True))


def test_names_of_crops(tmp_path):
    (tmp_path / "market1501").mkdir()
    cv2.imwrite(str(tmp_path / "market1501" / "someone.jpg"), np.zeros((128, 64, 3), np.uint8))
    with pytest.raises(SourceError, match="must begin with a person's number"):
        list(crop_sheets(tmp_path, 1, 0, lambda number, scene: True))


@pytest.mark.parametrize(
    ("name", "entry", "expected"),
    [
        ("street/cam1_0001", "street/cam1", True),
        ("street/cam1_0001", "street/cam1_", True),
        ("street/cam1_0001", "street/cam1_*", True),
        ("street/cam1_0001", "street/cam1_0001", True),
        ("street/cam1_0001", "*/cam1_*", True),
        ("street/cam10_0001", "street/cam1", False),
        ("street/cam10_0001", "street/cam1_*", False),
        ("street/cam1_0001", "street/ca", False),
        ("street-2/cam1_0001", "street", False),
        ("street/cam1_0001", "street/Cam1", False),
        ("street/cam1_0001", "", False),
        ("caltech/set07_V000_01125", "caltech/set07_V000", True),
        ("factory/video5_frame_335_jpg", "factory/video5", True),
        ("scene/12", "scene/1", False),
    ],
)
def test_names_of_held_out_pictures(name, entry, expected):
    assert is_named(name, entry) == expected


@pytest.mark.parametrize(
    ("name", "scene"),
    [
        ("caltech/set07_V000_01125", "caltech/set07_V000"),
        ("factory/video5_frame_335_jpg", "factory/video5"),
        ("street/cam1.0001", "street/cam1"),
        ("street/2024-01-02", "street/2024-01"),
        ("scene/12", "scene/12"),
        ("coco128/000000000776", "coco128/000000000776"),
    ],
)
def test_scenes(name, scene):
    assert scene_of(name) == scene


@pytest.mark.parametrize("entry", ["mine/camera1", "mine/camera1_*", "mine/camera1_frame_[135]"])
def test_held_out_pictures(tmp_path, entry, caplog):
    write_folder(tmp_path, 6)
    settings = TrainSettings(sets={"mine": 1.0}, workers=1, held_out=(entry,))
    held_out = [sample for sample in load_samples(tmp_path, settings) if sample.group == HELD_OUT]
    assert [sample.name for sample in held_out] == [f"mine/camera1_frame_{i}" for i in (1, 3, 5)]
    assert "no validation" not in caplog.text


def test_nothing_is_held_out(tmp_path, caplog):
    write_folder(tmp_path, 2)
    load_samples(tmp_path, MINE)
    assert "There will be no validation" in caplog.text
    with pytest.raises(ConfigError, match=r'"mine/camera" names no picture: .* Did you mean "mine/camera'):
        load_samples(tmp_path, TrainSettings(sets={"mine": 1.0}, workers=1, held_out=("mine/camera",)))
