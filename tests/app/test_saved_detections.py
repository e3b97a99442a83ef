"""`--save-detections`: streams that give the association alone what the run had."""

from __future__ import annotations

import resource
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from support import material
from support.commands import associate

from fairmot.tracker.detection_file import read_detection_file
from run_track import main

HIDDEN = range(9, 13)  # frames without the second person


@pytest.fixture(scope="module")
def sequence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people walk towards each other; one is hidden for a while, and a third comes late."""
    frames = []
    for number in range(1, 26):
        cells = [(4 + number // 4, 5)]
        cells += [] if number in HIDDEN else [(20 - number // 4, 9)]
        cells += [(11, 13)] if number > 15 else []
        frames.append(cells)
    return material.write_sequence(tmp_path_factory.mktemp("sequences") / "walk", frames)


@pytest.mark.parametrize(
    ("selection", "settings", "numbers"),
    [
        ([], {}, range(1, 26)),
        (["--start", "3", "--stride", "2"], {}, range(3, 26, 2)),
        (["--split", "val-half"], {}, range(13, 26)),
        (["--frames", "20"], {"use_embeddings": False, "lost_track_buffer": 2, "min_box_area": 1}, range(1, 21)),
    ],
    ids=["all", "part", "val-half", "other settings"],
)
def test_association_alone_gives_the_same_text(
    tmp_path: Path, weights: Path, sequence: Path, selection: list[str], settings: dict[str, object], numbers: range
) -> None:
    stream, again = tmp_path / "new" / "walk.npz", tmp_path / "again.txt"
    flags = [f"--{name}={str(value).lower()}" for name, value in settings.items()]
    common = [str(sequence), "--weights", str(weights), "--output", str(tmp_path / "out"), "--no-video"]
    for_tracker = [flag.replace("--", "--tracker.") for flag in flags]
    assert main([*common, "--save-detections", str(stream), *selection, *for_tracker]) == 0
    associate([str(stream), "-o", str(again), *flags], str)
    text = (tmp_path / "out" / "walk" / "tracks.txt").read_text()
    assert again.read_text() == text
    assert {line.split(",")[1] for line in text.splitlines()} >= {"1", "2"}
    content = read_detection_file(stream)
    assert content.frames.tolist() == list(numbers)
    assert (content.frame_rate, content.size) == (25 / numbers.step, material.SIZE)
    assert {found.embeddings.shape[1] for found in content.detections.values()} == {8}


def test_a_killed_run_leaves_what_it_found(tmp_path: Path, weights: Path) -> None:
    clip = material.write_clip(tmp_path / "clip.mp4", 2000)
    stream = tmp_path / "clip.npz"
    common = [clip, "--weights", weights, "--output", tmp_path / "out", "--no-video", "--save-detections", stream]
    with subprocess.Popen(material.command(*common), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        deadline = time.monotonic() + 60
        while not (stream.exists() and stream.stat().st_size > 3000):
            assert run.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
        run.kill()
    lines = (tmp_path / "out" / "clip" / "tracks.txt").read_text().splitlines()
    associate([str(stream), "-o", str(tmp_path / "again.txt")], str)
    again = (tmp_path / "again.txt").read_text().splitlines()
    assert len(again) > 10
    assert again[: len(lines) - 1] == lines[: len(lines) - 1][: len(again)]
    assert len(read_detection_file(stream)) >= int(lines[-2].split(",")[0])


def test_a_full_disk(tmp_path: Path, weights: Path) -> None:
    clip = material.write_clip(tmp_path / "clip.mp4", 50)
    stream = tmp_path / "clip.npz"
    common = [clip, "--weights", weights, "--output", tmp_path / "out", "--no-video", "--save-detections", stream]
    done = material.run(*common, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000)))
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(read_detection_file(stream)) > 5
    assert not list(tmp_path.rglob("*.part"))


def test_a_folder_takes_the_streams_of_several_sources(tmp_path: Path, weights: Path) -> None:
    for name, count in (("a", 3), ("b", 5)):
        material.write_clip(tmp_path / name / "clip.mp4", count)
    common = ["--weights", str(weights), "--output", str(tmp_path / "out"), "--no-video"]
    assert main([str(tmp_path / "*" / "clip.mp4"), *common, "--save-detections", str(tmp_path / "streams")]) == 0
    lengths = {path.name: len(read_detection_file(path)) for path in (tmp_path / "streams").iterdir()}
    assert lengths == {"clip.npz": 3, "clip-2.npz": 5}
    # A folder may have the ending of a file, and one source may go into a folder.
    (tmp_path / "old.npz").mkdir()
    assert main([str(tmp_path / "a" / "clip.mp4"), *common, f"--save_detections={tmp_path / 'old.npz'}"]) == 0
    assert [path.name for path in (tmp_path / "old.npz").iterdir()] == ["clip.npz"]


def test_frames_without_people_are_frames(tmp_path: Path, weights: Path) -> None:
    sequence = material.write_sequence(tmp_path / "empty", [[], [], []])
    stream = tmp_path / "empty.npz"
    common = [str(sequence), "--weights", str(weights), "--output", str(tmp_path / "out")]
    assert main([*common, "--save-detections", str(stream)]) == 0
    assert [len(detections) for _, detections in read_detection_file(stream)] == [0, 0, 0]


def test_one_file_for_several_sources(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = material.write_clip(tmp_path / "clip.mp4", 2)
    common = [str(clip), str(clip), "--weights", str(weights), "--output", str(tmp_path / "out")]
    assert main([*common, "--save-detections", "all.npz"]) == 2
    material.check_sentence(capsys.readouterr().err, r"There are 2 sources; let --save-detections be a folder")
    assert not (tmp_path / "out").exists()


def test_a_file_that_cannot_be_written_is_known_before_the_first_frame(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = material.write_clip(tmp_path / "clip.mp4", 2)
    (tmp_path / "taken").write_text("a file, so no folder")
    common = [str(clip), "--weights", str(weights), "--output", str(tmp_path / "out")]
    assert main([*common, "--save-detections", str(tmp_path / "taken")]) == 1
    material.check_sentence(capsys.readouterr().err, r"taken/clip\.npz cannot be written")
    assert not list(tmp_path.rglob("tracks.txt"))


def test_the_camera_is_followed(tmp_path: Path, weights: Path) -> None:
    """The image jumps; a box that follows it is where the person is, one that does not lags."""
    random = np.random.default_rng(3)
    wall = np.repeat(np.repeat(random.integers(0, 100, (16, 60, 1)), 6, axis=0), 6, axis=1).astype(np.uint8)
    images = []
    for number in range(1, 13):
        shift = 0 if number < 8 else 12
        image = np.ascontiguousarray(np.broadcast_to(wall[:64, 24 - shift : 216 - shift], (64, 192, 3)))
        image[24:28, 60 + shift : 64 + shift] = 255
        images.append(image)
    material.write_images(tmp_path / "pan", images)
    common = [str(tmp_path / "pan"), "--weights", str(weights), "--output", str(tmp_path / "out"), "--no-video"]
    errors = []
    for flag in ("--no-gmc", "--gmc"):
        assert main([*common, "--size", "192x64", flag]) == 0
        folder = tmp_path / "out" / "pan"
        boxes = [line["tracks"][0]["box"] for line in material.read_lines(folder)]
        errors.append(abs(boxes[7][0] - boxes[6][0] - 12))
        assert ("camera" in material.read_run(folder)["milliseconds"]) is (flag == "--gmc")
    assert errors[1] < 0.3 < 1 < errors[0]
