from __future__ import annotations

import errno
import io
import json
import logging
import struct
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import motmetrics
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import clip_files as clips

from fairmot.core import Frame, OutputError, Tracks
from fairmot.video import CSVSink, JSONLSink, MOTSink, Sink, VideoSink, WindowSink, open_source
from fairmot.video.encoders import HARDWARE
from fairmot.video.video_sink import FrameRateLimit

MAKERS: dict[str, Callable[[Path], Sink]] = {
    "video": lambda path: VideoSink(path, clips.SIZE, 25.0),
    "mot": MOTSink,
    "jsonl": JSONLSink,
    "csv": CSVSink,
}


def tracks(*rows: tuple[int, float, float, float, float, float]) -> Tracks:
    """Tracks from rows of id, left, top, width, height, score."""
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Tracks(
        table[:, 0].astype(np.int64),
        table[:, 1:5].astype(np.float32),
        table[:, 5].astype(np.float32),
        np.zeros(len(table), np.int64),
    )


def frame(number: int, timestamp: float | None = None, size: tuple[int, int] = clips.SIZE) -> Frame:
    return Frame(number, number / 25 if timestamp is None else timestamp, clips.flat(number % 40, size))


def read_times(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(decoded.time or 0) for decoded in container.decode(video=0)]


coordinates = st.floats(-5000, 5000, width=32)
rows = st.tuples(
    st.integers(1, 10**6), coordinates, coordinates, st.floats(1, 5000, width=32), st.floats(1, 5000, width=32),
    st.floats(0, 1, width=32),
)  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(rows, max_size=5, unique_by=lambda row: row[0]), min_size=1, max_size=5).filter(any))
def test_mot_text_is_read_back_by_motmetrics(
    content: list[list[tuple[int, float, float, float, float, float]]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tracks.txt"
        with MOTSink(path) as sink:
            for number, boxes in enumerate(content, 1):
                sink.write(frame(number), tracks(*boxes))
        table = motmetrics.io.loadtxt(str(path), fmt="mot15-2D")
    expected = {(number, row[0]): row[1:] for number, boxes in enumerate(content, 1) for row in boxes}
    assert set(table.index) == set(expected)
    for key, (left, top, width, height, score) in expected.items():
        row = table.loc[key]
        # motmetrics turns MATLAB's 1-based corners into 0-based ones.
        read = [row["X"] + 1, row["Y"] + 1, row["Width"], row["Height"]]
        assert read == pytest.approx([left, top, width, height], abs=0.0051)
        assert row["Confidence"] == pytest.approx(score, abs=1e-6)


def test_mot_text_exactly(tmp_path: Path) -> None:
    with MOTSink(tmp_path / "deep" / "er" / "t.txt") as sink:
        sink.write(frame(1), tracks((3, -1.5, 2.006, 10, 20, 0.40625)))
        sink.write(frame(2), Tracks.empty())
        sink.write(frame(7), tracks((1, 0, 0, 1, 1, 1), (2, 5, 5, 5, 5, 0.5)))
    assert (tmp_path / "deep" / "er" / "t.txt").read_bytes() == (
        b"1,3,-1.50,2.01,10.00,20.00,0.406250,-1,-1,-1\n"
        b"7,1,0.00,0.00,1.00,1.00,1.000000,-1,-1,-1\n"
        b"7,2,5.00,5.00,5.00,5.00,0.500000,-1,-1,-1\n"
    )


def test_json_lines_have_every_frame(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    with JSONLSink(path) as sink:
        sink.write(frame(1, 0.0), tracks((3, -1.5, 2.25, 10, 20, 0.40625)))
        sink.write(frame(4, 0.12), Tracks.empty())
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {
            "frame": 1,
            "timestamp": 0.0,
            "tracks": [{"id": 3, "box": [-1.5, 2.25, 10.0, 20.0], "score": 0.40625, "class": 0}],
        },
        {"frame": 4, "timestamp": 0.12, "tracks": []},
    ]


@pytest.mark.parametrize("kind", ["mot", "jsonl"])
def test_text_is_on_disk_after_every_frame(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "t"
    with MAKERS[kind](path) as sink:
        for number in range(1, 4):
            sink.write(frame(number), tracks((1, 1, 2, 3, 4, 0.5)))
            assert len(path.read_text().splitlines()) == number


@pytest.mark.parametrize("kind", MAKERS)
def test_unwritable_places_raise_one_message(tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "out", tmp_path / "folder"):
        with pytest.raises(OutputError, match=r"cannot be written \(.*\); choose another output folder"):
            MAKERS[kind](path)
    assert "video-sink" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
@pytest.mark.parametrize("kind", ["mot", "jsonl"])
def test_full_disk_while_writing_text(kind: str) -> None:
    sink = MAKERS[kind](Path("/dev/full"))
    with pytest.raises(OutputError, match=r"/dev/full cannot be written \(no space left on device\)"):
        sink.write(frame(1), tracks((1, 1, 2, 3, 4, 0.5)))
    sink.close()
    assert Path("/dev/full").is_char_device(), "a device is not replaced"


@pytest.mark.skipif(sys.platform == "win32", reason="limits of file size are POSIX")
def test_full_disk_while_writing_video(tmp_path: Path) -> None:
    # The limit stands for a full disk; it holds for a whole process, so the test needs one of its own.
    program = f"""
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
from support import clip_files as clips
from fairmot.core import Frame, OutputError, Tracks
from fairmot.video import VideoSink
try:
    with VideoSink({str(tmp_path / "out.mp4")!r}, clips.SIZE, 25.0) as sink:
        for number in range(1, 400):
            sink.write(Frame(number, number / 25, clips.noise(number)), Tracks.empty())
except OutputError as error:
    print(number, error)
"""
    folders = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {folders!r}\n{program}"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    number, _, message = done.stdout.strip().partition(" ")
    assert 1 < int(number) < 399
    assert "out.mp4 cannot be written (file too large)" in message


@pytest.mark.parametrize("size", [(96, 64), (97, 65), (96, 65), (97, 64)])
def test_video_plays_and_keeps_the_image(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "out.mp4"
    with VideoSink(path, size, 25.0) as sink:
        for number in range(1, 13):
            sink.write(frame(number, size=size), Tracks.empty())
    with open_source(str(path), pixel_format="yuv420p") as source:
        assert source.size == (size[0] + size[0] % 2, size[1] + size[1] % 2)
        assert (source.frame_count, source.frame_rate) == (12, 25.0)
        frames = list(source)
    assert source.damaged is None
    # The lower half: the caption is above it. The repeated column and row belong to the image.
    assert [clips.number_of(decoded.bgr[32:]) for decoded in frames] == list(range(1, 13))
    assert frames[0].pixel_format == "yuv420p"
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"


@pytest.mark.parametrize("rate", [25.0, 30000 / 1001, 7.0, 0.5, 120.0])
def test_video_keeps_the_frame_rate(tmp_path: Path, rate: float) -> None:
    with VideoSink(tmp_path / "out.mp4", clips.SIZE, rate) as sink:
        for number in range(1, 11):
            sink.write(frame(number, (number - 1) / rate), Tracks.empty())
    with open_source(str(tmp_path / "out.mp4")) as source:
        assert source.frame_rate == pytest.approx(rate, rel=1e-4)
        assert [item.timestamp for item in source] == pytest.approx([number / rate for number in range(10)], abs=1e-4)


def test_video_keeps_varying_timestamps_from_zero(tmp_path: Path) -> None:
    times = [10.0, 10.04, 10.5, 10.52, 11.7, 11.7, 13.0]
    with VideoSink(tmp_path / "out.mp4", clips.SIZE, 25.0) as sink:
        for number, timestamp in enumerate(times, 1):
            sink.write(frame(number, timestamp), Tracks.empty())
    read = read_times(tmp_path / "out.mp4")
    assert read == pytest.approx([timestamp - 10 for timestamp in times], abs=1e-3)
    assert np.all(np.diff(read) > 0)
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.duration is not None
        assert stream.time_base is not None
        assert stream.duration * stream.time_base >= 3  # players stop at the stated duration


def test_planes_and_bgr_give_the_same_video(tmp_path: Path) -> None:
    clips.write_flat_video(tmp_path / "in.mp4", 8)
    means = []
    for pixel_format in ("bgr24", "yuv420p"):
        path = tmp_path / f"{pixel_format}.mp4"
        with open_source(str(tmp_path / "in.mp4"), pixel_format=pixel_format) as source:  # type: ignore[arg-type]
            with VideoSink(path, source.size, source.frame_rate) as sink:
                for item in source:
                    before = item.pixels.copy()
                    sink.write(item, tracks((1, 10, 10, 20, 40, 0.9)))
            np.testing.assert_array_equal(item.pixels, before)
        with open_source(str(path)) as source:
            means.append([float(item.pixels[32:].mean()) for item in source])
    assert means[0] == pytest.approx(means[1], abs=3)  # of flat dark images, which x264 keeps roughly


@pytest.mark.parametrize("size", [(320, 240), (1280, 720)])
def test_video_keeps_colors(tmp_path: Path, size: tuple[int, int]) -> None:
    image = np.zeros((size[1], size[0], 3), np.uint8)
    image[:] = (40, 180, 220)
    with VideoSink(tmp_path / "out.mp4", size, 25.0) as sink:
        sink.write(Frame(1, 0.0, image), Tracks.empty())
    with open_source(str(tmp_path / "out.mp4"), pixel_format="yuv420p") as source:
        written = next(source)
    assert np.abs(written.bgr[60:].astype(int) - image[60:]).max() <= 4
    assert (written.color_space, written.full_range) == ("ITU601", False)


def flat_planes(
    number: int, pixel_format: str, space: str = "ITU601", full_range: bool = False, height: int = 64
) -> Frame:
    pixels = np.full((height * 3 // 2, 96), 128, np.uint8)
    pixels[:height] = 60 + number
    return Frame(number, number / 25, pixels, pixel_format, space, full_range)  # type: ignore[arg-type]


@pytest.mark.parametrize("encoder", ["libx264", "mpeg4"])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "nv12"])
@pytest.mark.parametrize(("space", "full_range"), [("ITU601", False), ("ITU709", False), ("ITU709", True)])
def test_planes_keep_their_matrix_and_range(
    tmp_path: Path, encoder: str, pixel_format: str, space: str, full_range: bool
) -> None:
    """MPEG-4 part 2 names neither, so it is converted to what players assume."""
    with VideoSink(tmp_path / "out.mp4", clips.SIZE, 25.0, (encoder,)) as sink:
        for number in range(1, 4):
            sink.write(flat_planes(number, pixel_format, space, full_range), Tracks.empty())
    with open_source(str(tmp_path / "out.mp4"), pixel_format="yuv420p") as source:
        read = list(source)
    level = 61.0
    if encoder == "libx264":
        assert (read[0].color_space, read[0].full_range) == (space, full_range)
    else:
        assert (read[0].color_space, read[0].full_range) == ("ITU601", False)
        level = 16 + 61 * 219 / 255 if full_range else 61
    assert float(read[0].pixels[40:64].mean()) == pytest.approx(level, abs=2)
    assert len(read) == 3


def test_a_change_of_layout_is_converted(tmp_path: Path) -> None:
    """The video keeps the color of its first frame."""
    kinds = [("yuv420p", "ITU709", False), ("nv12", "ITU709", False), ("yuv420p", "ITU709", True)]
    written = [flat_planes(1, *kind) for kind in kinds] + [Frame(4, 4 / 25, np.full((64, 96, 3), 50, np.uint8))]
    with VideoSink(tmp_path / "out.mp4", clips.SIZE, 25.0) as sink:
        for each in written:
            sink.write(each, Tracks.empty())
    with open_source(str(tmp_path / "out.mp4")) as source:
        levels = [float(item.bgr[40:].mean()) for item in source]
    assert levels == pytest.approx([float(each.bgr[40:].mean()) for each in written], abs=4)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "nv12"])
@pytest.mark.parametrize("height", [64, 66])
def test_frames_are_drawn_into_only_where_they_may_be(tmp_path: Path, pixel_format: str, height: int) -> None:
    for in_place in (False, True):
        given = flat_planes(1, pixel_format, height=height)
        before = given.pixels.copy()
        with VideoSink(tmp_path / f"{in_place}.mp4", (96, height), 25.0, in_place=in_place) as sink:
            sink.write(given, tracks((1, 10, 10, 20, 40, 0.9)))
        assert np.array_equal(given.pixels, before) is not in_place
    frozen = flat_planes(1, pixel_format)
    frozen.pixels.flags.writeable = False
    with VideoSink(tmp_path / "frozen.mp4", clips.SIZE, 25.0, in_place=True) as sink:
        sink.write(frozen, tracks((1, 10, 10, 20, 40, 0.9)))
    images = []
    for name in ("False", "True"):
        with open_source(str(tmp_path / f"{name}.mp4")) as source:
            images.append(next(source).pixels)
    np.testing.assert_array_equal(*images)


@pytest.mark.parametrize("encoder", ["libx264", "mpeg4"])
@pytest.mark.parametrize("low_delay", [False, True])
def test_pixels_are_let_go_when_they_are_encoded(tmp_path: Path, encoder: str, low_delay: bool) -> None:
    """Also by an encoder that holds frames back, and while the sink waits for more."""
    with VideoSink(tmp_path / "out.mp4", clips.SIZE, 25.0, (encoder,), in_place=True, low_delay=low_delay) as sink:
        held = []
        for number in range(1, 21):
            written = flat_planes(number, "yuv420p")
            held.append(weakref.ref(written.pixels))
            sink.write(written, tracks((1, 10, 10, 20, 40, 0.9)))
            del written
            assert sum(each() is not None for each in held) <= 8  # one of them is being written
        deadline = time.monotonic() + 10
        while any(each() is not None for each in held) and time.monotonic() < deadline:
            time.sleep(0.005)
        assert not any(each() is not None for each in held)
    assert len(read_times(tmp_path / "out.mp4")) == 20


@pytest.mark.parametrize("pixel_format", ["bgr24", "yuv420p"])
def test_large_frames_are_scaled_down_and_then_drawn_into(tmp_path: Path, pixel_format: str) -> None:
    image = np.full((480, 640, 3), 100, np.uint8)
    given = Frame(1, 0.0, image)
    if pixel_format == "yuv420p":
        given = Frame(1, 0.0, np.full((720, 640), 100, np.uint8), "yuv420p")
    with VideoSink(tmp_path / "out.mp4", (640, 480), 25.0, max_size=(320, 320)) as sink:
        sink.write(given, tracks((1, 200, 200, 100, 200, 0.9)))
    with open_source(str(tmp_path / "out.mp4")) as source:
        assert source.size == (320, 240)
        got = next(source).bgr.astype(int)
    spread = got.max(axis=2) - got.min(axis=2)
    base = spread[220, 300]
    assert spread[150, 98:103].max() > base + 60  # the left edge, at half of its place
    assert spread[150, 148:153].max() > base + 60
    assert spread[150, 115:135].max() < base + 20


def test_frames_are_left_out_of_the_video_by_their_times(tmp_path: Path) -> None:
    """Of a varying rate too: where frames are rare all are kept. Trails and times stay those of the source."""
    times = [number / 25 for number in range(50)] + [2.0, 2.5, 3.5, 3.51, 4.5]
    with VideoSink(tmp_path / "out.mp4", clips.SIZE, 25.0, max_frame_rate=10) as sink:
        for number, timestamp in enumerate(times, 1):
            sink.write(frame(number, 7 + timestamp), Tracks.empty())
    read = read_times(tmp_path / "out.mp4")
    assert 20 <= sum(timestamp < 1.99 for timestamp in read) <= 21
    assert np.diff(read).min() >= 0.08 - 1e-3
    assert set(np.round(read, 3)) <= set(np.round(times, 3))
    assert [timestamp for timestamp in read if timestamp > 2.1] == pytest.approx([2.5, 3.5, 4.5], abs=1e-3)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert float(container.streams.video[0].average_rate or 0) < 12


@pytest.mark.parametrize(("rate", "most", "kept"), [(30, 30, 300), (30, 60, 300), (29.97, 15, 150), (25, 24, 288)])
def test_a_limit_keeps_the_rate_though_times_are_rounded(rate: float, most: float, kept: int) -> None:
    limit = FrameRateLimit(most)
    assert sum(limit.admits(round(5 + number / rate, 3)) for number in range(300)) == pytest.approx(kept, abs=1)


def test_an_encoder_that_is_listed_but_cannot_open_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An encoder of the hardware that is not there, and one that refuses frames as small as these."""
    if not [name for name in HARDWARE if name in av.codecs_available]:
        pytest.skip("this FFmpeg has no encoder of hardware")
    with caplog.at_level(logging.WARNING), VideoSink(tmp_path / "out.mp4", (16, 16), 25.0) as sink:
        sink.write(Frame(1, 0.0, np.zeros((16, 16, 3), np.uint8)), Tracks.empty())
    assert not caplog.records
    assert len(read_times(tmp_path / "out.mp4")) == 1


def test_boxes_are_drawn(tmp_path: Path) -> None:
    with VideoSink(tmp_path / "out.mp4", (320, 240), 25.0) as sink:
        for number in range(1, 6):
            sink.write(frame(3, number / 25, (320, 240)), tracks((1, 100, 60, 80, 120, 0.9)))
    with open_source(str(tmp_path / "out.mp4")) as source:
        image = list(source)[-1].bgr.astype(int)
    spread = image.max(axis=2) - image.min(axis=2)  # gray has none
    assert spread[120, 96:104].max() > 60
    assert spread[176:184, 140].max() > 60
    assert spread[120, 130:150].max() < 30


@pytest.mark.parametrize("aspect", [Fraction(64, 45), Fraction(10, 11), Fraction(2), Fraction(1), Fraction(4001, 3000)])
@pytest.mark.parametrize("encoder", ["libx264", "mpeg4"])
def test_the_shape_of_pixels_is_written(tmp_path: Path, encoder: str, aspect: Fraction) -> None:
    with VideoSink(tmp_path / "out.mp4", clips.SIZE, 25.0, (encoder,), pixel_aspect=aspect) as sink:
        sink.write(frame(1), Tracks.empty())
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        assert float(stream.sample_aspect_ratio or 1) == pytest.approx(float(aspect), rel=1e-3)
        assert float(stream.codec_context.sample_aspect_ratio or 1) == pytest.approx(float(aspect), rel=1e-3)


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 300), (3, 5), (16384, 2)])
def test_sizes_at_the_limits(tmp_path: Path, size: tuple[int, int]) -> None:
    with VideoSink(tmp_path / "out.mp4", size, 25.0) as sink:
        for number in range(1, 4):
            sink.write(Frame(number, number / 25, np.zeros((size[1], size[0], 3), np.uint8)), Tracks.empty())
    assert len(read_times(tmp_path / "out.mp4")) == 3


@pytest.mark.parametrize("size", [(20000, 16), (16, 20000)])
@pytest.mark.parametrize("encoder", ["libx264", "mpeg4"])
def test_sizes_beyond_the_limits(tmp_path: Path, encoder: str, size: tuple[int, int]) -> None:
    with pytest.raises(OutputError, match=rf"{encoder} cannot take frames of {size[0]}x{size[1]} .*--no-video\."):
        VideoSink(tmp_path / "out.mp4", size, 25.0, (encoder,))
    assert list(tmp_path.iterdir()) == []
    assert "video-sink" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
@pytest.mark.parametrize("encoder", ["libx264", "mpeg4"])
def test_a_killed_process_leaves_a_video_that_plays(tmp_path: Path, encoder: str) -> None:
    path = tmp_path / "out.mp4"
    program = f"""
import os, signal
from support import clip_files as clips
from fairmot.core import Frame, Tracks
from fairmot.video import VideoSink
sink = VideoSink({str(path)!r}, clips.SIZE, 25.0, ({encoder!r},))
for number in range(1, 151):
    sink.write(Frame(number, number / 25, clips.flat(number % 40, clips.SIZE)), Tracks.empty())
os.kill(os.getpid(), signal.SIGKILL)
"""
    folders = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
    program = f"import sys; sys.path[:0] = {folders!r}\n{program}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, check=False)
    assert done.returncode == -9, done.stderr
    times = read_times(path)
    assert len(times) > 75  # an encoder with many threads holds many frames
    assert times == pytest.approx([number / 25 for number in range(len(times))], abs=1e-4)
    with open_source(str(path)) as source:
        levels = [float(item.bgr[32:].mean()) for item in source]
    assert levels == pytest.approx([18 + 5 * (number % 40) for number in range(1, len(times) + 1)], abs=7)
    # After a power cut the end may be missing.
    data = path.read_bytes()
    ends = np.cumsum([size for _, size in boxes_of(path)])
    for end in ends[-1:8:-2].tolist():  # of the media data of a fragment
        path.write_bytes(data[: end - 20])
        with open_source(str(path)) as source:
            assert len(list(source)) > 25


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_a_killed_live_run_loses_little_where_frames_come_slowly(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    program = f"""
import os, signal, sys, time
sys.path[:0] = {[str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]!r}
from support import clip_files as clips
from fairmot.core import Frame, Tracks
from fairmot.video import VideoSink
sink = VideoSink({str(path)!r}, clips.SIZE, 25.0, low_delay=True)
for number in range(1, 13):
    sink.write(Frame(number, float(number), clips.flat(number, clips.SIZE)), Tracks.empty())
time.sleep(1)  # the thread that encodes is done long before
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, check=False)
    assert done.returncode == -9, done.stderr
    assert len(read_times(path)) >= 10


@pytest.mark.parametrize("times", [None, [10.0, 10.04, 10.5, 10.52, 11.7, 11.7, 13.0, 17.0]])
def test_a_complete_video_is_an_ordinary_one(tmp_path: Path, times: list[float] | None) -> None:
    times = times or [number / 25 for number in range(100)]
    with VideoSink(tmp_path / "out.mp4", clips.SIZE, 25.0) as sink:
        for number, timestamp in enumerate(times, 1):
            sink.write(frame(number, timestamp), Tracks.empty())
    assert [kind for kind, _ in boxes_of(tmp_path / "out.mp4")] == [b"ftyp", b"free", b"mdat", b"moov"]
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].frames == len(times)


