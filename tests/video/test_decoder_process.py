"""Sources read in a worker process: the frames, errors, logs and the end of those read in a thread."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from support import clip_files as clips
from support import material
from support.processes import decoder_threads_of, workers_of

from fairmot.core import Frame, SourceError
from fairmot.core.processes import CAN_SHARE_MEMORY
from fairmot.video import Source, open_source
from fairmot.video.decoder_process import DecoderProcess
from fairmot.video.decoder_worker import decoder_threads
from fairmot.video.frame_ring import FrameRing, RingLayout

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not CAN_SHARE_MEMORY, reason="there is no memory that processes share without a name"),
]


@contextmanager
def in_process(spec: Path | str, frame_bytes: int | None = None, **options: Any) -> Iterator[Source]:
    with open_source(str(spec), **options) as source:
        ring = FrameRing(RingLayout(-(-(frame_bytes or source.frame_bytes) // 4096) * 4096, slots=6))
        source.allocate = Mock(side_effect=source.allocate)
        source.decode_in_process(ring)
        yield source
        ring.close()


def content(frame: Frame) -> tuple[Any, ...]:
    return frame.index, frame.timestamp, frame.pixel_format, frame.color_space, frame.full_range, frame.pixels.tobytes()


@pytest.mark.parametrize(
    ("pixel_format", "held", "frame_bytes"),
    [
        ("yuv420p", False, None),
        ("yuv420p", True, None),  # more than there are slots
        ("bgr24", False, 4096),  # larger than was expected
    ],
)
def test_frames_are_those_of_a_thread(tmp_path: Path, pixel_format: Any, held: bool, frame_bytes: int | None) -> None:
    path = clips.write_video(tmp_path / "clip.mp4", map(clips.noise, range(20)))
    selection: Any = {"start": 3, "count": 8, "stride": 2, "pixel_format": pixel_format}
    with open_source(str(path), **selection) as source:
        expected = [content(frame) for frame in source]
    with in_process(path, frame_bytes, **selection) as source:
        found = list(map(content, list(source) if held else source))
        assert found == expected
        assert source.frame_count == len(expected) == 8
        copied: Any = source.allocate
        assert copied.call_count == (3 if held else 0), "the last slot stays with the decoder"


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (6, 3), (32, 8)])
def test_the_threads_of_the_decoder(monkeypatch: pytest.MonkeyPatch, cores: int, threads: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
    assert decoder_threads() == threads


def test_a_process_has_few_threads_and_sends_frames_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = material.write_clip(tmp_path / "clip.mp4", 100)  # more than fit into the ring
    expected = decoder_threads()
    receive = Mock(side_effect=DecoderProcess._receive)
    with in_process(path) as source:
        assert next(source).index == 1
        assert decoder_threads_of(workers_of(os.getpid())["decode"]) == (expected if expected > 1 else 0)
        time.sleep(0.2)  # the ring is full by now
        monkeypatch.setattr(DecoderProcess, "_receive", lambda self: receive(self))
        assert [next(source).index for _ in range(5)] == [2, 3, 4, 5, 6]
    assert receive.call_count <= 3


def test_the_demo_has_its_ground_truth() -> None:
    spec = "demo?size=320x192&people=4&frames=5"
    with open_source(spec) as source, in_process(spec) as other:
        assert [content(frame) for frame in source] == [content(frame) for frame in other]
        assert source.ground_truth is not None
        assert other.ground_truth is not None
        assert source.ground_truth.read_text() == other.ground_truth.read_text()


def test_what_reading_logs_comes_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = material.write_images(tmp_path / "photos", [material.image()] * 6)
    material.write_images(tmp_path / "large", [material.image(size=(192, 128))])
    (tmp_path / "large" / "000001.png").rename(folder / "000004.png")
    for number in (3, 6):
        (folder / f"{number:06d}.png").write_bytes(b"not an image")
    (folder / "000007.png").write_bytes((folder / "000001.png").read_bytes())
    caplog.set_level(logging.INFO)
    with in_process(folder) as source:
        assert [frame.index for frame in source] == [1, 2, 4, 5, 7]
        assert source.damaged == "2 of 7 images of photos cannot be read, first 000003.png; their frames are skipped."
    assert [(record.name, record.levelname) for record in caplog.records] == [
        ("fairmot.video.images", "WARNING"),
        ("fairmot.video.source", "WARNING"),
        ("fairmot.video.images", "WARNING"),
    ]
    assert "frame 3 is skipped" in caplog.messages[0]
    assert "changes size to 192x128 at frame 4" in caplog.messages[1]


def test_an_error_comes_after_the_frames_before_it(tmp_path: Path) -> None:
    path = clips.write_video(tmp_path / "clip.ts", map(clips.flat, range(5)))
    small = path.read_bytes()
    clips.write_video(path, (clips.flat(number, (192, 128)) for number in range(5)))
    path.write_bytes(small + path.read_bytes())
    with in_process(path, max_pixels=10_000) as source:
        frames = []
        with pytest.raises(SourceError, match=r"--max-pixels") as caught:
            frames.extend(source)
        assert [frame.index for frame in frames] == [1, 2, 3, 4, 5]
        assert "decoder_worker" in str(caught.value.__cause__)
        assert list(source) == []
    with in_process(path, start=100) as source, pytest.raises(SourceError, match="ended before frame 100"):
        next(source)


def test_closing_from_another_thread_wakes_the_consumer(tmp_path: Path) -> None:
    path = clips.write_video(tmp_path / "clip.ts", (clips.flat(1) for _ in range(800)))
    with in_process(path, start=790) as source:
        threading.Timer(0.05, source.close).start()  # while the worker still starts
        began = time.monotonic()
        assert list(source) == []
        assert time.monotonic() - began < 2
    with in_process(path) as source:
        kept = next(source)
        source.close()
        assert list(source) == []
    assert kept.pixels.shape == (64, 96, 3)
    assert abs(int(kept.pixels.mean()) - 25) < 5, "a frame outlives its source"
