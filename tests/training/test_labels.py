"""Labels and images of the user's own folders: read, or refused with one line."""

import cv2
import numpy as np
import pytest
from trainee import blobs, write_folder

from fairmot.core.errors import ConfigError, SourceError
from fairmot.training.loading import HELD_OUT, load_samples
from fairmot.training.samples import Kind, crop_sheets, is_named, read_labels, scene_of
from fairmot.training.settings import TrainSettings

PEOPLE = {0: 0}
MINE = TrainSettings(sets={"mine": 1.0}, workers=1)


def test_labels(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("0 7 0.5 0.5 0.2 0.4\n-1 -1 0.25 0.25 0.5 0.5\n\n")
    labels = read_labels(path, 200, 100, PEOPLE)
    assert np.allclose(labels.tlbr, [[80, 30, 120, 70], [0, 0, 100, 50]])
    assert labels.kinds.tolist() == [Kind.PERSON, Kind.IGNORE]
    assert labels.identities.tolist() == [7, -1]


def test_labels_without_identities(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("\ufeff0 0.5 0.5 0.2 0.4\n0.0 3.0 1.1 0.5 0.4 1.2", encoding="utf-8")
    labels = read_labels(path, 200, 100, PEOPLE)
    assert np.allclose(labels.tlbr, [[80, 30, 120, 70], [180, -10, 260, 110]])  # the second sticks out of the image
    assert labels.kinds.tolist() == [Kind.PERSON] * 2
    assert labels.identities.tolist() == [-1, 3]


def test_labels_of_several_classes(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("".join(f"{number} 1 0.5 0.5 0.1 0.1\n" for number in (2, 0, 7, -1, 5, 7)))
    labels = read_labels(path, 200, 100, {0: 0, 2: 1, 5: 1})
    assert labels.classes.tolist() == [1, 0, -1, 1]
    assert labels.kinds.tolist() == [Kind.PERSON, Kind.PERSON, Kind.IGNORE, Kind.PERSON]
    assert labels.left_out == {7: 2}


def test_empty_label_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("")
    labels = read_labels(path, 200, 100, PEOPLE)
    assert labels.tlbr.shape == (0, 4)
    assert len(labels.kinds) == len(labels.classes) == len(labels.identities) == 0


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
def test_invalid_labels(tmp_path, line, message):
    path = tmp_path / "a.txt"
    path.write_text(f"0 7 0.5 0.5 0.2 0.4\n{line}\n")
    with pytest.raises(SourceError, match=message):
        read_labels(path, 200, 100, PEOPLE)


def test_labels_that_are_no_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00\xd8")
    for path in (tmp_path / "a.txt", tmp_path):
        with pytest.raises(SourceError, match="cannot be read as text"):
            read_labels(path, 200, 100, PEOPLE)


def test_an_error_in_a_worker_names_the_file(tmp_path):
    write_folder(tmp_path, 2)
    (tmp_path / "mine" / "labels_with_ids" / "camera1_frame_1.txt").write_text("0 0.5\n")
    with pytest.raises(SourceError, match=r"Line 1 of .*camera1_frame_1.txt"):
        load_samples(tmp_path, MINE)


def test_missing_label_files(tmp_path):
    write_folder(tmp_path, 4)
    labels = tmp_path / "mine" / "labels_with_ids"
    for number in (1, 3):
        (labels / f"camera1_frame_{number}.txt").unlink()
    with pytest.raises(SourceError, match=r"2 of 4 images of .*mine have no label file, as .*camera1_frame_1.txt"):
        load_samples(tmp_path, MINE)
    labels.rename(tmp_path / "mine" / "annotations")
    with pytest.raises(SourceError, match=r"There is no folder labels_with_ids \(or labels\)"):
        load_samples(tmp_path, MINE)


def test_folder_named_labels(tmp_path):
    write_folder(tmp_path, 2)
    (tmp_path / "mine" / "labels_with_ids").rename(tmp_path / "mine" / "labels")
    assert [len(sample.kinds) for sample in load_samples(tmp_path, MINE)] == [4, 4]


@pytest.mark.parametrize("content", ["", "-1 -1 0.5 0.5 0.1 0.1"])
def test_nothing_is_labeled(tmp_path, content):
    write_folder(tmp_path, 2)
    for path in (tmp_path / "mine" / "labels_with_ids").iterdir():
        path.write_text(content)
    with pytest.raises(ConfigError, match="No image to train on has a label that counts"):
        load_samples(tmp_path, MINE)


def test_more_processes_than_images(tmp_path):
    write_folder(tmp_path, 2)
    with pytest.raises(ConfigError, match="too few images for 3 processes"):
        load_samples(tmp_path, MINE, 2, 3)


def test_images_of_several_formats(tmp_path):
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


def test_no_images(tmp_path):
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
def test_names_of_held_out_images(name, entry, expected):
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
def test_held_out_images(tmp_path, entry, caplog):
    write_folder(tmp_path, 6)
    settings = TrainSettings(sets={"mine": 1.0}, workers=1, held_out=(entry,))
    held_out = [sample for sample in load_samples(tmp_path, settings) if sample.group == HELD_OUT]
    assert [sample.name for sample in held_out] == [f"mine/camera1_frame_{i}" for i in (1, 3, 5)]
    assert "no validation" not in caplog.text


def test_nothing_is_held_out(tmp_path, caplog):
    write_folder(tmp_path, 2)
    load_samples(tmp_path, MINE)
    assert "There will be no validation" in caplog.text
    with pytest.raises(ConfigError, match=r'"mine/camera" names no image: .* Did you mean "mine/camera'):
        load_samples(tmp_path, TrainSettings(sets={"mine": 1.0}, workers=1, held_out=("mine/camera",)))


def number_anew(root, numbers):
    """Set the class numbers of the labels of every image of the set `mine`."""
    for path in (root / "mine" / "labels_with_ids").iterdir():
        lines = zip(numbers, path.read_text().splitlines(), strict=True)
        path.write_text("\n".join(f"{number} {line.split(maxsplit=1)[1]}" for number, line in lines))


def test_labels_of_other_numbers_are_left_out(tmp_path, caplog):
    write_folder(tmp_path, 3)
    number_anew(tmp_path, (0, 2, 7, 2))
    caplog.set_level("INFO")
    assert [sample.classes.tolist() for sample in load_samples(tmp_path, MINE)] == [[0]] * 3
    assert "Labels of mine left out: 6 of class 2, 3 of class 7" in caplog.text
    number_anew(tmp_path, (3, 2, 7, 2))
    with pytest.raises(ConfigError, match=r"No image to train on has a label .* classes {'person': \(0,\)}"):
        load_samples(tmp_path, MINE)


def test_people_come_first(tmp_path):
    write_folder(tmp_path, 2)
    number_anew(tmp_path, (0, 2, 7, 1))
    settings = TrainSettings(sets={"mine": 1.0}, workers=1, classes={"car": (2, 7), "person": (0,)})
    assert settings.class_names == ["person", "car"]
    assert [sample.classes.tolist() for sample in load_samples(tmp_path, settings)] == [[0, 1, 1]] * 2
    assert TrainSettings(classes={"car": (2,), "bus": (1,)}).class_names == ["bus", "car"]


def test_classes_that_are_not_labeled_in_a_set_are_ignored_in_its_images(tmp_path):
    write_folder(tmp_path, 2)
    number_anew(tmp_path, (0, 2, 7, 1))
    classes = {"person": (0,), "car": (2, 7), "dog": (16,)}
    settings = TrainSettings(sets={"mine": 1.0}, workers=1, classes=classes, labeled={"mine": ("person", "car")})
    sample, _ = load_samples(tmp_path, settings)
    assert sample.classes.tolist() == [0, 1, 1, 2]
    assert sample.kinds.tolist() == [Kind.PERSON] * 3 + [Kind.IGNORE]
    height, width = sample.image.shape[:2]
    assert sample.tlbr[-1].tolist() == [0, 0, width, height]


@pytest.mark.parametrize(
    ("labeled", "message"),
    [
        ({"his": ("person",)}, r"settings.labeled must name folders of settings.sets \(mine\), not his"),
        ({"scene": ("person",)}, r"folders of settings.sets \(mine\), not scene"),
        ({"mine": ("cat",)}, r"must give mine names of settings.classes \(person\), not cat"),
    ],
)
def test_invalid_labeled_classes(labeled, message):
    with pytest.raises(ConfigError, match=message):
        TrainSettings(sets={"mine": 0.5, "scene": 0.5}, labeled=labeled)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({}, "Name at least one class"),
        ({"person": ()}, "each with its label numbers"),
        ({"person": (0,), "rider": (0,)}, "Label number 0 of the class rider"),
        ({"person": (-1,)}, "Label number -1"),
        ({"car": (2,)}, "The set scene shows people: add the class person"),
    ],
)
def test_invalid_classes(tmp_path, classes, message):
    with pytest.raises(ConfigError, match=message):
        load_samples(tmp_path, TrainSettings(sets={"mine": 0.5, "scene": 0.5}, classes=classes))