def boxes_of(path: Path) -> list[tuple[bytes, int]]:
    data, position, boxes = path.read_bytes(), 0, []
    while position < len(data):
        size, kind = struct.unpack_from(">I4s", data, position)
        boxes.append((kind, size))
        position += size
    return boxes


@pytest.mark.skipif(sys.platform == "win32", reason="limits of file size are POSIX")
@pytest.mark.parametrize("limit", [20, 500, 5_000, 60_000, "header", "index"])
def test_a_full_disk_leaves_whole_fragments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int | str) -> None:
    class FullFile(io.FileIO):
        def write(self, data: Any) -> int:
            room = (1 << 30 if limit == "index" else 40 if limit == "header" else int(limit)) - self.tell()
            if room <= 0 or (limit == "index" and bytes(data[4:8]) == b"moov" and self.tell() > 2000):
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data[:room])

    monkeypatch.setattr("fairmot.video.mp4.open_new", lambda path: FullFile(path, "w+"))
    path, count = tmp_path / "out.mp4", 0

    def write() -> None:
        nonlocal count
        with VideoSink(path, clips.SIZE, 25.0) as sink:
            for number in range(1, 101):
                sink.write(Frame(number, number / 25, clips.noise(number)), Tracks.empty())
                count = number

    with pytest.raises(OutputError, match=r"out\.mp4 cannot be written \(no space left on device\)"):
        write()
    if limit in (20, 500, 5_000, "header"):
        assert not path.exists()
    else:
        kinds = [kind for kind, _ in boxes_of(path)]
        assert kinds == [*kinds[: kinds.index(b"moof")], *[b"moof", b"mdat"] * kinds.count(b"moof")]
        assert 0 < len(read_times(path)) <= count
        assert limit != "index" or len(read_times(path)) == 100


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_links_are_replaced_not_followed(tmp_path: Path, kind: str, link: str) -> None:
    (tmp_path / "precious").write_text("precious")
    getattr(tmp_path / "out", link)(tmp_path / "precious")
    with MAKERS[kind](tmp_path / "out") as sink:
        sink.write(frame(1), tracks((1, 1, 2, 3, 4, 0.5)))
    assert (tmp_path / "precious").read_text() == "precious"
    assert not (tmp_path / "out").is_symlink()
    assert (tmp_path / "out").stat().st_size > 20


