from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fairmot.core.errors import UserError
from fairmot.core.limits import MAX_BOXES
from fairmot.core.motchallenge import read_detections, read_ground_truth, read_results
from fairmot.core.sequence_info import read_sequence_info

GOOD = "1,1,10,20,30,40,1\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "boxes.txt"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("line", "class_ids"),
    [
        ("1,1,10,20.5,30,40,1", None),
        ("1,1,10,20.5,30,40,1,7", [7]),
        ("1,1,10,20.5,30,40,1,7,0.5", [7]),
        ("1, 1, 10, 20.5, 30, 40, 1, -1, -1, -1", None),
        ("1,1,10,20.5,30,40,1,4.4852,5.5016,0", None),
        ("1,1,10,20.5,30,40,1,2,1,-1", [2]),
        ("1,1,10,20.5,30,40,1,-1,-1,-1,-1,-1", None),
        ("1,1,10,20.5,30,40,1,12,0.3,-1,-1,-1", [12]),
        ("1 1 10 20.5 30 40 1 -1 -1 -1 ", None),
        ("1;1;10;20.5;30;40;1;7;0.5", [7]),
    ],
)
def test_ground_truth_columns(tmp_path: Path, line: str, class_ids: list[int] | None) -> None:
    boxes = read_ground_truth(write(tmp_path, line + "\n\n"))
    assert (boxes.frames.tolist(), boxes.ids.tolist(), boxes.scores.tolist()) == ([1], [1], [1.0])
    np.testing.assert_array_equal(boxes.tlwh, [[10, 20.5, 30, 40]])
    assert class_ids == (None if boxes.class_ids is None else boxes.class_ids.tolist())


def test_rows_are_sorted_by_frame(tmp_path: Path) -> None:
    text = "\ufeff3,1,0,0,1,1,1\r\n1,7,0,0,1,1,1\r\n3,0,0,0,1,1,1\r\n1,2,0,0,1,1,1"
    boxes = read_results(write(tmp_path, text))
    assert list(zip(boxes.frames.tolist(), boxes.ids.tolist(), strict=True)) == [(1, 7), (1, 2), (3, 1), (3, 0)]


def test_empty_file(tmp_path: Path) -> None:
    path = write(tmp_path, "\n")
    assert len(read_results(path)) == len(read_ground_truth(path)) == 0
    assert read_detections(path) == {}


