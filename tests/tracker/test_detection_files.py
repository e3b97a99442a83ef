"""Detection files: written and read again, and errors that name what is invalid."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairmot.core.errors import OutputError, UserError
from fairmot.core.records import Detections
from fairmot.tracker.detection_file import (
    DetectionFile,
    DetectionWriter,
    find_detection_files,
    name_of,
    read_detection_file,
)


def detections(seed: int, count: int, size: int = 4) -> Detections:
    random = np.random.default_rng(seed)
    corner = random.uniform(0, 500, (count, 2))
    return Detections(
        np.concatenate((corner, corner + random.uniform(10, 90, (count, 2))), axis=1).astype(np.float32),
        random.uniform(0, 1, count).astype(np.float32),
        random.integers(0, 3, count),
        random.normal(size=(count, size)).astype(np.float32),
    )


def same(a: Detections, b: Detections) -> bool:
    return all(
        np.array_equal(getattr(a, name), getattr(b, name)) for name in ("tlbr", "scores", "class_ids", "embeddings")
    )


def save(path: Path, **changes: Any) -> Path:
    """Write an `.npz` file of two detections in frame 3 and one in frame 1, with `changes`; none = left out."""
    content: dict[str, Any] = {
        "frame": np.array([3, 1, 3]),
        "tlbr": np.float32([[0, 0, 10, 20], [5, 5, 25, 45], [30, 0, 40, 30]]),
        "score": np.float32([0.9, 0.8, 0.7]),
        "embedding": np.eye(3, 5, dtype=np.float16),
        "fps": 25.0,
        "width": 640,
        "height": 480,
        "n_frames": 4,
    }
    content.update(changes)
    np.savez(path, **{name: value for name, value in content.items() if value is not None})
    return path


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    """Every bit of it, with the numbers of frames that a stride left, frames without detections too."""
    given = {1: detections(1, 3), 4: Detections.empty(), 7: detections(2, 5), 10: detections(3, 1)}
    path = tmp_path / "new" / "stored.npz"
    with DetectionWriter(path, 12.5, (640, 480)) as writer:
        for frame, found in given.items():
            writer.add(frame, found)
    stored = read_detection_file(path)
    assert (stored.name, stored.frame_rate, stored.size, len(stored)) == ("stored", 12.5, (640, 480), 4)
    read = dict(stored)
    assert list(read) == [1, 4, 7, 10]
    assert all(same(read[frame], found) for frame, found in given.items() if len(found))
    assert len(read[4]) == 0
    assert read[4].embeddings.shape == (0, 4)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.uint8, np.int16, np.uint64])
def test_frame_numbers_of_any_kind(tmp_path: Path, kind: type) -> None:
    stored = read_detection_file(save(tmp_path / "a.npz", frame=np.array([3, 1, 3], kind)))
    assert [len(found) for _, found in stored] == [1, 0, 2, 0]


def test_a_stream_without_any_frame(tmp_path: Path) -> None:
    DetectionWriter(tmp_path / "a.npz", 30, (1, 1)).close()
    assert list(read_detection_file(tmp_path / "a.npz")) == []


def test_writer_wants_rising_frames(tmp_path: Path) -> None:
    writer = DetectionWriter(tmp_path / "a.npz", 30, (1, 1))
    writer.add(2, detections(0, 1))
    with pytest.raises(ValueError, match="Frame 2 cannot follow frame 2"):
        writer.add(2, detections(0, 1))


def test_writer_wants_embeddings_of_one_model(tmp_path: Path) -> None:
    writer = DetectionWriter(tmp_path / "a.npz", 30, (1, 1))
    writer.add(1, Detections.empty(9))
    writer.add(2, detections(0, 1, size=3))
    with pytest.raises(UserError, match="Frame 3 has embeddings of 4 numbers where earlier frames had 3"):
        writer.add(3, detections(0, 1, size=4))


def test_writer_names_the_path_that_fails(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="choose another path"):
        DetectionWriter(tmp_path / "file" / "a.npz", 30, (1, 1)).close()


def test_rows_in_any_order_and_frames_without_rows(tmp_path: Path) -> None:
    stored = read_detection_file(save(tmp_path / "MOT17-99.npz"))
    assert (stored.name, stored.frame_rate, stored.size) == ("MOT17-99", 25.0, (640, 480))
    frames = dict(stored)
    assert [len(frames[number]) for number in (1, 2, 3, 4)] == [1, 0, 2, 0]
    np.testing.assert_array_equal(frames[3].tlbr[:, 0], [0, 30])
    assert frames[3].embeddings.dtype == np.float32


def test_files_without_embeddings_and_size(tmp_path: Path) -> None:
    stored = read_detection_file(save(tmp_path / "a.npz", embedding=None, width=None))
    assert stored.size is None
    assert dict(stored)[1].embeddings.shape == (1, 0)


def test_repeated_rows_count_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The same box in the same frame; another class or another frame is another detection."""
    box = np.float32([[0, 0, 10, 20]] * 5)
    path = save(
        tmp_path / "a.npz",
        frame=np.array([1, 1, 1, 2, 1]),
        tlbr=box,
        score=np.float32([0.9, 0.8, 0.7, 0.6, 0.5]),
        class_id=np.array([0, 1, 0, 0, 0]),
        embedding=None,
    )
    with caplog.at_level(logging.WARNING):
        frames = dict(read_detection_file(path))
    np.testing.assert_array_equal(frames[1].scores, np.float32([0.9, 0.8]))
    assert len(frames[2]) == 1
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}, frame 1: 2 repeated detections are left out."
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"score": None}, "lacks score; a detection file needs frame, tlbr, score, fps, n_frames."),
        ({"tlbr": np.zeros((3, 5))}, "tlbr (3, 5), score (3,), embedding (3, 5)"),
        ({"embedding": np.zeros((2, 5))}, "embedding (2, 5)"),
        ({"embedding": np.zeros(3)}, "embedding (3,)"),
        ({"frame": np.array(3)}, "frame ()"),
        ({"frame": np.array([0, 1, 2])}, "frame must hold whole numbers from 1, not 0."),
        ({"frame": np.array([1, 1.5, 2])}, "frame must hold whole numbers from 1, not 1.5."),
        ({"frame": np.array([1, np.nan, 2])}, "frame must hold whole numbers from 1, not nan."),
        ({"frame": np.array([1, 5, 2])}, "has detections in frame 5, which is not one of its frames"),
        ({"processed": np.array([1, 2])}, "has detections in frame 3, which is not one of its frames"),
        ({"fps": 0}, "fps must be a number above 0, not 0."),
        ({"fps": [25, 30]}, "fps must be one number."),
        ({"n_frames": np.nan}, "n_frames must be one number."),
        ({"n_frames": 1e15}, "the number of frames must be between 0 and 100000000, not 1e+15."),
        ({"score": np.array(["a", "b", "c"])}, "holds something else than numbers"),
        ({"score": np.array([None] * 3)}, "holds something else than numbers in score"),
        ({"score": np.ones(3, bool)}, "holds something else than numbers in score"),
        ({"score": np.ones(3, complex)}, "holds something else than numbers in score"),
        ({"score": np.ones(3, "f4,i4")}, "holds something else than numbers in score"),
        ({"frame": np.array([1, 1e300, 2])}, "frame must hold whole numbers from 1, not 1e+300."),
        ({"class_id": np.array([0, np.nan, 0])}, "class_id must hold whole numbers from -1e+09, not nan."),
        ({"processed": np.array(3)}, "processed must have the shape (n,), not ()."),
        ({"timestamp": np.zeros(3)}, "timestamp must hold one finite number for each of the 4 processed frames."),
        ({"timestamp": np.array([0, 1, np.inf, 2])}, "timestamp must hold one finite number"),
    ],
)
def test_invalid_npz_files(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = save(tmp_path / "a.npz", **changes)
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        read_detection_file(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 broken"])
def test_files_that_are_no_npz(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(UserError, match="file of arrays of numbers"):
        read_detection_file(tmp_path / "a.npz")


def test_a_single_array_is_no_stream(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3))
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    with pytest.raises(UserError, match="file of arrays of numbers"):
        read_detection_file(tmp_path / "a.npz")


def sequence(folder: Path, lines: str, info: str | None = "[Sequence]\nframeRate=14\nseqLength=5\n") -> Path:
    (folder / "det").mkdir(parents=True)
    (folder / "det" / "det.txt").write_text(lines)
    if info is not None:
        (folder / "seqinfo.ini").write_text(info)
    return folder


LINES = "4,-1,100,50,40,100,0.9\n1,-1,10,50,40,100,1.5\n1,-1,10,50,40,100,0.8\n"


def test_text_takes_rate_and_length_from_the_sequence(tmp_path: Path) -> None:
    """Lines need not be sorted; a line that repeats a box is left out; a score above 1 is kept."""
    folder = sequence(tmp_path / "MOT17-99-SDP", LINES)
    stored = read_detection_file(folder / "det" / "det.txt")
    assert (stored.name, stored.frame_rate, len(stored)) == ("MOT17-99-SDP", 14.0, 5)
    frames = dict(stored)
    assert [len(frames[number]) for number in range(1, 6)] == [1, 0, 0, 1, 0]
    np.testing.assert_array_equal(frames[1].scores, [1.5])
    np.testing.assert_array_equal(frames[4].tlbr, [[100, 50, 140, 150]])


def test_text_alone_ends_with_its_last_frame(tmp_path: Path) -> None:
    (tmp_path / "some.txt").write_text(LINES)
    stored = read_detection_file(tmp_path / "some.txt")
    assert (stored.name, stored.frame_rate, len(stored)) == ("some", None, 4)


def test_text_beyond_the_sequence(tmp_path: Path) -> None:
    folder = sequence(tmp_path / "a", LINES, "[Sequence]\nseqLength=3\n")
    with pytest.raises(UserError, match=r"has detections in frame 4, but .*seqinfo.ini says that there are 3."):
        read_detection_file(folder / "det" / "det.txt")


@pytest.mark.parametrize("row", ["1,-1,nan,5,40,100,0.9", "1,-1,5,5,-40,100,0.9"])
def test_text_with_boxes_that_are_none(tmp_path: Path, row: str) -> None:
    (tmp_path / "a.txt").write_text(row)
    with pytest.raises(UserError, match="line 1: "):
        read_detection_file(tmp_path / "a.txt")


def test_finding_detection_files(tmp_path: Path) -> None:
    b, a = sequence(tmp_path / "b", LINES), sequence(tmp_path / "a", LINES)
    save(tmp_path / "c.npz")
    found = find_detection_files(tmp_path)
    assert [name_of(path) for path in found] == ["a", "b", "c"]
    assert find_detection_files(a) == [a / "det" / "det.txt"]
    assert find_detection_files(b / "det" / "det.txt") == [b / "det" / "det.txt"]
    (tmp_path / "c.txt").write_text(LINES)
    with pytest.raises(UserError, match='are named "c"'):
        find_detection_files(tmp_path)


def test_nothing_to_find(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no"):
        find_detection_files(tmp_path)
    with pytest.raises(UserError, match="There are no detections at"):
        find_detection_files(tmp_path / "nowhere")


def test_timestamps_follow_the_order_of_the_frames(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", processed=np.array([3, 1]), timestamp=np.array([0.3, 0.1]))
    stored = read_detection_file(path)
    assert [stored.timestamp(position) for position in range(2)] == [0.1, 0.3]
    assert read_detection_file(save(tmp_path / "b.npz")).timestamp(0) is None


@pytest.mark.filterwarnings("error")
def test_boxes_too_large_for_float32_are_left_to_the_tracker(tmp_path: Path) -> None:
    stored = read_detection_file(save(tmp_path / "a.npz", tlbr=np.full((3, 4), 1e300)))
    assert np.isinf(dict(stored)[1].tlbr).all()


def test_iteration_fills_frames_in() -> None:
    stored = DetectionFile("a", np.array([2, 3]), {3: detections(0, 2)})
    assert [(frame, len(found), found.embeddings.shape[1]) for frame, found in stored] == [(2, 0, 4), (3, 2, 4)]