@pytest.mark.parametrize("kind", ["mot", "jsonl"])
def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    class FullFile(io.FileIO):
        def write(self, data: Any) -> int:
            if not room[0] - self.tell():
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data[: room[0] - self.tell()])

    room = [150]
    monkeypatch.setattr("fairmot.video.sink.open_new", lambda path: FullFile(path, "w+"))
    with MAKERS[kind](tmp_path / "out") as sink:
        sink.write(frame(1), tracks((1, 1, 2, 3, 4, 0.5)))
        for _ in range(2):
            with pytest.raises(OutputError, match="no space left"):
                sink.write(frame(2), tracks(*[(number, 1, 2, 3, 4, 0.5) for number in range(1, 9)]))
        assert len((tmp_path / "out").read_text().splitlines()) == 1
        room[0] = 10_000
        sink.write(frame(3), tracks((1, 1, 2, 3, 4, 0.5)))
    assert [line.count("3") > 0 for line in (tmp_path / "out").read_text().splitlines()] == [True, True]
    assert b"\0" not in (tmp_path / "out").read_bytes()


def test_closing_without_frames_leaves_no_file(tmp_path: Path) -> None:
    with VideoSink(tmp_path / "out.mp4", clips.SIZE, 25.0):
        pass
    assert list(tmp_path.iterdir()) == []


