"""Detections are on disk as soon as they are added, and are read whatever ends the run."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from support.commands import associate as main

from fairmot.core.errors import OutputError, UserError
from fairmot.core.records import Detections
from fairmot.tracker.detection_file import DetectionFile, DetectionWriter, read_detection_file
from fairmot.tracker.detection_log import LOG_MAGIC

ROOT = Path(__file__).resolve().parents[2]
KEYS = {"frame", "tlbr", "score", "class_id", "embedding", "processed", "fps", "width", "height", "n_frames"}


def detections(frame: int, count: int = 3, size: int = 8) -> Detections:
    random = np.random.default_rng(frame)
    corner = random.uniform(0, 500, (count, 2))
    return Detections(
        np.concatenate((corner, corner + np.array([30, 80])), axis=1).astype(np.float32),
        random.uniform(0, 1, count).astype(np.float32),
        random.integers(0, 3, count),
        random.normal(size=(count, size)).astype(np.float32),
    )


def assert_holds(stored: DetectionFile, frames: list[int]) -> None:
    """Check that a detection file holds what `detections` returns for these frames, bit by bit."""
    assert [frame for frame, _ in stored] == frames
    for frame, found in stored:
        expected = detections(frame)
        for name in ("tlbr", "scores", "class_ids", "embeddings"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """Let no file grow beyond `size` bytes, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_the_finished_file_is_an_ordinary_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with DetectionWriter(path, 25, (640, 480)) as writer:
        for frame in range(2, 12, 3):
            writer.add(frame, detections(frame), frame / 25)
    with np.load(path) as data:
        assert set(data.files) == KEYS | {"timestamp"}
        assert {name: str(data[name].dtype) for name in ("frame", "tlbr", "class_id", "processed", "timestamp")} == {
            "frame": "int32",
            "tlbr": "float32",
            "class_id": "int32",
            "processed": "int32",
            "timestamp": "float64",
        }
        assert data["embedding"].shape == (12, 8)
        assert (data["fps"], data["width"], data["height"], data["n_frames"]) == (25.0, 640, 480, 11)
        np.testing.assert_array_equal(data["timestamp"], np.array([2, 5, 8, 11]) / 25)
    assert_holds(read_detection_file(path), [2, 5, 8, 11])
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_timestamps_are_kept_if_all_frames_have_one(tmp_path: Path, missing: float | None) -> None:
    with DetectionWriter(tmp_path / "a.npz", 25, (640, 480)) as writer:
        writer.add(1, detections(1), 0.0)
        writer.add(2, detections(2), missing)
    with np.load(tmp_path / "a.npz") as data:
        assert set(data.files) == KEYS
    assert read_detection_file(tmp_path / "a.npz").timestamps is None


def test_frames_without_detections(tmp_path: Path) -> None:
    with DetectionWriter(tmp_path / "a.npz", 25, (640, 480)) as writer:
        writer.add(1, Detections.empty())
        writer.add(2, Detections.empty(8))
        writer.add(3, detections(3))
        writer.add(4, Detections.empty(4))
    assert [len(found) for _, found in read_detection_file(tmp_path / "a.npz")] == [0, 0, 3, 0]


def test_everything_is_on_disk_before_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.npz"
    with DetectionWriter(path, 12.5, (640, 480)) as writer:
        for frame in (1, 3, 5):
            writer.add(frame, detections(frame), frame / 25)
            stored = read_detection_file(path)
            assert_holds(stored, list(range(1, frame + 1, 2)))
            assert (stored.name, stored.frame_rate, stored.size) == ("a", 12.5, (640, 480))
            assert stored.timestamp(0) == 1 / 25
    assert caplog.records[-1].getMessage() == f"{path} was not finished: what it holds ends with frame 5."


def test_any_end_of_the_file_can_be_read(tmp_path: Path) -> None:
    """Cut after every byte, and with the zeros or other bytes that a power cut may leave instead."""
    path, cut = tmp_path / "a.npz", tmp_path / "cut.npz"
    writer = DetectionWriter(path, 25, (640, 480))
    ends = [path.stat().st_size]
    for frame in range(1, 4):
        writer.add(frame, detections(frame), frame / 25)
        ends.append(path.stat().st_size)
    data = path.read_bytes()
    for size in range(len(data)):
        whole = sum(end <= size for end in ends) - 1
        for rest in (0, 1000):
            cut.write_bytes(data[:size] + bytes(rest))
            if whole < 0:
                with suppress(UserError):
                    assert len(read_detection_file(cut)) == 0
            elif rest == 0 or size in ends:
                assert_holds(read_detection_file(cut), list(range(1, whole + 1)))
    for index in range(ends[1], ends[2], 7):
        damaged = bytearray(data)
        damaged[index] ^= 0xFF
        cut.write_bytes(damaged)
        assert_holds(read_detection_file(cut), [1])


