"""What came before a live source was read: passed over, and no reason for the stream to end."""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path

import pytest
from support import clip_files as clips
from support.live_streams import RATE, udp_stream

from fairmot.video import open_source
from fairmot.video.backlog import Backlog
from fairmot.video.capture import CameraSource


@pytest.mark.parametrize(
    ("age", "frames", "expected"),
    [
        # two were waited for
        (10.0, [(1, 0.0), (9, 0.011), (50, 0.009), (51, 0.011), (52, 0.0)], [True, True, True, False, False]),
        (0.39, [(1, 0.0), (9, 0.0), (30, 0.0), (31, 0.0)], [True, True, False, False]),  # no more can have come
        (0.0, [(1, 0.0)], [False]),
    ],
)
def test_the_end_of_a_backlog(age: float, frames: list[tuple[int, float]], expected: list[bool]) -> None:
    backlog = Backlog(time.monotonic() - age, 25.0)
    assert [backlog.holds(*frame) for frame in frames] == expected


def test_a_backlog_that_does_not_get_shorter_is_given_up() -> None:
    backlog = Backlog(time.monotonic() - 0.1, 1000.0)
    assert backlog.holds(1, 0.0)
    time.sleep(0.11)
    assert not backlog.holds(2, 0.0)


def test_a_live_source_begins_with_its_newest_frame(tmp_path: Path) -> None:
    with udp_stream(tmp_path) as stream, open_source(stream.url, pixel_format="yuv420p") as source:
        assert source.sample().pixel_format == "yuv420p"
        time.sleep(0.3)
        first = next(source).index
        time.sleep(0.01)
        assert first > 0.3 * RATE / 2
        assert next(source).index - first < 10, "those that came before were dropped after the first"


def test_more_than_the_buffers_hold_does_not_end_a_stream(tmp_path: Path) -> None:
    with udp_stream(tmp_path) as stream, open_source(stream.url) as source:
        stream.send(b"\x47\x1f\xff\x10".ljust(188, b"\xff") * 50_000)  # 9 MB without content
        time.sleep(0.1)
        assert len(list(islice(source, 3))) == 3


def test_a_sample_has_the_format_of_what_comes(tmp_path: Path) -> None:
    # OpenCV reads a file where a camera's path is expected.
    with CameraSource(str(clips.write_flat_video(tmp_path / "device.avi", 5, codec="mpeg4"))) as source:
        sample, frame = source.sample(), next(source)
    assert (sample.pixel_format, sample.pixels.shape) == (frame.pixel_format, frame.pixels.shape)
