"""Copies of videos with the tracks as subtitles: the same packets, and every event on its frame."""

from __future__ import annotations

import errno
import io
import logging
import re
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from support import clip_files as clips
from test_orientation import matrix, set_matrix

from fairmot.core import ConfigError, OutputError, Tracks
from fairmot.video import Source, SubtitleSink, open_source
from fairmot.video.matroska import TRACK_NAME
from fairmot.video.subtitle_sink import check_copyable

B_FRAMES = {"preset": "veryfast", "bf": "2", "g": "12"}


def tracks(id_: int) -> Tracks:
    return Tracks(np.array([id_]), np.float32([[10, 20, 30, 40]]), np.ones(1, np.float32), np.zeros(1, np.int64))


def copy(source: Source, path: Path) -> list[int]:
    """Write all frames of a source, each with a track whose id is the frame's number; return those numbers."""
    numbers = []
    with SubtitleSink(path, source, source.frame_rate) as sink:
        for frame in source:
            sink.write(frame, tracks(frame.index))
            numbers.append(frame.index)
    return numbers


def events(path: Path) -> list[tuple[int, int, int]]:
    """Return begin and end in milliseconds, and the id that is shown, of each event."""
    with av.open(str(path)) as container:
        stream = container.streams.subtitles[0]
        found = [packet for packet in container.demux(stream) if packet.size]
        assert stream.time_base == Fraction(1, 1000)
        texts = [bytes(packet).decode() for packet in found]
    assert [text.split(",")[0] for text in texts] == [str(number) for number in range(len(texts))]
    ids = [int(re.findall(r"\d+$", text)[0]) for text in texts]
    return [(packet.pts, packet.pts + packet.duration, id_) for packet, id_ in zip(found, ids, strict=True)]


def shown(path: Path) -> list[list[int]]:
    """Return the ids that a player shows with each frame, in the order of presentation."""
    with av.open(str(path)) as container:
        times = sorted(round(frame.pts * frame.time_base * 1000) for frame in container.decode(video=0))
    found = events(path)
    return [[id_ for begin, end, id_ in found if begin <= time < end] for time in times]


def packets(path: Path) -> dict[str, list[tuple[int, bytes]]]:
    """Return presentation time in milliseconds and content of the packets with data, by kind of stream."""
    found: dict[str, list[tuple[int, bytes]]] = {}
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.size:
                time = round((packet.pts or 0) * packet.time_base * 1000)
                found.setdefault(packet.stream.type, []).append((time, bytes(packet)))
    return found


def add_sound(video: Path, path: Path) -> Path:
    """Write a video with two seconds of sound."""
    with av.open(str(video)) as source, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        sound: Any = container.add_stream("aac", rate=8000)
        for position in range(0, 16000, 1024):
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            samples.rate, samples.pts = 8000, position
            container.mux(sound.encode(samples))
        container.mux(sound.encode(None))
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    return path


def test_packets_stay_as_they_are(tmp_path: Path) -> None:
    video = clips.write_flat_video(tmp_path / "a.mp4", 30, encoder=B_FRAMES, rate=24)
    path = add_sound(video, tmp_path / "sound.mp4")
    with open_source(str(path)) as source:
        assert copy(source, tmp_path / "out.mkv") == list(range(1, 31))
    before, after = packets(path), packets(tmp_path / "out.mkv")
    moved = []
    for kind in ("video", "audio"):
        assert [content for _, content in after[kind]] == [content for _, content in before[kind]]
        moved += [one - other for (one, _), (other, _) in zip(after[kind], before[kind], strict=True)]
    # The first sound is before 0, where FFmpeg 7 and 8.0 write no packets: then all are as much later.
    assert max(moved) - min(moved) <= 1
    assert min(moved) in (0, -before["audio"][0][0])
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio", "subtitle"]
        subtitles: Any = container.streams.subtitles[0]
        assert int(getattr(subtitles.disposition, "value", subtitles.disposition)) & 1, "players show it at once"
        assert b"PlayResX: 96\nPlayResY: 64\n" in subtitles.codec_context.extradata
    assert shown(tmp_path / "out.mkv") == [[number] for number in range(1, 31)]


