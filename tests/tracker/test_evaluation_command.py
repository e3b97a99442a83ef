from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import evaluate as main

from fairmot.core.errors import UserError
from fairmot.tracker.evaluation import Split, evaluate, evaluate_sequence, find_sequences, split_frames

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data"
LENGTH = 11


def rows(frames: range, tail: str, left: int = 0) -> str:
    """Two people who stand."""
    return "".join(f"{frame},{id_},{left + 100 * id_},50,40,100,{tail}\n" for frame in frames for id_ in (1, 2))


def write_truth(folder: Path, name: str, tail: str = "1,1,1") -> Path:
    sequence = folder / name
    (sequence / "gt").mkdir(parents=True)
    (sequence / "gt" / "gt.txt").write_text(rows(range(1, LENGTH + 1), tail))
    (sequence / "seqinfo.ini").write_text(f"[Sequence]\nname={name}\nframeRate=30\nseqLength={LENGTH}\n")
    return sequence


def write_results(path: Path, frames: range = range(1, LENGTH + 1), left: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(rows(frames, "0.9,-1,-1,-1", left))
    return path


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two sequences; all of A is found, of B only the first half."""
    for name in ("A", "B"):
        write_truth(tmp_path / "gt", name)
    write_results(tmp_path / "results" / "A.txt")
    write_results(tmp_path / "results" / "B" / "tracks.txt", range(1, 6))
    return tmp_path / "gt", tmp_path / "results"


def failure(folders: tuple[Path, Path], *flags: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run the command, which must fail with one line, and return that line."""
    assert main([str(folders[0]), str(folders[1]), *flags]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("error: ")
    assert captured.err.endswith(".\n") or captured.err.endswith("?\n")
    return captured.err


def test_whole_command(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (folders[1] / "B" / "run.json").write_text('{"frames": 5, "configuration": {"stride": 1}, "versions": {}}')
    command = [
        sys.executable,
        "-m",
        "fairmot",
        "evaluate",
        *map(str, folders),
        "--json",
        str(tmp_path / "out" / "s.json"),
    ]
    environment = {**os.environ, "COLUMNS": "60"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("HOTA", "mot17, full", "combined", "100.000", "45.455", "72.727"):  # MOTA of A, B and both
        assert word in done.stdout
    written = json.loads((tmp_path / "out" / "s.json").read_text())
    assert written["sequences"]["A"]["mota"] == 1
    assert written["sequences"]["B"]["misses"] == written["combined"]["misses"] == 12
    assert written["combined"]["mota"] == pytest.approx(32 / 44)
    assert written["settings"]["benchmark"] == "mot17"
    assert written["settings"]["distractor_classes"] == [2, 7, 8, 12]
    assert written["settings"]["versions"]["motmetrics"]
    assert written["runs"] == {"A": None, "B": {"configuration": {"stride": 1}, "versions": {}}}


def test_second_half(folders: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert main([*map(str, folders), "--split", "val-half", "--json", str(tmp_path / "s.json")]) == 0
    written = json.loads((tmp_path / "s.json").read_text())
    assert [written["sequences"][name]["frames"] for name in "AB"] == [6, 6]
    assert [written["sequences"][name]["result_boxes"] for name in "AB"] == [12, 0]
    assert written["settings"]["split"] == "val-half"
    assert "no box in frames 6 to 11" in caplog.text


@pytest.mark.parametrize(
    ("length", "split", "first"), [(837, "full", 1), (837, "val-half", 419), (600, "val-half", 301), (1, "val-half", 1)]
)
def test_splits(length: int, split: Split, first: int) -> None:
    assert split_frames(length, split) == range(first, length + 1)


def test_chosen_sequences(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    write_truth(folders[0], "MOT17-02-SDP")
    write_results(folders[1] / "MOT17-02-SDP.txt")
    write_results(folders[1] / "else.txt")
    assert main([*map(str, folders), "--sequences", "*-SDP", "A"]) == 0
    shown = capsys.readouterr().out
    assert "MOT17-02-SDP" in shown
    assert "│ B" not in shown
    message = failure(folders, "--sequences", "A", "MOT20*", capsys=capsys)
    assert "is called MOT20*; there is A, B, MOT17-02-SDP." in message


def test_one_sequence_in_every_form(tmp_path: Path) -> None:
    sequence = write_truth(tmp_path / "gt", "A")
    results = write_results(tmp_path / "output" / "tracks.txt")
    write_results(tmp_path / "flat" / "A.txt")
    write_results(tmp_path / "nested" / "A" / "tracks.txt")
    for truth in (sequence, sequence / "gt" / "gt.txt"):
        for found in (results, tmp_path / "output", tmp_path / "flat", tmp_path / "nested"):
            (only,) = find_sequences(truth, found)
            assert (only.name, only.length) == ("A", LENGTH)
            assert evaluate_sequence(only).mota == 1
    (tmp_path / "plain").mkdir()
    (sequence / "gt" / "gt.txt").rename(tmp_path / "plain" / "A.txt")
    (only,) = find_sequences(tmp_path / "plain", tmp_path / "flat")
    assert (only.name, only.length) == ("A", None)
    assert evaluate_sequence(only).frames == LENGTH
    with pytest.raises(UserError, match=r"The length of A is not known.*seqinfo\.ini"):
        evaluate_sequence(only, "val-half")


def test_truth_without_results(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("C", "D", "E", "F"):
        write_truth(folders[0], name)
    message = failure(folders, capsys=capsys)
    assert f"{folders[1]} has no results of C, D, E and 1 more; track them too, or choose" in message


def test_results_without_truth(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    write_results(folders[1] / "AA.txt")
    message = failure(folders, capsys=capsys)
    assert "AA.txt belongs to no sequence" in message
    assert 'Did you mean "A"?' in message


def test_results_twice(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    write_results(folders[1] / "B.txt")
    assert "holds both B.txt and B/tracks.txt" in failure(folders, capsys=capsys)


def test_folders_without_files(folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "missing"
    assert f"{missing} does not exist; give a gt.txt" in failure((missing, folders[1]), capsys=capsys)
    assert f"{missing} does not exist; give a tracker" in failure((folders[0], missing), capsys=capsys)
    assert "holds no ground truth; give" in failure((tmp_path, folders[1]), capsys=capsys)
    assert "holds no results; there should be" in failure((folders[0], tmp_path), capsys=capsys)
    assert "holds no results of A" in failure((folders[0] / "A", tmp_path), capsys=capsys)
    assert "is a folder of sequences and" in failure((folders[0], folders[1] / "A.txt"), capsys=capsys)


def test_json_that_cannot_be_written(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*map(str, folders), "--json", str(folders[0])]) == 1
    assert "Cannot write" in capsys.readouterr().err


def test_unreadable_settings_of_a_run(
    folders: tuple[Path, Path], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (folders[1] / "B" / "run.json").write_text("[1,")
    assert main([*map(str, folders), "--json", str(tmp_path / "s.json")]) == 0
    assert json.loads((tmp_path / "s.json").read_text())["runs"]["B"] is None
    assert "run.json cannot be read" in caplog.text


def test_box_after_the_end(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    path = write_results(folders[1] / "A.txt", range(5, LENGTH + 2))
    message = failure(folders, capsys=capsys)
    assert f"{path} has a box in frame {LENGTH + 1}, but A ends with frame {LENGTH}; number" in message


@pytest.mark.parametrize("value", ["0", "-5", "1.5", "many", "inf"])
def test_length_that_is_none(folders: tuple[Path, Path], value: str, capsys: pytest.CaptureFixture[str]) -> None:
    (folders[0] / "A" / "seqinfo.ini").write_text(f"[Sequence]\nseqLength={value}\n")
    assert "seqLength must be a" in failure(folders, capsys=capsys)


def test_benchmark_of_the_truth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """MOT15's ground truth has no classes: it is recognized, and refused as MOT17's."""
    write_truth(tmp_path / "gt", "A", "-1,-1,-1,-1")
    write_results(tmp_path / "results" / "A.txt")
    folders = tmp_path / "gt", tmp_path / "results"
    assert main([*map(str, folders)]) == 0
    assert "mot15, full" in capsys.readouterr().out
    message = failure(folders, "--benchmark", "mot17", capsys=capsys)
    assert "gt.txt: the ground truth names no classes" in message
    (tmp_path / "gt" / "A" / "gt" / "gt.txt").write_text(rows(range(1, 3), "1,14,1"))
    assert "a box in frame 1 has class 14, and MOT17's classes are 1 to 13" in failure(folders, capsys=capsys)
    assert main([*map(str, folders), "--benchmark", "mot15"]) == 0


def test_order_of_rows_does_not_matter(folders: tuple[Path, Path]) -> None:
    truth, results = folders[0] / "A" / "gt" / "gt.txt", write_results(folders[1] / "A.txt", range(2, 9), left=7)
    before = evaluate(truth, results)
    for path in (truth, results):
        lines = path.read_text().splitlines()
        random.Random(0).shuffle(lines)
        path.write_text("\n".join(lines))
    assert evaluate(truth, results) == before
    assert 0 < before.hota < 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("3,1,0,0,10,10,1,-1,-1,-1", "line 23: identity 1 occurs twice in frame 3"),
        ("3,7,nan,0,10,10,1,-1,-1,-1", "line 23: values must be finite numbers"),
        ("3,7,0,0,-10,10,1,-1,-1,-1", "line 23: the width must not be negative"),
        ("3,7,0,0,1e200,10,1,-1,-1,-1", "line 23: the width must be at most 1000000000"),
        ("3,7,0,0,10,10,1", "line 23: this line has 7 columns"),
        ("3 7 0 0 10 10 1 -1 -1 -1", "line 23: every value must be a number"),
    ],
)
def test_faulty_results(
    folders: tuple[Path, Path], line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with (folders[1] / "A.txt").open("a") as file:
        file.write(line + "\n")
    assert f"{folders[1] / 'A.txt'}, {message}" in failure(folders, capsys=capsys)


def test_empty_files(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (folders[1] / "A.txt").write_text("")
    (folders[0] / "B" / "gt" / "gt.txt").write_text("\n")
    assert main([*map(str, folders), "--json", str(tmp_path / "s.json")]) == 0
    written = json.loads((tmp_path / "s.json").read_text())["sequences"]
    assert (written["A"]["hota"], written["A"]["mota"], written["A"]["loca"]) == (0, 0, None)
    assert (written["B"]["hota"], written["B"]["mota"], written["B"]["false_positives"]) == (0, None, 10)


def test_distractors_are_neither_found_nor_false(tmp_path: Path) -> None:
    """A result on a person in a car is taken out; one on a car is a false positive; flag 0 does not count."""
    truth, results = tmp_path / "gt.txt", tmp_path / "tracks.txt"
    kinds = [(1, 1), (0, 1), (0, 2), (0, 3), (1, 7), (0, 8), (0, 12)]  # flag, class
    truth.write_text("".join(f"1,{i},{200 * i},0,40,100,{flag},{kind},1\n" for i, (flag, kind) in enumerate(kinds)))
    results.write_text("".join(f"1,{i},{200 * i},0,40,100,1,-1,-1,-1\n" for i in range(len(kinds))))
    scores = evaluate(truth, results)
    assert (scores.gt_boxes, scores.result_boxes, scores.matches, scores.false_positives) == (1, 3, 1, 2)
    plain = evaluate(truth, results, benchmark="mot15")
    assert (plain.gt_boxes, plain.result_boxes, plain.matches) == (2, 7, 2)


@pytest.mark.skipif(not (SHARED / "golden/mot15").is_dir(), reason="golden MOT15 data (../shared) is not here")
def test_command_on_mot15(tmp_path: Path) -> None:
    folder = SHARED / "golden" / "mot15"
    assert main([str(folder / "gt"), str(folder / "res"), "--json", str(tmp_path / "s.json")]) == 0
    campus = json.loads((tmp_path / "s.json").read_text())["sequences"]["TUD-Campus"]
    assert [campus[name] for name in ("false_positives", "misses", "switches", "fragmentations")] == [13, 150, 7, 7]
    assert (round(100 * campus["mota"], 1), round(100 * campus["idf1"], 1)) == (52.6, 55.8)
