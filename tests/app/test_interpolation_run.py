"""`--interpolate`: gaps of tracks that were found again, filled in `tracks.txt` when the run ends."""

from __future__ import annotations

import errno
from pathlib import Path

import material
import pytest

from fairmot.tracker.motchallenge import read_results
from run_track import main

A, B = (6, 5), (15, 9)
HIDDEN = range(7, 12)


@pytest.fixture(scope="module")
def sequence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sequences") / "seq"
    return material.write_sequence(folder, [[A] if number in HIDDEN else [A, B] for number in range(1, 17)])


def frames_by_id(folder: Path) -> dict[int, list[int]]:
    boxes = read_results(folder / "tracks.txt")
    return {identity: boxes.frames[boxes.ids == identity].tolist() for identity in sorted(set(boxes.ids.tolist()))}


@pytest.mark.parametrize(("stride", "numbers"), [(1, range(1, 17)), (3, range(1, 17, 3))])
def test_gaps_are_filled_in_the_frames_that_were_tracked(
    tmp_path: Path, weights: Path, sequence: Path, stride: int, numbers: range
) -> None:
    common = [str(sequence), "--weights", str(weights), "--output", str(tmp_path), "--stride", str(stride)]
    assert main(common) == 0
    seen = [number for number in numbers if number not in HIDDEN]
    assert sorted(frames_by_id(tmp_path / "seq").values()) == sorted([list(numbers), seen])
    before = (tmp_path / "seq" / "tracks.jsonl").read_text()
    rows = set((tmp_path / "seq" / "tracks.txt").read_text().splitlines())
    assert main([*common, "--interpolate"]) == 0
    assert list(frames_by_id(tmp_path / "seq").values()) == [list(numbers)] * 2
    assert (tmp_path / "seq" / "tracks.jsonl").read_text() == before, "what was written on the way stays"
    filled = (tmp_path / "seq" / "tracks.txt").read_text().splitlines()
    assert rows < set(filled)
    assert [int(row.split(",")[0]) for row in filled] == sorted(2 * list(numbers))


def test_scores_count_what_was_filled(tmp_path: Path, weights: Path, sequence: Path) -> None:
    truth = material.write_sequence(tmp_path / "seq", [[A, B]] * 16) / "gt" / "gt.txt"
    for image in sorted((sequence / "img1").iterdir()):
        (tmp_path / "seq" / "img1" / image.name).write_bytes(image.read_bytes())
    assert truth.is_file()
    common = [str(tmp_path / "seq"), "--weights", str(weights), "--output", str(tmp_path / "out"), "--eval"]
    for flag, misses in (("--no-interpolate", len(HIDDEN)), ("--interpolate", 0)):
        assert main([*common, flag]) == 0
        scores = (tmp_path / "out" / "seq" / "scores.json").read_text()
        assert f'"misses": {misses},' in scores


def test_a_full_disk_leaves_the_tracks_as_they_were(
    tmp_path: Path, weights: Path, sequence: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_space(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("fairmot.core.files.tempfile.NamedTemporaryFile", no_space)
    assert main([str(sequence), "--weights", str(weights), "--output", str(tmp_path), "--interpolate"]) == 1
    material.check_sentence(capsys.readouterr().err, r"Cannot write .*tracks\.txt: No space left on device")
    material.check_results(tmp_path / "seq", status="failed")