VARYING = [0.0, 0.04, 0.5, 0.52, 0.521, 1.7, 1.734, 3.0, 3.0335, 3.067]
CLIPS: dict[str, tuple[str, dict[str, Any]]] = {
    "B-frames": ("a.mp4", {"encoder": B_FRAMES}),
    "begins later": ("a.ts", {"encoder": B_FRAMES}),
    "varying rate": ("a.mp4", {"encoder": B_FRAMES, "times": VARYING}),
    "fraction of a rate": ("a.mp4", {"encoder": B_FRAMES, "rate": Fraction(30000, 1001)}),
    "MPEG-4 in AVI": ("a.avi", {"codec": "mpeg4", "rate": 30}),
    "MJPEG": ("a.mov", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
    "VP9": ("a.webm", {"codec": "libvpx-vp9", "encoder": {"deadline": "realtime", "cpu-used": "8"}}),
    "Matroska": ("a.mkv", {"encoder": B_FRAMES, "rate": 60}),
}


@pytest.mark.parametrize("kind", CLIPS)
def test_each_frame_has_its_own_event(tmp_path: Path, kind: str) -> None:
    name, options = CLIPS[kind]
    path = clips.write_flat_video(tmp_path / name, len(VARYING), **options)
    with open_source(str(path)) as source:
        numbers = copy(source, tmp_path / "out.mkv")
    assert len(numbers) == len(VARYING)
    assert shown(tmp_path / "out.mkv") == [[number] for number in numbers]
    with open_source(str(path)) as source, open_source(str(tmp_path / "out.mkv")) as copied:
        for one, other in zip(copied, source, strict=True):
            np.testing.assert_array_equal(one.bgr, other.bgr)
            assert one.timestamp == pytest.approx(other.timestamp, abs=0.0011)  # Matroska rounds to milliseconds


def test_a_part_is_copied_from_the_start_to_its_last_frame(tmp_path: Path) -> None:
    path = clips.write_flat_video(tmp_path / "a.mp4", 40, encoder={**B_FRAMES, "bf": "0"})
    with open_source(str(path), start=5, count=4, stride=3) as source:
        with SubtitleSink(tmp_path / "out.mkv", source, source.frame_rate / 3) as sink:
            for frame in source:
                sink.write(frame, tracks(frame.index) if frame.index != 8 else Tracks.empty())
        sink.close()
    assert events(tmp_path / "out.mkv") == [(160, 280, 5), (400, 520, 11), (520, 640, 14)]
    assert len(shown(tmp_path / "out.mkv")) == 16


def test_a_video_without_frames_leaves_no_file(tmp_path: Path) -> None:
    path = clips.write_flat_video(tmp_path / "a.mp4", 3)
    with open_source(str(path)) as source:
        SubtitleSink(tmp_path / "out.mkv", source, 25.0).close()
    assert not (tmp_path / "out.mkv").exists()


@pytest.mark.parametrize("aspect", [Fraction(64, 45), Fraction(1, 2)])
def test_the_shape_of_pixels_is_kept(tmp_path: Path, aspect: Fraction) -> None:
    options: dict[str, Any] = CLIPS["VP9"][1]  # which states it in the container alone
    path = clips.write_flat_video(tmp_path / "a.mp4", 5, sample_aspect_ratio=aspect, **options)
    with open_source(str(path)) as source:
        assert source.pixel_aspect == aspect
        copy(source, tmp_path / "out.mkv")
    with open_source(str(tmp_path / "out.mkv")) as source:
        assert (source.pixel_aspect, len(list(source)), source.damaged) == (aspect, 5, None)
    assert TRACK_NAME.encode() not in (tmp_path / "out.mkv").read_bytes()


def test_turned_videos_stay_turned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = clips.write_flat_video(tmp_path / "a.mp4", 3)
    set_matrix(path, matrix(0, 1, -1, 0, 96, 64))
    with caplog.at_level(logging.WARNING), open_source(str(path)) as source:
        copy(source, tmp_path / "out.mkv")
    assert "is stored turned or mirrored" in caplog.text
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert b"PlayResX: 64\nPlayResY: 96\n" in (container.streams.subtitles[0].codec_context.extradata or b"")
    with open_source(str(tmp_path / "out.mkv")) as copied, open_source(str(path)) as source:
        for one, other in zip(copied, source, strict=True):
            np.testing.assert_array_equal(one.bgr, other.bgr)


def images(folder: Path) -> str:
    cv2.imwrite(str(folder / "1.png"), clips.flat(1))
    return str(folder)


def clip(name: str, **options: Any) -> Callable[[Path], str]:
    return lambda folder: str(clips.write_flat_video(folder / name, 5, **options))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (images, r"is no video file, so there are no packets to copy"),
        (lambda folder: "demo?frames=3&size=96x64", r"demo is no video file"),
        (clip("a.gif", codec="gif", pix_fmt="rgb8"), r"a\.gif: Matroska files cannot hold gif video"),
        (clip("a.h264"), r"a\.h264 does not state when each frame is shown"),
        (clip("a.avi", encoder=B_FRAMES), r"a\.avi does not state when each frame is shown"),
    ],
    ids=["images", "demo", "codec", "no times", "AVI with B-frames"],
)
def test_what_cannot_be_copied(tmp_path: Path, make: Callable[[Path], str], sentence: str) -> None:
    with open_source(make(tmp_path)) as source, pytest.raises(ConfigError, match=sentence) as caught:
        check_copyable(source)
    assert re.search(r"; leave out --overlay subtitles, .*--no-video\.$", str(caught.value))


