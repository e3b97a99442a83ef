from __future__ import annotations

import json
import math
import time
from pathlib import Path

import numpy as np
import pytest
from golden import FOLDER, write_answers
from rich.console import Console

from fairmot.core.errors import UserError
from fairmot.tracker.evaluation import Scores, evaluate, score_table

SHARED = FOLDER.parents[2] / "shared" / "data"


def lines(rows: list[tuple[int, int, float]], tail: str = "1,-1,-1,-1") -> str:
    """Boxes 40 x 100 from (frame, identity, left)."""
    return "".join(f"{frame},{id_},{left},50,40,100,{tail}\n" for frame, id_, left in rows)


def scored(folder: Path, truth: str, results: str, frames: range | None = None) -> Scores:
    (folder / "gt.txt").write_text(truth)
    (folder / "tracks.txt").write_text(results)
    return evaluate(folder / "gt.txt", folder / "tracks.txt", frames)


TWO_PEOPLE = [(frame, id_, 100 * id_) for frame in range(1, 11) for id_ in (1, 2)]


def test_perfect(tmp_path: Path) -> None:
    scores = scored(tmp_path, lines(TWO_PEOPLE), lines(TWO_PEOPLE))
    assert (scores.mota, scores.idf1, scores.precision, scores.recall) == (1, 1, 1, 1)
    assert (scores.frames, scores.gt_boxes, scores.gt_tracks, scores.mostly_tracked) == (10, 20, 2, 2)


def test_counts(tmp_path: Path) -> None:
    """Person 1 changes its id after frame 5, person 2 is missed in 3 frames, a ghost stands in frames 1 and 2."""
    results = [(frame, 1 if frame <= 5 else 9, 100) for frame in range(1, 11)]
    results += [(frame, 2, 200) for frame in range(1, 11) if frame not in (4, 5, 6)]
    results += [(1, 7, 600), (2, 7, 600)]
    scores = scored(tmp_path, lines(TWO_PEOPLE), lines(results))
    counts = scores.switches, scores.misses, scores.false_positives, scores.matches, scores.fragmentations
    assert counts == (1, 3, 2, 17, 1)
    assert scores.mota == pytest.approx(1 - 6 / 20)
    assert scores.id_true_positives == 12
    assert scores.idf1 == pytest.approx(24 / 39)
    assert (scores.precision, scores.recall) == (pytest.approx(17 / 19), pytest.approx(17 / 20))


def test_half_overlap_is_a_match_and_less_is_not(tmp_path: Path) -> None:
    """Boxes 40 wide moved by 13 share 27 of 53 columns, moved by 14 only 26 of 54."""
    assert scored(tmp_path, lines([(1, 1, 100)]), lines([(1, 1, 113)])).mota == 1
    assert scored(tmp_path, lines([(1, 1, 100)]), lines([(1, 1, 114)])).mota == -1
    assert scored(tmp_path, "1,1,0,0,40,100,1\n", "1,1,0,0,20,100,1\n").mota == 1


def test_missing_frames_are_misses(tmp_path: Path) -> None:
    half = [row for row in TWO_PEOPLE if row[0] <= 5]
    scores = scored(tmp_path, lines(TWO_PEOPLE), lines(half))
    assert (scores.misses, scores.frames, scores.recall) == (10, 10, 0.5)


def test_frames_that_were_processed(tmp_path: Path) -> None:
    odd = [row for row in TWO_PEOPLE if row[0] % 2]
    scores = scored(tmp_path, lines(TWO_PEOPLE), lines(odd), range(1, 11, 2))
    assert (scores.mota, scores.frames, scores.gt_boxes) == (1, 5, 10)
    assert scored(tmp_path, lines(TWO_PEOPLE), lines(TWO_PEOPLE), range(3, 5)).result_boxes == 4
    assert scored(tmp_path, lines(TWO_PEOPLE), lines([]), range(8, 13)).frames == 5


@pytest.mark.parametrize(
    ("tail", "boxes"),
    [
        ("1", 1),
        ("0", 0),
        ("1,1,0.9", 1),
        ("1,-1,0.9", 1),
        ("1,7,0.9", 0),
        ("0,1,0.9", 0),
        ("1,-1,-1,-1", 1),
        ("-1,-1,-1,-1", 1),
        ("0,-1,-1,-1", 0),
        ("1,4.4852,5.5016,0", 1),
    ],
)
def test_rows_of_the_truth_that_count(tmp_path: Path, tail: str, boxes: int) -> None:
    assert scored(tmp_path, lines([(1, 1, 100)], tail), "").gt_boxes == boxes


def test_nothing_found(tmp_path: Path) -> None:
    scores = scored(tmp_path, lines(TWO_PEOPLE), "")
    assert (scores.mota, scores.idf1, scores.recall, scores.misses) == (0, 0, 0, 20)
    assert math.isnan(scores.precision)
    assert json.loads(json.dumps(scores.to_dict(), allow_nan=False))["precision"] is None


@pytest.mark.parametrize("frames", [None, range(1, 4), range(0)])
def test_nobody_there(tmp_path: Path, frames: range | None) -> None:
    scores = scored(tmp_path, "", "", frames)
    assert (scores.gt_boxes, scores.frames) == (0, len(frames or ()))
    assert scores.to_dict()["mota"] is None
    ghosts = scored(tmp_path, "", lines(TWO_PEOPLE))
    assert (ghosts.false_positives, ghosts.precision) == (20, 0)
    assert math.isnan(ghosts.mota)


