"""Small files that once ran for hours or filled the memory."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from support.commands import associate as main

from fairmot.core.errors import UserError
from fairmot.core.limits import MAX_BOXES
from fairmot.core.motchallenge import read_results
from fairmot.core.records import Detections
from fairmot.core.sequence_info import MOST_FRAMES
from fairmot.tracker import FairMOTTracker
from fairmot.tracker.association import track
from fairmot.tracker.detection_file import DetectionFile, DetectionWriter, read_detection_file
from fairmot.tracker.evaluation import evaluate, evaluate_sequence, find_sequences
from fairmot.tracker.evaluation import overlap as limits
from fairmot.tracker.presets import PRESETS

FAR = 99_999_999


@contextmanager
def quickly(seconds: float = 10, megabytes: float = 50) -> Iterator[None]:
    tracemalloc.start()
    started = time.perf_counter()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - started < seconds
    assert peak < megabytes * 1e6


def person(frame: int, left: float = 100) -> str:
    return f"{frame},-1,{left},50,40,100,0.9\n"


def sequence(folder: Path, text: str, length: int) -> Path:
    (folder / "det").mkdir(parents=True)
    (folder / "det" / "det.txt").write_text(text)
    (folder / "seqinfo.ini").write_text(f"[Sequence]\nframeRate=25\nseqLength={length}\n")
    return folder


def far_text(folder: Path) -> Path:
    (folder / "a.txt").write_text("".join(map(person, (1, 2, 3, FAR - 1, FAR))))
    return folder / "a.txt"


def far_archive(folder: Path) -> Path:
    box = np.float32([[100, 50, 140, 150]] * 5)
    frame = np.array([1, 2, 3, FAR - 1, FAR])
    np.savez(folder / "a.npz", frame=frame, tlbr=box, score=np.full(5, 0.9), fps=25.0, n_frames=100_000_000)
    return folder / "a.npz"


def long_sequence(folder: Path) -> Path:
    return sequence(folder / "a", "".join(map(person, (1, 2, 3, FAR - 1, FAR))), FAR)


@pytest.mark.parametrize("make", [far_text, far_archive, long_sequence])
@pytest.mark.parametrize("tracker", PRESETS)
def test_frames_far_apart(tmp_path: Path, make: object, tracker: str) -> None:
    path = make(tmp_path)  # type: ignore[operator]
    with quickly():
        main([str(path), "-o", str(tmp_path / "o.txt"), "--tracker", tracker, "--interpolate"], str)
    found = read_results(tmp_path / "o.txt")
    assert (found.frames.tolist(), found.ids.tolist()) == ([1, 2, 3, FAR], [1, 1, 1, 2])


@pytest.mark.parametrize("number", [FAR + 2, 10**9])
def test_more_frames_than_anybody_has(tmp_path: Path, number: int) -> None:
    (tmp_path / "a.txt").write_text(person(number))
    with quickly(), pytest.raises(UserError, match="the number of frames must be between 0 and 100000000"):
        read_detection_file(tmp_path / "a.txt")


@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("tracker", ["default", "byte"])
def test_skipping_changes_nothing(tmp_path: Path, timed: bool, tracker: str) -> None:
    """Gaps of every length, which `track` skips, against a call of `update` for every frame."""
    random = np.random.default_rng(5)
    found: dict[int, Detections] = {}
    frame, seconds = 0, []
    for gap in random.integers(0, 60, 40).tolist():
        for _ in range(gap + 3):
            frame += 1
            seconds.append((seconds[-1] if seconds else 0.0) + random.choice([0.04, 0.04, 0.04, 0.3, 2.0]))
            box = np.float32([[100 + frame % 50, 50, 140 + frame % 50, 150]])
            if _ >= gap:
                found[frame] = Detections(box, np.float32([0.9]), np.zeros(1, np.int64), np.zeros((1, 0), np.float32))
    times = np.array(seconds) if timed else None
    stored = DetectionFile("a", np.arange(1, frame + 1), found, 25, None, times)
    skipped = track(stored, FairMOTTracker(25, PRESETS[tracker]))
    one_by_one = FairMOTTracker(25, PRESETS[tracker])
    rows = []
    for position, (number, detections) in enumerate(stored):
        tracks = one_by_one.update(detections, stored.timestamp(position))
        rows += [(number, *row) for row in zip(tracks.ids.tolist(), tracks.tlwh.tolist(), strict=True)]
    assert [(f, i, b) for f, i, b in rows] == [
        (f, i, b) for f, i, b in zip(skipped.frames.tolist(), skipped.ids.tolist(), skipped.tlwh.tolist(), strict=True)
    ]
    assert len(np.unique(skipped.ids)) > 10


def test_frames_are_not_skipped_over_tracks() -> None:
    tracker = FairMOTTracker()
    tracker.skip(5)
    box = np.float32([[100, 50, 140, 150]])
    tracker.update(Detections(box, np.float32([0.9]), np.zeros(1, np.int64), np.zeros((1, 0), np.float32)))
    with pytest.raises(ValueError, match="call update for each"):
        tracker.skip(5)


def crowd(count: int, side: float = 1e6) -> Detections:
    corner = np.random.default_rng(count).uniform(0, side, (count, 2))
    boxes = np.concatenate((corner, corner + np.array([40, 100])), axis=1).astype(np.float32)
    return Detections(
        boxes, np.full(count, 0.9, np.float32), np.zeros(count, np.int64), np.zeros((count, 0), np.float32)
    )


def test_60000_detections_in_a_frame(tmp_path: Path) -> None:
    tracker = FairMOTTracker()
    with quickly(megabytes=100), pytest.raises(UserError, match="Frame 1 has 60000 detections for 0 tracks, and at"):
        tracker.update(crowd(60_000))
    with DetectionWriter(tmp_path / "a.npz", 25, (640, 480)) as writer:
        writer.add(1, crowd(60_000))
    with quickly(megabytes=100), pytest.raises(UserError, match="a: Frame 1 has 60000 detections"):
        main([str(tmp_path / "a.npz"), "-o", str(tmp_path / "o.txt")], str)
    (tmp_path / "a.txt").write_text("".join(person(1, 100 + left) for left in range(60_000)))
    with quickly(megabytes=100), pytest.raises(UserError, match=r"line 5001: frame 1 has more than 5000 boxes"):
        main([str(tmp_path / "a.txt"), "-o", str(tmp_path / "o.txt")], str)


def test_detections_that_do_not_count_are_not_too_many() -> None:
    found = crowd(60_000)
    found.scores[10:] = 0.01
    assert len(FairMOTTracker().update(found)) == 10


def test_too_many_lost_tracks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairmot.tracker.fairmot._MOST_PAIRS", 1000)
    tracker = FairMOTTracker()
    tracker.update(crowd(20))
    tracker.update(crowd(20))
    with pytest.raises(UserError, match="Frame 3 has 51 detections for 20 tracks"):
        tracker.update(crowd(51))


def write(path: Path, rows: list[tuple[int, int]], tail: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{frame},{identity},{identity % 997},20,30,40,{tail}\n" for frame, identity in rows))
    return path


def test_60000_people_in_a_frame_are_not_scored(tmp_path: Path) -> None:
    people = [(1, identity) for identity in range(60_000)]
    truth, results = write(tmp_path / "gt.txt", people, "1,1,1"), write(tmp_path / "r.txt", [(1, 1)], "1,-1,-1,-1")
    with (
        quickly(megabytes=150),
        pytest.raises(UserError, match=r"gt\.txt, line 5001: frame 1 has more than 5000 boxes"),
    ):
        evaluate(truth, results)
    with quickly(megabytes=150), pytest.raises(UserError, match=r"gt\.txt, line 5001: frame 1 has more"):
        evaluate(results, truth)


def test_60000_people_over_many_frames_are_not_scored(tmp_path: Path) -> None:
    people = [(1 + identity % 1000, identity) for identity in range(60_000)]
    truth, results = write(tmp_path / "gt.txt", people, "1,1,1"), write(tmp_path / "r.txt", [(1, 1)], "1,-1,-1,-1")
    with (
        quickly(megabytes=150),
        pytest.raises(UserError, match="there are 60000 people and 1 identities in the results"),
    ):
        evaluate(truth, results)


def test_many_crowded_frames_are_not_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(frame, identity) for frame in (1, 2, 3) for identity in range(100, 110)]
    truth, results = write(tmp_path / "gt.txt", rows[:-1], "1,1,1"), write(tmp_path / "r.txt", rows, "1,-1,-1,-1")
    monkeypatch.setattr(limits, "_MOST_PAIRS", 289)
    with pytest.raises(UserError, match="there are 290 pairs"):
        evaluate(truth, results)
    monkeypatch.setattr(limits, "_MOST_PAIRS", 290)
    assert evaluate(truth, results).matches == 29


def test_the_longest_sequence_is_scored(tmp_path: Path) -> None:
    rows = [(1, 1), (MOST_FRAMES, 1), (MOST_FRAMES, 10**9)]
    folder = tmp_path / "a"
    write(folder / "gt" / "gt.txt", rows, "1,1,1")
    (folder / "seqinfo.ini").write_text(f"[Sequence]\nseqLength={MOST_FRAMES}\n")
    (found,) = find_sequences(folder, write(tmp_path / "r.txt", rows, "1,-1,-1,-1"))
    with quickly():
        assert (evaluate_sequence(found).matches, evaluate_sequence(found).frames) == (3, MOST_FRAMES)
        assert evaluate_sequence(found, "val-half").matches == 2


def test_the_most_boxes_still_work() -> None:
    tracker = FairMOTTracker()
    for _ in range(3):
        assert len(tracker.update(crowd(MAX_BOXES))) == MAX_BOXES