def test_video_of_an_interrupted_run_plays(tmp_path: Path) -> None:
    def run() -> None:
        with VideoSink(tmp_path / "out.mp4", clips.SIZE, 25.0) as sink:
            for number in range(1, 8):
                sink.write(frame(number), Tracks.empty())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert len(read_times(tmp_path / "out.mp4")) == 7


def test_one_frame_is_a_video(tmp_path: Path) -> None:
    with VideoSink(tmp_path / "out.mp4", clips.SIZE, 25.0) as sink:
        sink.write(frame(1), Tracks.empty())
        sink.close()
    assert read_times(tmp_path / "out.mp4") == [0.0]


def test_a_bug_in_the_encoding_thread_is_not_hidden(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "out.mp4", clips.SIZE, 25.0)
    bad = frame(1)
    object.__setattr__(bad, "pixels", np.zeros((64, 96, 2), np.uint8))  # past the checks of the constructor
    sink.write(bad, Tracks.empty())
    with pytest.raises(cv2.error, match="OpenCV"):
        sink.close()


def test_missing_encoder_falls_back_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), VideoSink(tmp_path / "o.mp4", clips.SIZE, 25.0, ("none", "mpeg4")) as sink:
        for number in range(1, 6):
            sink.write(frame(number), Tracks.empty())
    assert "lacks the encoder none here; the video is written with mpeg4" in caplog.text
    assert len(read_times(tmp_path / "o.mp4")) == 5
    with pytest.raises(OutputError, match="none of the encoders none, nothing"):
        VideoSink(tmp_path / "x.mp4", clips.SIZE, 25.0, ("none", "nothing"))