def test_combined_counts_like_one_sequence(tmp_path: Path) -> None:
    a = scored(tmp_path, lines(TWO_PEOPLE), lines(TWO_PEOPLE[:15]))
    b = scored(tmp_path, lines(TWO_PEOPLE), lines(TWO_PEOPLE[5:]))
    both = Scores.combined([a, b])
    assert (both.gt_boxes, both.misses, both.gt_tracks) == (40, 10, 4)
    assert both.mota == pytest.approx(0.75)
    assert both.idf1 == pytest.approx(60 / 70)


def test_table_and_dictionary(tmp_path: Path) -> None:
    scores = scored(tmp_path, lines(TWO_PEOPLE), lines(TWO_PEOPLE[:15]))
    console = Console(width=140, record=True)
    console.print(score_table({"A": scores, "B": scored(tmp_path, lines(TWO_PEOPLE), "")}, title="scores"))
    text = console.export_text()
    for word in ("75.0", "85.7", "combined", "MOTA", "IDF1", "37.5"):
        assert word in text
    only = Console(width=140, record=True)
    only.print(score_table({"A": scores}))
    assert "combined" not in only.export_text()
    values = scores.to_dict()
    assert (values["mota"], values["misses"], values["gt_boxes"]) == (0.75, 5, 20)


def test_errors_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tracks\.txt, line 1"):
        scored(tmp_path, lines(TWO_PEOPLE), "hello\n")
    with pytest.raises(UserError, match=r"Cannot read .*none"):
        evaluate(tmp_path / "none.txt", tmp_path / "tracks.txt")


def test_fast_enough_for_the_demo(tmp_path: Path) -> None:
    """600 frames of 30 people, boxes shaken, some missed."""
    random = np.random.default_rng(0)
    truth = [(frame, id_, 50.0 * id_ + frame) for frame in range(1, 601) for id_ in range(1, 31)]
    found = [(frame, id_, left + random.normal(0, 3)) for frame, id_, left in truth if random.random() > 0.1]
    start = time.perf_counter()
    scores = scored(tmp_path, lines(truth), lines(found))
    assert time.perf_counter() - start < 8
    assert scores.recall == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize(
    ("sequence", "counts", "mota", "idf1"),
    [
        ("crossings", (1, 51, 0, 44), 94.222, 97.029),
        ("pan", (128, 73, 2, 29), 67.778, 83.954),
        ("returns", (2, 61, 6, 36), 90.143, 75.615),
    ],
)
def test_equals_figures_of_trackeval(
    sequence: str, counts: tuple[int, ...], mota: float, idf1: float, tmp_path: Path
) -> None:
    """FairMOT's answers on the golden set by the rules of MOT15, which has no distractors."""
    truth = FOLDER / "truth" / sequence / "gt" / "gt.txt"
    scores = evaluate(truth, write_answers("fairmot", tmp_path) / f"{sequence}.txt", benchmark="mot15")
    assert (scores.false_positives, scores.misses, scores.switches, scores.fragmentations) == counts
    assert (round(100 * scores.mota, 3), round(100 * scores.idf1, 3)) == (mota, idf1)


@pytest.mark.parametrize(
    ("sequence", "frames", "boxes", "people"), [("crossings", 100, 900, 9), ("returns", 100, 700, 8)]
)
def test_the_truth_scored_by_itself(sequence: str, frames: int, boxes: int, people: int) -> None:
    truth = FOLDER / "truth" / sequence / "gt" / "gt.txt"
    scores = evaluate(truth, truth)
    assert (scores.mota, scores.idf1, scores.hota) == (1, 1, 1)
    assert (scores.frames, scores.gt_boxes, scores.gt_tracks) == (frames, boxes, people)


@pytest.mark.skipif(not (SHARED / "golden/mot15").is_dir(), reason="golden MOT15 data (../shared) is not here")
@pytest.mark.parametrize(
    ("sequence", "counts", "mota", "idf1"),
    [
        ("TUD-Stadtmitte", (45, 452, 7, 6), 56.4, 64.5),
        ("TUD-Campus", (13, 150, 7, 7), 52.6, 55.8),
        ("Venice-2", (1890, 4144, 42, 52), 14.9, 35.5),
    ],
)
def test_equals_published_figures(sequence: str, counts: tuple[int, ...], mota: float, idf1: float) -> None:
    folder = SHARED / "golden/mot15"
    scores = evaluate(folder / "gt" / f"{sequence}.txt", folder / "res" / f"{sequence}.txt")
    assert (scores.false_positives, scores.misses, scores.switches, scores.fragmentations) == counts
    assert (round(100 * scores.mota, 1), round(100 * scores.idf1, 1)) == (mota, idf1)


@pytest.mark.skipif(not (SHARED / "dev").is_dir(), reason="development sequences (../shared) are not here")
@pytest.mark.parametrize(
    ("sequence", "frames", "boxes", "people"), [("PETS-S3-MF1", 107, 620, 7), ("TUD-Campus", 71, 359, 8)]
)
def test_development_sequences(sequence: str, frames: int, boxes: int, people: int) -> None:
    truth = SHARED / "dev" / sequence / "gt" / "gt.txt"
    scores = evaluate(truth, truth)
    assert (scores.mota, scores.idf1) == (1, 1)
    assert (scores.frames, scores.gt_boxes, scores.gt_tracks) == (frames, boxes, people)