@pytest.mark.parametrize(
    "metadata",
    [
        b"",
        bytes(24),
        np.array([25, 640]).tobytes(),
        np.array([np.nan, 1, 1]).tobytes(),
        np.array([25.0, -1, 1]).tobytes(),
    ],
)
def test_a_damaged_beginning(tmp_path: Path, metadata: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(LOG_MAGIC + metadata)
    with pytest.raises(UserError, match="was begun and holds no frame"):
        read_detection_file(tmp_path / "a.npz")


def test_a_record_that_claims_terabytes(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    writer = DetectionWriter(path, 25, (640, 480))
    writer.add(1, detections(1))
    with path.open("ab") as file:
        file.write(np.array([2], "<i8").tobytes() + bytes(8) + np.array([2**31, 2**31, 0], "<u4").tobytes())
    assert_holds(read_detection_file(path), [1])


RUN = """
import sys, time
import numpy as np
from fairmot.core.records import Detections
from fairmot.tracker.detection_file import DetectionWriter

writer = DetectionWriter(sys.argv[1], 25, (640, 480))
for frame in range(1, 10**9):
    x = 100 + frame % 3
    box = np.float32([[x, 50, x + 40, 150]])
    found = Detections(box, np.float32([0.9]), np.zeros(1, np.int64), np.ones((1, 4), np.float32))
    writer.add(frame, found, frame / 25)
    if frame == 200:
        print("ready", flush=True)
"""


def test_a_killed_run(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with subprocess.Popen([sys.executable, "-c", RUN, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
        run.kill()
    stored = read_detection_file(path)
    assert len(stored) >= 200
    lines: list[str] = []
    assert main([str(path), "-o", str(tmp_path / "a.txt")], lines.append) == 0
    assert f"a: {len(stored)} frames, 1 tracks" in lines[0]
    with DetectionWriter(path, 25, (640, 480)) as writer:  # a new run replaces it
        writer.add(1, detections(1))
    assert_holds(read_detection_file(path), [1])


def test_memory_does_not_grow(tmp_path: Path) -> None:
    """An hour of 25 people: 0.5 GB with their embeddings, were it kept."""
    crowd = detections(1, count=50, size=512)
    path = tmp_path / "a.npz"
    tracemalloc.start()
    try:
        with DetectionWriter(path, 25, (640, 480)) as writer:
            for frame in range(1, 501):
                writer.add(frame, crowd)
            writer.close()
            peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 50_000_000
    assert peak < 8_000_000


def test_a_full_disk_while_frames_are_added(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"

    def write() -> None:
        with DetectionWriter(path, 25, (640, 480)) as writer:
            for frame in range(1, 100):
                writer.add(frame, detections(frame))

    with small_files(2000), pytest.raises(OutputError) as caught:
        write()
    assert str(caught.value) == f"{path} cannot be written (file too large); choose another path."
    stored = read_detection_file(path)
    assert_holds(stored, list(range(1, len(stored) + 1)))
    assert len(stored) > 5
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize("size", [1, 1000, 2500])
def test_a_full_disk_at_the_end(tmp_path: Path, size: int) -> None:
    """The log stays, nothing else does."""
    path = tmp_path / "a.npz"
    writer = DetectionWriter(path, 25, (640, 480))
    for frame in range(1, 4):
        writer.add(frame, detections(frame))
    with (
        small_files(size),
        pytest.raises(OutputError, match=r"cannot be finished \(file too large\); what it holds can"),
    ):
        writer.close()
    writer.close()
    assert_holds(read_detection_file(path), [1, 2, 3])
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.npz"]


def test_symbolic_links_are_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("precious")
    (tmp_path / "a.npz").symlink_to(target)
    with pytest.raises(OutputError, match=r"a\.npz cannot be written \(it is a symbolic link\)"):
        DetectionWriter(tmp_path / "a.npz", 25, (640, 480))
    (tmp_path / "b.npz.part").symlink_to(target)
    with DetectionWriter(tmp_path / "b.npz", 25, (640, 480)) as writer:
        writer.add(1, detections(1))
    assert_holds(read_detection_file(tmp_path / "b.npz"), [1])
    assert target.read_text() == "precious"


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot be written \(is a directory\)"):
        DetectionWriter(tmp_path, 25, (640, 480))
    if os.getuid():
        tmp_path.chmod(0o500)
        with pytest.raises(OutputError, match="permission denied"):
            DetectionWriter(tmp_path / "a.npz", 25, (640, 480))