def test_clocks_that_start_again_are_refused(tmp_path: Path) -> None:
    part = clips.write_flat_video(tmp_path / "a.ts", 40).read_bytes()
    (tmp_path / "joined.ts").write_bytes(part + part)
    message = r"out\.mkv: the video of the source cannot be copied \(its times start again"
    with open_source(str(tmp_path / "joined.ts")) as source, pytest.raises(OutputError, match=message):
        copy(source, tmp_path / "out.mkv")
    assert len(events(tmp_path / "out.mkv")) >= 36


def test_times_that_step_back_a_little_are_evened_out(tmp_path: Path) -> None:
    first = clips.write_flat_video(tmp_path / "a.ts", 20, encoder=B_FRAMES)  # of 0.8 seconds
    later = clips.write_flat_video(tmp_path / "b.ts", 20, encoder=B_FRAMES, muxer={"output_ts_offset": "0.5"})
    (tmp_path / "joined.ts").write_bytes(first.read_bytes() + later.read_bytes())
    with open_source(str(tmp_path / "joined.ts")) as source:
        assert len(copy(source, tmp_path / "out.mkv")) == 40
    found = shown(tmp_path / "out.mkv")
    assert len(found) == 40
    assert found[:10] == [[number] for number in range(1, 11)]


def test_places_that_cannot_be_written_and_links(tmp_path: Path) -> None:
    path = clips.write_flat_video(tmp_path / "a.mp4", 3)
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "out.mkv").symlink_to(tmp_path / "precious")
    with open_source(str(path)) as source:
        with pytest.raises(OutputError, match="cannot be written"):
            SubtitleSink(tmp_path / "precious" / "out.mkv", source, 25.0)
        copy(source, tmp_path / "out.mkv")
    assert (tmp_path / "precious").read_text() == "precious"
    assert shown(tmp_path / "out.mkv") == [[1], [2], [3]]


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clips.write_noise_video(
        tmp_path_factory.mktemp("clips") / "a.mp4", 100, encoder={"preset": "ultrafast", "bf": "2"}
    )


@pytest.mark.parametrize("limit", [20, 60_000, 400_000, "index"])
def test_a_full_disk_leaves_what_plays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long_clip: Path, limit: int | str
) -> None:
    class FullFile(io.FileIO):
        def write(self, data: Any) -> int:
            room = (1 << 30 if limit == "index" else int(limit)) - self.tell()
            if room <= 0 or (limit == "index" and b"\x1c\x53\xbb\x6b" in bytes(data) and self.tell() > 1000):  # cues
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data[:room])

    monkeypatch.setattr("fairmot.video.mp4.open_new", lambda path: FullFile(path, "w+"))
    path = tmp_path / "out.mkv"
    with open_source(str(long_clip)) as source, pytest.raises(OutputError, match=r"out\.mkv cannot be written \(no sp"):
        copy(source, path)
    if limit == 20:
        assert not path.exists()
        return
    found = shown(path)
    assert [each for each in found[: len(events(path))] if each] == [[id_] for *_, id_ in events(path)]
    assert 0 < len(found) < 100


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_a_killed_process_leaves_a_video_that_plays(tmp_path: Path, long_clip: Path) -> None:
    path = tmp_path / "out.mkv"
    program = f"""
import os, signal, sys
sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]!r}
from test_subtitle_sink import tracks
from fairmot.video import SubtitleSink, open_source
source = open_source({str(long_clip)!r})
sink = SubtitleSink({str(path)!r}, source, source.frame_rate)
for frame in source:
    sink.write(frame, tracks(frame.index))
    if frame.index == 90:
        os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, check=False)
    assert done.returncode == -9, done.stderr
    assert len(events(path)) >= 90 - 25 * 0.7
    found = shown(path)
    assert found[: len(events(path)) - 3] == [[number] for number in range(1, len(events(path)) - 2)]
    # After a power cut the end may be missing.
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert len(shown(path)) > 30