def test_detections(tmp_path: Path) -> None:
    found = read_detections(write(tmp_path, "2,-1,10,20,30,40,0.9\n1,-1,0,0,5,6,3.5\n2,-1,1,2,3,4,-0.2\n"))
    assert sorted(found) == [1, 2]
    np.testing.assert_array_equal(found[2].tlbr, [[10, 20, 40, 60], [1, 2, 4, 6]])
    np.testing.assert_allclose(found[2].scores, [0.9, -0.2])
    assert found[1].embeddings.shape == (1, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            GOOD + "2,1,x,20,30,40,1\n",
            "line 2: every value must be a number, separated as in the first line, not '2,1,x,20,30,40,1'.",
        ),
        (GOOD + "2 1 10 20 30 40 1\n", "line 2: every value must be a number"),
        (GOOD + "\n2,1,10,20,30,,40\n", "line 3: every value must be a number"),
        (GOOD + "\n2,1,10,20,30,40,1,,\n", "line 3: every value must be a number"),
        ("# frame,id,left\n" + GOOD, "line 1: every value must be a number"),
        ("frame,id,left,top,width,height,score\n" + GOOD, "line 1: every value must be a number"),
        ("nothing\n", "line 1: every value must be a number"),
        ('1,1,"10,20,30,40,1\n', "line 1: "),
        ("1,1,10,20,30,40," + "1" * 20_000, "line 1: a line must not have more than 10000 characters, not 20016."),
        ("1,1,10,20,30,40\n", "line 1: a line must have at least 7 columns, not 6."),
        (GOOD + "2,1,10,20,30,40,\n", "line 2: a line must have at least 7 columns, not 6."),
        (
            GOOD + "1,2,10,20,30,40,1,1\n",
            "line 2: this line has 8 columns and the first of frame 1 has 7; make them equal.",
        ),
        (GOOD + "2,1,10,nan,30,40,1\n", "line 2: values must be finite numbers"),
        ("2,1,10,20,inf,40,1\n", "line 1: values must be finite numbers"),
        ("0,1,10,20,30,40,1\n", "line 1: frames count from 1, not 0."),
        ("1.5,1,10,20,30,40,1\n", "line 1: the frame must be a whole number, not 1.5."),
        ("1,1.5,10,20,30,40,1\n", "line 1: the identity must be a whole number, not 1.5."),
        ("1,1,10,20,-30,40,1\n", "line 1: the width must not be negative, not -30."),
        ("1,1,10,20,30,-40,1\n", "line 1: the height must not be negative, not -40."),
        ("1e9,1,10,20,30,40,1\n" + "1,2e12,9,9,9,9,1\n", "line 2: the identity must be at most 1000000000, not 2e+12."),
        (GOOD + "2,1,10,-1e10,30,40,1\n", "line 2: the top must be at most 1000000000, not -1e+10."),
        ("2,1,1,1,1,1,1\n" + GOOD + "2,1,9,9,9,9,1\n", "line 3: identity 1 occurs twice in frame 2; leave one"),
    ],
)
def test_errors_name_the_line(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    for read in (read_ground_truth, read_results):
        with pytest.raises(UserError, match=re.escape(f"{path}, {message}")):
            read(path)


def test_results_of_another_class(tmp_path: Path) -> None:
    path = write(tmp_path, "1,1,10,20,30,40,1,1\n2,1,10,20,30,40,1,3\n")
    with pytest.raises(UserError, match=r"line 2: the class must be 1 \(people\) or -1, not 3; .*--classes person"):
        read_results(path)
    assert read_ground_truth(path).class_ids.tolist() == [1, 3]


def test_columns_may_differ_between_frames(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD + "2,1,10,20,30,40,1,1,1\n2,2,10,20,30,40,1,1,1\n")
    assert read_results(path).frames.tolist() == [1, 2, 2]
    assert read_ground_truth(path).class_ids is None


@pytest.mark.parametrize("read", [read_ground_truth, read_results, read_detections])
def test_a_crowd_that_is_none(tmp_path: Path, read: Callable[[Path], object]) -> None:
    """Matrices of all pairs of 60,000 boxes would take 29 GB each."""
    lines = [f"{frame},{identity},10,20,30,40,1\n" for frame in (2, 1) for identity in range(MAX_BOXES)]
    read(write(tmp_path, "".join(lines)))
    path = write(tmp_path, "".join([*lines, f"1,{MAX_BOXES},10,20,30,40,1\n"]))
    with pytest.raises(UserError, match=rf"line {len(lines) + 1}: frame 1 has more than 5000 boxes; leave some out\."):
        read(path)


def test_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Cannot read .*none\.txt: No such file or directory\."):
        read_results(tmp_path / "none.txt")
    with pytest.raises(UserError, match="Cannot read"):
        read_results(tmp_path)
    (tmp_path / "fairmot.video.mp4").write_bytes(b"\x00\xff\xfe\x80")
    with pytest.raises(UserError, match="is not a text file"):
        read_detections(tmp_path / "fairmot.video.mp4")


def test_numbers_that_only_python_reads(tmp_path: Path) -> None:
    """Files that NumPy's parser refuses are read line by line."""
    assert read_results(write(tmp_path, GOOD + "2,1_0,10,20,30,40,1\n")).ids.tolist() == [1, 10]


def test_sequence_info(tmp_path: Path) -> None:
    path = tmp_path / "seqinfo.ini"
    path.write_text("\ufeff[Sequence]\nname=A%20B\nframeRate=12.5\nseqLength=30\n")
    info = read_sequence_info(path)
    assert (info.name, info.length, info.frame_rate) == ("A%20B", 30, 12.5)
    path.write_text("[Sequence]\n")
    info = read_sequence_info(path)
    assert (info.name, info.length, info.frame_rate) == (None, None, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name=A\n", 'is not a sequence description; it must begin with a line "[Sequence]".'),
        ("[Other]\nname=A\n", "is not a sequence description"),
        ("[Sequence]\nframeRate=fast\n", "frameRate must be a number above 0, not 'fast'."),
        ("[Sequence]\nframeRate=nan\n", "frameRate must be a number above 0, not 'nan'."),
        ("[Sequence]\nseqLength=-1\n", "seqLength must be a number above 0, not '-1'."),
        ("[Sequence]\nseqLength=1.5\n", "seqLength must be a whole number, not 1.5."),
    ],
)
def test_invalid_sequence_info(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "seqinfo.ini"
    path.write_text(text)
    with pytest.raises(UserError, match=re.escape(message)):
        read_sequence_info(path)
    with pytest.raises(UserError, match="Cannot read"):
        read_sequence_info(tmp_path / "none.ini")
