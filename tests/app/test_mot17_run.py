"""Detection, association and scoring of sequences in one go."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import onnx
import pytest
from rich.console import Console
from support import blob_network, material
from support.commands import evaluate as evaluate_command

from fairmot.app.json_files import write_json
from fairmot.app.scoring import Scored, table_of
from fairmot.tracker.evaluation import evaluate
from run_track import main

A, B = (6, 5), (15, 9)


def make_set(folder: Path) -> Path:
    """Sequences of odd and even length; person B is hidden in some frames of X, and not found in one of Y."""
    material.write_sequence(folder / "X", [[A] if number in (8, 9) else [A, B] for number in range(1, 14)])
    sequence = material.write_sequence(folder / "Y", [[A, B]] * 10)
    material.write_images(
        sequence / "img1", [material.image([A] if number == 7 else [A, B]) for number in range(1, 11)]
    )
    return folder


def read_scores(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "scores.json").read_text())


def first_rows(folder: Path) -> list[tuple[int, int]]:
    rows = [line.split(",") for line in (folder / "tracks.txt").read_text().splitlines()]
    return [(int(row[0]), int(row[1])) for row in rows[:2]]


@pytest.mark.parametrize("split", ["full", "val-half"])
def test_scores_are_those_of_the_evaluation_command(tmp_path: Path, weights: Path, split: str) -> None:
    sequences, output = make_set(tmp_path / "set"), tmp_path / "out"
    common = ["--weights", str(weights), "--output", str(output), "--no-video", "--tracker.lost_track_buffer", "1"]
    assert main([str(sequences), *common, "--eval", "--split", split]) == 0
    ours = read_scores(output)
    judged = ["--split", split, "--json", str(tmp_path / "judge.json")]
    assert evaluate_command([str(sequences), str(output), *judged]) == 0
    theirs = json.loads((tmp_path / "judge.json").read_text())
    assert ours["combined"] == theirs["combined"]
    for name in ("X", "Y"):
        assert ours["sequences"][name] == {"benchmark": "mot17", "split": split, **theirs["sequences"][name]}
        assert read_scores(output / name) == ours["sequences"][name]
    assert ours["combined"]["misses"] > 0
    assert ours["sequences"]["X"]["frames"] == (13 if split == "full" else 7)
    # A fresh tracker confirms at once those of its first frame, which has its number in the source.
    half = {"X": 7, "Y": 6}
    for name, first in half.items():
        first = 1 if split == "full" else first
        assert first_rows(output / name) == [(first, 1), (first, 2)]


def test_val_half_can_be_shortened_and_thinned(tmp_path: Path, weights: Path) -> None:
    sequence = make_set(tmp_path / "set") / "X"
    common = [str(sequence), "--weights", str(weights), "--output", str(tmp_path / "out"), "--no-video", "--eval"]
    assert main([*common, "--split", "val-half", "--stride", "2", "--frames", "3"]) == 0
    assert [line["frame"] for line in material.read_lines(tmp_path / "out" / "X")] == [7, 9, 11]
    scores = read_scores(tmp_path / "out" / "X")
    assert (scores["frames"], scores["gt_boxes"]) == (3, 5)


def test_half_of_a_video(tmp_path: Path, weights: Path) -> None:
    clip = material.write_clip(tmp_path / "clip.mp4", 9)
    assert main([str(clip), "--weights", str(weights), "--output", str(tmp_path), "--split", "val-half"]) == 0
    assert material.check_results(tmp_path / "clip", status="complete") == 5


def test_an_image_that_cannot_be_read_is_a_miss(tmp_path: Path, weights: Path) -> None:
    sequence = material.write_sequence(tmp_path / "seq", [[A, B]] * 6)
    for number in (1, 6):
        (sequence / "img1" / f"{number:06d}.png").write_bytes(b"not an image")
    assert main([str(sequence), "--weights", str(weights), "--output", str(tmp_path / "out"), "--eval"]) == 1
    scores = read_scores(tmp_path / "out" / "seq")
    assert (scores["frames"], scores["gt_boxes"], scores["misses"]) == (6, 12, 4)


@pytest.mark.parametrize(("benchmark", "boxes"), [("auto", 4), ("mot17", 4), ("mot15", 8)])
def test_the_benchmark_decides_which_boxes_count(tmp_path: Path, weights: Path, benchmark: str, boxes: int) -> None:
    sequence = material.write_sequence(tmp_path / "seq", [[A, B]] * 4)
    truth = sequence / "gt" / "gt.txt"
    rows = [line.split(",") for line in truth.read_text().splitlines()]
    distractor = "8"  # what a box on it is in MOT17: neither right nor wrong
    truth.write_text("\n".join(",".join([*row[:7], "1" if row[1] == "1" else distractor, "1"]) for row in rows))
    common = [str(sequence), "--weights", str(weights), "--output", str(tmp_path / "out"), "--no-video", "--eval"]
    assert main([*common, "--benchmark", benchmark]) == 0
    scores = read_scores(tmp_path / "out" / "seq")
    assert scores["benchmark"] == ("mot17" if benchmark == "auto" else benchmark)
    assert (scores["gt_boxes"], scores["false_positives"], scores["misses"]) == (boxes, 0, 0)


def test_faults_known_before_tracking(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sequence = material.write_sequence(tmp_path / "seq", [[A, B]] * 4)
    truth = sequence / "gt" / "gt.txt"
    truth.write_text("1,1,10,20,30,40,1,-1,-1,-1\n")
    common = [str(sequence), "--weights", str(weights), "--output", str(tmp_path / "out"), "--eval"]
    assert main([*common, "--benchmark", "mot17"]) == 1
    material.check_sentence(capsys.readouterr().err, r"gt\.txt: the ground truth names no classes.*mot15")
    truth.write_text("1,1,10,20,30,40,1,99,1\n")
    assert main(common) == 1
    material.check_sentence(capsys.readouterr().err, r"gt\.txt: a box in frame 1 has class 99")
    truth.write_text("1,1,10,20,30,40,1,1,1\n")
    info = sequence / "seqinfo.ini"
    info.write_text(info.read_text().replace("seqLength=4", "seqLength=40"))
    assert main([*common, "--split", "val-half"]) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert "Frame 21 is beyond the end of seq, whose last frame is 4." in last
    assert not list(tmp_path.rglob("tracks.txt"))


def test_a_failed_sequence_is_told_beside_the_combined_scores(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sequences = make_set(tmp_path / "set")
    (sequences / "Y" / "gt" / "gt.txt").unlink()
    common = ["--weights", str(weights), "--output", str(tmp_path / "out"), "--no-video", "--eval"]
    assert main([str(sequences), *common]) == 1
    assert read_scores(tmp_path / "out")["sequences"].keys() == {"X"}
    assert "The combined scores lack 1 of 2 sources." in capsys.readouterr().err


class Resumable:
    """A set of two sequences, tracked and scored; `again` selects those that a further run tracks."""

    def __init__(self, folder: Path, weights: Path) -> None:
        self.sequences, self.output, self.weights = make_set(folder / "set"), folder / "out", weights
        self.run()

    def run(self, *flags: str, source: Path | None = None, weights: Path | None = None) -> None:
        common = ["--weights", str(weights or self.weights), "--output", str(self.output), "--eval", *flags]
        assert main([str(source or self.sequences), "--no-video", *common]) == 0

    def again(self, *flags: str, **changes: Path) -> set[str]:
        reports = {name: self.output / name / "run.json" for name in ("X", "Y")}
        before = {name: report.read_text() for name, report in reports.items()}
        (self.output / "scores.json").unlink(missing_ok=True)
        self.run("--resume", *flags, **changes)
        assert read_scores(self.output)["sequences"].keys() == {"X", "Y"}
        return {name for name, report in reports.items() if report.read_text() != before[name]}

    def change(self, name: str, **changes: object) -> None:
        write_json(self.output / name / "run.json", {**material.read_run(self.output / name), **changes})


def test_resume_skips_what_is_complete(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Resumable(tmp_path, weights)
    scores = read_scores(runs.output)
    capsys.readouterr()
    assert runs.again() == set()
    assert read_scores(runs.output) == scores
    out = capsys.readouterr().out
    assert f"X: already complete, 13 frames, 2 identities -> {runs.output / 'X'}" in out
    assert "combined" in out
    # How it is scored, and where things are called from, is no part of the results.
    assert runs.again("--benchmark", "mot15") == set()
    monkeypatch.chdir(tmp_path)
    assert runs.again(source=Path("set")) == set()

    for file in ("tracks.txt", "tracks.jsonl"):
        (runs.output / "Y" / file).unlink()
        assert runs.again() == {"Y"}
    for status in ("running", "interrupted", "stopped", "damaged", "failed"):
        runs.change("X", status=status)
        assert runs.again() == {"X"}
    (runs.output / "X" / "run.json").write_text('{"location": 3}')
    runs.sequences = runs.sequences / "Y"
    runs.run("--resume")
    assert (runs.output / "X" / "run.json").read_text() == '{"location": 3}'


def test_resume_tracks_again_with_other_settings(tmp_path: Path, weights: Path) -> None:
    runs = Resumable(tmp_path, weights)
    both = {"X", "Y"}
    assert runs.again("--tracker.max_aspect_ratio", ".inf") == both
    assert runs.again("--tracker.max_aspect_ratio", ".inf") == set()
    streams = [f"--save-detections={tmp_path / 'streams'}"]
    assert runs.again(*streams) == both
    assert runs.again(*streams) == set()
    (tmp_path / "streams" / "X.npz").unlink()
    assert runs.again(*streams) == {"X"}
    assert runs.again() == both
    same = tmp_path / "same.onnx"
    same.write_bytes(weights.read_bytes())
    assert runs.again(weights=same) == set()
    model = blob_network.build()
    model.doc_string = "another model with the same facts"
    onnx.save(model, same)
    assert runs.again(weights=same) == both


def test_the_demo_is_never_skipped(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "demo").mkdir()
    monkeypatch.chdir(tmp_path)  # where a folder has the same name
    common = ["--weights", str(weights), "--output", str(tmp_path / "out"), "--no-video", "--eval", "--resume"]
    for count in (3, 4):
        assert main([f"demo?frames={count}&size=160x96", *common]) == 0
        assert read_scores(tmp_path / "out" / "demo")["frames"] == count
    for _ in range(2):
        assert main(["demo", *common, "--frames", "2"]) == 0
        assert read_scores(tmp_path / "out" / "demo")["gt_boxes"] > 0


def test_the_table_fits_a_terminal(tmp_path: Path) -> None:
    sequence = material.write_sequence(tmp_path / "seq", [[A, B]])
    scores = evaluate(sequence / "gt" / "gt.txt", sequence / "gt" / "gt.txt")
    large = replace(scores, matches=100_000, misses=236_891, false_positives=412_345, switches=12_345, gt_boxes=336_891)
    names = [f"MOT17-{number:02d}-FRCNN" for number in range(1, 8)]
    console = Console(width=80, file=StringIO())
    console.print(table_of({name: Scored(large, "mot17", "val-half") for name in names}))
    lines = [line.split() for line in console.file.getvalue().splitlines()]
    assert ["sequence", "HOTA", "MOTA", "IDF1", "switches", "misses", "FP", "boxes"] in lines
    row = ["0.2", "-96.4", "0.0", "12345", "236891", "412345", "336891"]
    for name in names:
        assert [name, *row] in lines
    total = [str(7 * number) for number in (12_345, 236_891, 412_345, 336_891)]
    assert ["combined", *row[:3], *total] in lines