def test_encoding_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with VideoSink(tmp_path / "out.mp4", clips.SIZE, 25.0) as sink:
        sink.write(frame(1), Tracks.empty())
    assert capfd.readouterr() == ("", "")


def test_window_without_a_display_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("other systems always have a display")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(OutputError, match=r"There is no display for a window .*leave out --show"):
        WindowSink("tracks")
    monkeypatch.setenv("DISPLAY", ":4711")  # nobody listens there; OpenCV would abort this process
    with pytest.raises(OutputError, match="OpenCV cannot open a window here"):
        WindowSink("tracks")


def test_landmarks_in_json_lines(tmp_path: Path) -> None:
    found = tracks((1, 0, 0, 10, 20, 0.9))
    points = np.float32([[[1.234, 5], [np.inf, 2]]])
    with JSONLSink(tmp_path / "x.jsonl") as sink:
        sink.write(frame(1), Tracks(found.ids, found.tlwh, found.scores, found.class_ids, landmarks=points))
    (row,) = json.loads((tmp_path / "x.jsonl").read_text())["tracks"]
    assert row["landmarks"] == [[1.23, 5.0], [None, 2.0]]


def test_csv_quotes_names_and_names_every_class(tmp_path: Path) -> None:
    with CSVSink(tmp_path / "x.csv", ['bus, "long"']) as sink:
        sink.write(frame(1), tracks((1, 0, 0, 10, 20, 0.5)))
        assert (tmp_path / "x.csv").read_text().splitlines() == [
            "frame,timestamp,id,class_id,class_name,left,top,width,height,score",
            '1,0.04,1,0,"bus, ""long""",0.00,0.00,10.00,20.00,0.500000',
        ]
