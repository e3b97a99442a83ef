"""The results of a run without errors."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest
from support import blob_network, material
from support.commands import track as main


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return material.write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4")


def test_every_file_of_a_run(tmp_path: Path, weights: Path, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(clip), "--weights", str(weights), "--output", str(tmp_path)]) == 0
    folder = tmp_path / "clip"
    assert sorted(path.name for path in folder.iterdir()) == ["run.json", "tracked.mp4", "tracks.jsonl", "tracks.txt"]
    assert material.check_results(folder, status="complete") == 12
    for line in material.read_lines(folder):
        boxes = sorted(track["box"] for track in line["tracks"])
        for (left, top, width, height), cell in zip(boxes, material.PEOPLE, strict=True):
            expected = blob_network.expected_box(*cell)
            assert [left, top, left + width, top + height] == pytest.approx(expected, abs=0.5)
    report = material.read_run(folder)
    assert report["location"] == str(clip.resolve())
    assert (report["identities"], report["first_frame"]) == (2, 1)
    assert list(report["milliseconds"]) == ["read", "letterbox", "network", "decode", "track", "write"]
    assert report["source"]["frame_rate"] == 25
    assert report["engine"]["name"] == "onnxruntime"
    assert report["model"]["architecture"] == "blobs"
    assert report["configuration"]["tracker"]["confidence_threshold"] == 0.4
    assert {"python", "numpy", "onnxruntime", "opencv", "av"} <= {
        key for key, value in report["versions"].items() if value
    }
    *_, engine, summary = capsys.readouterr().out.splitlines()  # before it, a line on Python 3.10
    assert engine.startswith("ONNX Runtime")
    assert summary.startswith("clip: 12 frames, 2 identities, ")
    assert summary.endswith(f"-> {folder}")


def test_flags_and_files_reach_the_run(tmp_path: Path, weights: Path, clip: Path) -> None:
    settings = tmp_path / "mine.yaml"
    settings.write_text(f"weights: {weights}\nvideo: true\nframes: 9\ntracker:\n  min_box_area: 1e9\n")
    common = [str(clip), "--config", str(settings), "--output", str(tmp_path / "out")]
    assert main([*common, "--no-video", "--start", "4", "--stride", "3", "--size", "192x128"]) == 0
    folder = tmp_path / "out" / "clip"
    assert not (folder / "tracked.mp4").exists()
    assert [line["frame"] for line in material.read_lines(folder)] == [4, 7, 10]
    assert all(line["tracks"] == [] for line in material.read_lines(folder)), "boxes this small are not reported"
    report = material.read_run(folder)
    assert report["engine"]["input_size"] == [192, 128]
    assert report["configuration"]["frames"] == 9


def test_results_of_an_earlier_run_do_not_stay(tmp_path: Path, weights: Path) -> None:
    sequence = material.write_sequence(tmp_path / "seq", [material.PEOPLE] * 3)
    common = [str(sequence), "--weights", str(weights), "--output", str(tmp_path / "out")]
    assert main([*common, "--eval"]) == 0
    assert main([*common, "--no-video"]) == 0
    left = sorted(path.name for path in (tmp_path / "out" / "seq").iterdir())
    assert left == ["run.json", "tracks.jsonl", "tracks.txt"]


def test_eval_scores_the_frames_that_were_processed(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A third person is there only in frames that are left out.
    frames = [[*material.PEOPLE, (20, 4)] if number % 2 == 0 else material.PEOPLE for number in range(1, 13)]
    sequence = material.write_sequence(tmp_path / "seq", frames)
    common = [str(sequence), "--weights", str(weights), "--output", str(tmp_path / "out"), "--eval"]
    assert main([*common, "--start", "3", "--stride", "2", "--frames", "4"]) == 0
    scores = json.loads((tmp_path / "out" / "seq" / "scores.json").read_text())
    assert (scores["frames"], scores["gt_boxes"], scores["misses"], scores["false_positives"]) == (4, 8, 0, 0)
    assert (scores["mota"], scores["idf1"]) == (1.0, 1.0)
    assert "100.0" in capsys.readouterr().out
    assert not (tmp_path / "out" / "scores.json").exists()


def test_a_folder_of_sequences_gets_a_common_table(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, count in (("A", 4), ("B", 6)):
        material.write_sequence(tmp_path / "set" / name, [material.PEOPLE] * count)
    output = tmp_path / "out"
    assert main([str(tmp_path / "set"), "--weights", str(weights), "--output", str(output), "--eval"]) == 0
    scores = json.loads((output / "scores.json").read_text())
    assert scores["combined"]["gt_boxes"] == 20
    assert {name: each["frames"] for name, each in scores["sequences"].items()} == {"A": 4, "B": 6}
    assert "combined" in capsys.readouterr().out


def test_one_source_that_fails_does_not_stop_the_others(
    tmp_path: Path, weights: Path, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--weights", str(weights), "--output", str(tmp_path / "out"), "--no-video"]
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    assert main([str(bad), str(tmp_path / "*.avi"), str(clip), *common]) == 1
    assert len(material.read_lines(tmp_path / "out" / "clip")) == 12
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert "*.avi" in errors[0]
    assert "bad.mp4" in errors[1]


def test_sources_of_one_name_keep_their_own_folders(tmp_path: Path, weights: Path) -> None:
    first = material.write_clip(tmp_path / "a" / "clip.mp4", 3)
    second = material.write_clip(tmp_path / "b" / "Clip.mp4", 5)
    output = tmp_path / "out"
    common = ["--weights", str(weights), "--output", str(output), "--no-video"]
    assert main([str(first), str(second), *common]) == 0
    assert len(material.read_lines(output / "clip")) == 3
    assert len(material.read_lines(output / "Clip-2")) == 5
    # Alone and later it finds its folder again.
    third = material.write_clip(tmp_path / "c" / "clip.mp4", 7)
    for source, folder, count in ((third, "clip-2", 7), (first, "clip", 3), (third, "clip-2", 7)):
        assert main([str(source), *common]) == 0
        assert len(material.read_lines(output / folder)) == count
    assert len(material.read_lines(output / "Clip-2")) == 5


def test_results_never_replace_their_own_source(tmp_path: Path, weights: Path) -> None:
    source = material.write_clip(tmp_path / "out" / "tracked" / "tracked.mp4", 4)
    before = source.read_bytes()
    assert main([str(source), "--weights", str(weights), "--output", str(tmp_path / "out")]) == 0
    assert source.read_bytes() == before
    assert material.check_results(tmp_path / "out" / "tracked-2", status="complete") == 4


def test_the_tracker_knows_that_frames_are_left_out(tmp_path: Path, weights: Path) -> None:
    """Lost tracks are kept for a second: 30 of all frames, 6 of every fifth."""
    gap = 40
    frames = [material.PEOPLE[:1] if number <= 15 or number > 15 + gap else [] for number in range(1, 76)]
    sequence = material.write_sequence(tmp_path / "seq", frames, rate=30)
    common = [str(sequence), "--weights", str(weights), "--output", str(tmp_path / "out"), "--no-video"]
    identities = []
    for buffer in ("30", "60"):
        assert main([*common, "--stride", "5", "--tracker.lost_track_buffer", buffer]) == 0
        identities.append(material.read_run(tmp_path / "out" / "seq")["identities"])
    assert identities == [2, 1]


def test_the_progress_bar_shows_on_a_terminal(tmp_path: Path, weights: Path) -> None:
    clip = material.write_clip(tmp_path / "clip.mp4", 400)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        material.command(clip, "--weights", weights, "--output", tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 4096):
            shown += chunk
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(ours)
    assert process.wait(timeout=30) == 0
    assert b"frames/s" in shown
    assert b"2 tracks" in shown
    assert b"/400" in shown
