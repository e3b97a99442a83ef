"""The forms in which people write MOTChallenge text: TrackEval decides which are read, and as which numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fairmot.core.errors import UserError
from fairmot.core.motchallenge import Boxes, read_detections, read_ground_truth, read_results
from fairmot.tracker.evaluation import evaluate

Change = Callable[[str], str]

ROWS = [
    f"{frame},{person},{100 * person + 3.25 * frame:.2f},{50 + frame},40.5,1.2e2"
    for frame in range(1, 7)
    for person in (1, 2, 3)
]
TAILS = {"results": ",0.5,-1,-1,-1", "ground truth": ",1,1,0.75", "detections": ",0.5"}
READERS = {"results": read_results, "ground truth": read_ground_truth}


def separated(by: str) -> Change:
    return lambda row: row.replace(",", by)


READ: dict[str, Change] = {
    "commas": lambda row: row,
    "comma and blank": separated(", "),
    "blanks around commas": separated("  ,  "),
    "comma and tab": separated(",\t"),
    "tabs": separated("\t"),
    "tabs and blanks": separated(" \t "),
    "blanks": separated(" "),
    "several blanks": separated("   "),
    "blank at the end": lambda row: row.replace(",", " ") + " ",
    "blanks at both ends": lambda row: "  " + row.replace(",", " ") + "  ",
    "semicolons": separated(";"),
    "semicolons and blanks": separated(" ; "),
    "colons": separated(":"),
    "comma at the end": lambda row: row + ",",
    "comma and blanks at the end": lambda row: row + ",  ",
    "semicolon at the end": lambda row: row.replace(",", ";") + ";",
    "tab at the end": lambda row: row.replace(",", "\t") + "\t",
    "twelve columns": lambda row: row + ",-1" * (11 - row.count(",")),
    "twenty columns": lambda row: row + ",-1" * (19 - row.count(",")),
    "twelve columns and blanks": lambda row: (row + ",-1" * (11 - row.count(","))).replace(",", " "),
    "slashes": lambda row: (row + ",-1" * (9 - row.count(","))).replace(",", "/"),
    "quotes": lambda row: ",".join(f'"{field}"' for field in row.split(",")),
    "plus signs": lambda row: row.replace(",4", ",+4"),
}
REFUSED: dict[str, Change] = {
    "bars": separated(" | "),
    "decimal commas": lambda row: row.replace(",", " ").replace(".", ","),
    "two commas at the end": lambda row: row + ",,",
    "empty value": lambda row: row.replace(",40.5,", ",,"),
    "words": lambda row: row.replace("40.5", "wide"),
    "hexadecimal": lambda row: row.replace("40.5", "0x28"),
    "six columns": lambda row: ",".join(row.split(",")[:6]),
    "brackets": lambda row: f"[{row}]",
}
WHOLE_FILES: dict[str, Callable[[list[str]], str]] = {
    "line feeds": lambda rows: "\n".join(rows) + "\n",
    "no end": "\n".join,
    "carriage returns": lambda rows: "\r\n".join(rows) + "\r\n",
    "old Mac": "\r".join,
    "any order": lambda rows: "\n".join(rows[::-1]),
    "columns by frame": lambda rows: "\n".join(rows[:9] + [row + ",0" for row in rows[9:]]),
    "comma at some ends": lambda rows: "\n".join(rows[:4] + [row + "," for row in rows[4:]]),
}


def trackeval_rows(path: Path) -> dict[int, np.ndarray]:
    """Return the first eight columns of each frame as TrackEval reads them; raise what it raises."""
    trackeval = pytest.importorskip("trackeval", reason="TrackEval, which judges the reader, is not installed")
    read, _ = trackeval.datasets.MotChallenge2DBox._load_simple_text_file(str(path))
    return {int(frame): np.asarray(rows, dtype=float)[:, :8] for frame, rows in read.items()}


def our_rows(boxes: Boxes) -> dict[int, np.ndarray]:
    """Return the same from our reader."""
    columns = [boxes.frames, boxes.ids, *boxes.tlwh.T, boxes.scores]
    columns += [] if boxes.class_ids is None else [boxes.class_ids]
    table = np.column_stack(columns).astype(float)
    return {frame: table[boxes.frames == frame] for frame in np.unique(boxes.frames).tolist()}


def check(path: Path, kind: str) -> None:
    expected = trackeval_rows(path)
    if kind == "detections":
        found = read_detections(path)
        assert found.keys() == expected.keys()
        for frame, rows in expected.items():
            tlbr = np.concatenate((rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]), axis=1).astype(np.float32)
            np.testing.assert_array_equal(found[frame].tlbr, tlbr)
            np.testing.assert_array_equal(found[frame].scores, rows[:, 6].astype(np.float32))
        return
    found = our_rows(READERS[kind](path))
    assert found.keys() == expected.keys()
    for frame, rows in expected.items():
        np.testing.assert_array_equal(found[frame], rows[:, : found[frame].shape[1]])
    if kind == "ground truth":
        assert all(rows.shape[1] == 8 for rows in found.values())


@pytest.mark.parametrize("kind", TAILS)
@pytest.mark.parametrize("change", READ.values(), ids=READ)
def test_lines_that_trackeval_reads(tmp_path: Path, kind: str, change: Change) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\n".join(change(row + TAILS[kind]) for row in ROWS) + "\n")
    check(path, kind)


@pytest.mark.parametrize("kind", TAILS)
@pytest.mark.parametrize("whole", WHOLE_FILES.values(), ids=WHOLE_FILES)
def test_files_that_trackeval_reads(tmp_path: Path, kind: str, whole: Callable[[list[str]], str]) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(whole([row + TAILS[kind] for row in ROWS]).encode())
    check(path, kind)


@pytest.mark.parametrize("kind", TAILS)
@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED)
def test_lines_that_nobody_reads(tmp_path: Path, kind: str, change: Change) -> None:
    """Refused by TrackEval, too, when it reads the text or when it converts the numbers."""
    path = tmp_path / "a.txt"
    path.write_text("\n".join(change(row + TAILS[kind]) for row in ROWS) + "\n")
    with pytest.raises(UserError) as caught:
        READERS.get(kind, read_detections)(path)
    with pytest.raises(Exception, match=r"cannot be read|could not convert|out of bounds"):
        [rows[:, 6] for rows in trackeval_rows(path).values()]
    assert str(caught.value).startswith(f"{path}, line 1: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mark", ["\ufeff", "\n\n"], ids=["byte order mark", "blank lines"])
@pytest.mark.parametrize("change", READ.values(), ids=READ)
def test_what_trackeval_refuses_but_cannot_be_misunderstood(tmp_path: Path, change: Change, mark: str) -> None:
    rows = [change(row + TAILS["results"]) for row in ROWS]
    (tmp_path / "plain.txt").write_text("\n".join(rows))
    (tmp_path / "marked.txt").write_text(mark + "\n".join(rows) + "\n \n")
    plain, marked = read_results(tmp_path / "plain.txt"), read_results(tmp_path / "marked.txt")
    np.testing.assert_array_equal(plain.tlwh, marked.tlwh)
    np.testing.assert_array_equal(plain.ids, marked.ids)


@pytest.mark.parametrize("change", READ.values(), ids=READ)
def test_scores_do_not_depend_on_the_form(tmp_path: Path, change: Change) -> None:
    truth, results = tmp_path / "gt.txt", tmp_path / "results.txt"
    truth.write_text("\n".join(change(row + TAILS["ground truth"]) for row in ROWS))
    results.write_text("\n".join(change(row + TAILS["results"]) for row in ROWS[3:]))
    scores = evaluate(truth, results)
    assert (scores.gt_boxes, scores.matches, scores.misses, scores.switches) == (18, 15, 3, 0)


def test_the_quick_way_takes_every_ordinary_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only quotes need the slow reader, line by line in Python."""

    def slow(*_: object) -> None:
        raise AssertionError("read line by line")

    monkeypatch.setattr("fairmot.core.motchallenge_table._row", slow)
    for name, change in READ.items():
        if name not in ("quotes", "slashes"):
            (tmp_path / "a.txt").write_text("\n".join(change(row + TAILS["results"]) for row in ROWS))
            assert len(read_results(tmp_path / "a.txt")) == len(ROWS)
