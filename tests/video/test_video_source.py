from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from support import clip_files as clips

import fairmot.video.containers
from fairmot.core import ConfigError, Frame, SourceError
from fairmot.video import open_source
from fairmot.video.capture import CameraSource
from fairmot.video.video_source import VideoSource


def read_all(path: Path | str, **options: object) -> list[Frame]:
    with open_source(str(path), **options) as source:  # type: ignore[arg-type]
        return list(source)


@pytest.mark.parametrize("pixel_format", ["bgr24", "yuv420p"])
def test_every_frame_comes_out_once(tmp_path: Path, pixel_format: str) -> None:
    path = clips.write_flat_video(tmp_path / "my clip.mp4", 20)
    with open_source(str(path), pixel_format=pixel_format) as source:  # type: ignore[arg-type]
        assert (source.name, source.size, source.frame_rate) == ("my_clip", clips.SIZE, 25.0)
        assert (source.frame_count, source.is_live, source.ground_truth) == (20, False, None)
        frames = list(source)
    assert source.damaged is None
    assert [frame.index for frame in frames] == list(range(1, 21))
    assert [frame.timestamp for frame in frames] == pytest.approx([number / 25 for number in range(20)])
    assert [clips.number_of(frame.bgr) for frame in frames] == list(range(1, 21))
    assert {frame.pixel_format for frame in frames} == {pixel_format}


@pytest.mark.parametrize(
    ("start", "count", "stride", "expected"),
    [(1, 3, 1, [1, 2, 3]), (18, None, 1, [18, 19, 20]), (2, None, 6, [2, 8, 14, 20]), (5, 2, 10, [5, 15])],
)
def test_selected_frames_keep_number_time_and_content(
    tmp_path: Path, start: int, count: int | None, stride: int, expected: list[int]
) -> None:
    path = clips.write_flat_video(tmp_path / "a.mp4", 20)
    frames = read_all(path, start=start, count=count, stride=stride)
    assert [frame.index for frame in frames] == expected
    assert [clips.number_of(frame.bgr) for frame in frames] == expected
    assert [frame.timestamp for frame in frames] == pytest.approx([(number - 1) / 25 for number in expected])


def test_planes_convert_to_the_same_image_as_the_source_converts(tmp_path: Path) -> None:
    path = clips.write_noise_video(tmp_path / "a.mp4", 5)
    for planes, image in zip(read_all(path, pixel_format="yuv420p"), read_all(path), strict=True):
        assert planes.pixels.shape == (clips.SIZE[1] * 3 // 2, clips.SIZE[0])
        np.testing.assert_array_equal(planes.bgr, image.pixels)


@pytest.mark.parametrize(
    ("context", "size", "space", "full"),
    [
        ({}, (96, 64), "ITU601", False),
        ({}, (1280, 16), "ITU709", False),
        ({}, (96, 578), "ITU709", False),
        ({"colorspace": 1}, (96, 64), "ITU709", False),
        ({"colorspace": 6, "color_range": 2}, (1280, 16), "ITU601", True),
    ],
)
def test_matrix_and_range_come_from_the_stream(
    tmp_path: Path, context: dict[str, int], size: tuple[int, int], space: str, full: bool
) -> None:
    path = clips.write_flat_video(tmp_path / "a.mp4", 1, size, **context)
    (frame,) = read_all(path, pixel_format="yuv420p")
    assert (frame.pixel_format, frame.color_space, frame.full_range) == ("yuv420p", space, full)


def test_colors_are_right_whatever_the_matrix(tmp_path: Path) -> None:
    image = np.zeros((64, 96, 3), np.uint8)
    image[:] = (40, 180, 220)
    for codec, pix_fmt in (("ffv1", "bgr0"), ("ffv1", "yuv444p"), ("ffv1", "gray"), ("mjpeg", "yuvj420p")):
        path = clips.write_video(tmp_path / f"{pix_fmt}.mkv", [image], codec=codec, pix_fmt=pix_fmt)
        (frame,) = read_all(path)
        expected = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None] if pix_fmt == "gray" else image
        assert np.abs(frame.bgr.astype(int) - expected).max() <= 3, pix_fmt


def test_odd_sizes_come_as_bgr(tmp_path: Path) -> None:
    path = clips.write_video(tmp_path / "a.mkv", [clips.flat(3, (33, 21))], codec="ffv1")
    (frame,) = read_all(path, pixel_format="yuv420p")
    assert (frame.pixel_format, frame.size) == ("bgr24", (33, 21))


def test_rotation_is_undone(tmp_path: Path) -> None:
    image = clips.flat(1)
    image[:32, :48] = (0, 0, 255)  # red, upper left; upper right when turned clockwise
    path = clips.turn_clockwise(clips.write_video(tmp_path / "phone.mp4", [image] * 3))
    with open_source(str(path), pixel_format="yuv420p") as source:
        assert source.size == (64, 96)
        frame = next(source)
    assert (frame.pixel_format, frame.size) == ("bgr24", (64, 96))
    assert frame.pixels[10, 50, 2] > 200
    assert frame.pixels[10, 10, 2] < 60
    other = cv2.VideoCapture(str(path)).read()[1]
    assert np.abs(frame.pixels.astype(int) - other).mean() < 3


def test_varying_rate_keeps_its_timestamps(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.5, 0.52, 1.7, 1.71]
    path = clips.write_flat_video(tmp_path / "a.mkv", len(times), times=times)
    frames = read_all(path)
    assert [frame.timestamp for frame in frames] == pytest.approx(times, abs=0.001)


def test_h264_with_b_frames_in_avi_has_rising_timestamps(tmp_path: Path) -> None:
    path = clips.write_noise_video(tmp_path / "a.avi", 30, encoder={"bf": "3"})
    frames = read_all(path)
    assert [frame.timestamp for frame in frames] == pytest.approx([number / 25 for number in range(30)])


def test_frames_of_another_size_are_resized_with_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    small = clips.write_flat_video(tmp_path / "small.ts", 6)
    large = clips.write_flat_video(tmp_path / "large.ts", 6, (192, 160))
    joined = tmp_path / "joined.ts"
    joined.write_bytes(small.read_bytes() + large.read_bytes())
    for pixel_format in ("bgr24", "yuv420p"):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            frames = read_all(joined, pixel_format=pixel_format)
        assert [frame.size for frame in frames] == [clips.SIZE] * 12
        assert {frame.pixel_format for frame in frames} == {pixel_format}
        assert [clips.number_of(frame.bgr) for frame in frames] == [1, 2, 3, 4, 5, 6] * 2
        assert np.all(np.diff([frame.timestamp for frame in frames]) > 0)
        assert [record.message for record in caplog.records] == [
            "joined changes size to 192x160 at frame 7; such frames are resized to 96x64, the size of the first."
        ]


@pytest.mark.parametrize(("ending", "muxer"), [("mp4", {"movflags": "+faststart"}), ("mkv", {}), ("avi", {})])
def test_truncated_video_gives_its_frames_and_then_a_warning(
    tmp_path: Path,
    ending: str,
    muxer: dict[str, str],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = clips.write_noise_video(tmp_path / f"a.{ending}", 60, muxer=muxer, codec="mpeg4")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with caplog.at_level(logging.WARNING), open_source(str(path)) as source:
        frames = list(source)
    assert 15 < len(frames) < 45
    assert [frame.index for frame in frames] == list(range(1, len(frames) + 1))
    assert source.damaged is not None
    assert "cut off or damaged: it breaks off after frame" in source.damaged
    assert [record.message for record in caplog.records] == [source.damaged]
    assert capfd.readouterr() == ("", "")


def test_frames_after_damage_in_the_middle_keep_their_numbers(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # Key frames only: the frames after the damage do not depend on it.
    path = clips.write_flat_video(
        tmp_path / "a.mp4", 30, (512, 512), encoder={"g": "1", "crf": "1"}, muxer={"movflags": "+faststart"}
    )
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    position, length = packets[14]
    data[position : position + length] = b"\xff" * length
    path.write_bytes(data)
    with open_source(str(path)) as source:
        frames = list(source)
    assert source.damaged is not None
    assert "damaged; frames that are wrong or missing" in source.damaged
    late = [frame for frame in frames if frame.index > 20]
    assert [frame.index for frame in late] == list(range(21, 31))
    assert [clips.number_of(frame.bgr) for frame in late] == list(range(21, 31))
    assert capfd.readouterr() == ("", "")


def test_stopping_before_the_damage_is_no_damage(tmp_path: Path) -> None:
    path = clips.write_noise_video(tmp_path / "a.mp4", 40, muxer={"movflags": "+faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with open_source(str(path), count=3) as source:
        assert len(list(source)) == 3
    assert source.damaged is None


def make_text(folder: Path) -> str:
    (folder / "text.mp4").write_text("not a video\n" * 500)
    return str(folder / "text.mp4")


def make_plain_text(folder: Path) -> str:
    (folder / "list.txt").write_text("not a video\n" * 500)
    return str(folder / "list.txt")


def make_empty_file(folder: Path) -> str:
    (folder / "empty.mp4").touch()
    return str(folder / "empty.mp4")


def make_headless(folder: Path) -> str:
    path = clips.write_noise_video(folder / "cut.mp4")  # its index comes last and is cut off
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return str(path)


def make_garbage(folder: Path) -> str:
    path = clips.write_noise_video(folder / "garbage.mp4", 10, muxer={"movflags": "+faststart"})
    data = path.read_bytes()
    frames_at = data.index(b"mdat") + 4
    path.write_bytes(data[:frames_at] + b"\xff" * (len(data) - frames_at))
    return str(path)


def make_misspelt(folder: Path) -> str:
    (folder / "street.mp4").touch()
    return str(folder / "stret.mp4")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: str(folder / "none.mp4"), "There is no file or folder .*none.mp4"),
        (make_misspelt, 'Did you mean "street.mp4"'),
        (make_text, "text.mp4 is not a video that can be read"),
        (make_plain_text, "list.txt holds no video"),
        (make_empty_file, "empty.mp4 is not a video that can be read"),
        (make_headless, "cut.mp4 is not a video that can be read, or is cut off"),
        (make_garbage, "garbage.mp4 holds no video frame that can be decoded"),
        (lambda folder: str(clips.write_empty_mp4(folder / "zero.mp4")), "zero.mp4 holds no video"),
        (lambda folder: str(clips.write_audio(folder / "sound.wav")), "sound.wav holds no video"),
        (lambda folder: str(folder), "holds no images"),
        (lambda folder: "http://user:secret@127.0.0.1:9/a.mp4", "http://127.0.0.1:9/a.mp4 cannot be opened"),
        (lambda folder: "rtsp://user:secret@127.0.0.1:9/live", "rtsp://127.0.0.1:9/live cannot be opened"),
        (lambda folder: "nonsense://host/a", "nonsense://host/a cannot be opened"),
    ],
)
def test_bad_sources_raise_one_message(
    tmp_path: Path, make: Callable[[Path], str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    spec = make(tmp_path)
    with pytest.raises(SourceError, match=message) as caught:
        open_source(spec)
    message = str(caught.value)
    assert "\n" not in message
    assert "secret" not in message
    assert message[-1] in ".?"
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read everything")
def test_unreadable_file(tmp_path: Path) -> None:
    path = clips.write_flat_video(tmp_path / "a.mp4", 2)
    path.chmod(0)
    with pytest.raises(SourceError, match="cannot be read"):
        open_source(str(path))


@pytest.mark.parametrize("options", [{"start": 21}, {"start": 0}, {"stride": 0}, {"count": -1}])
def test_selection_out_of_range_closes_the_file(tmp_path: Path, options: dict[str, int]) -> None:
    path = clips.write_flat_video(tmp_path / "a.mp4", 20)
    with pytest.raises(ConfigError):
        open_source(str(path), **options)  # type: ignore[arg-type]
    if Path("/proc/self/fd").exists():
        assert str(path) not in {str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()}


@pytest.mark.parametrize("taken", [0, 1, 10])
def test_closing_early_ends_the_thread(tmp_path: Path, taken: int) -> None:
    path = clips.write_flat_video(tmp_path / "a.mp4", 40)
    source = open_source(str(path))
    for _ in range(taken):
        next(source)
    began = time.monotonic()
    source.close()
    assert time.monotonic() - began < 1.0
    assert "prefetch" not in {thread.name for thread in threading.enumerate()}


def test_a_file_name_with_a_colon_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips.write_flat_video(tmp_path / "a.mp4", 2).rename(tmp_path / "tcp:12.mp4")
    monkeypatch.chdir(tmp_path)
    assert len(read_all("tcp:12.mp4")) == 2


def test_missing_camera_gives_one_sentence(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SourceError, match=r"no camera 97|camera 97 delivers no image"):
        open_source("97")


def test_camera_that_disappears_is_an_error_after_its_frames(tmp_path: Path) -> None:
    # OpenCV reads a file where a camera's path is expected: a device that stops after 30 images.
    path = clips.write_flat_video(tmp_path / "device.avi", 30, codec="mpeg4")
    with CameraSource(str(path)) as source:
        assert (source.is_live, source.frame_count, source.size) == (True, None, clips.SIZE)
        numbers: list[int] = []
        with pytest.raises(SourceError, match="stopped delivering images after frame 29"):
            numbers.extend(frame.index for frame in source)
    assert numbers[-1] == 29
    assert numbers == sorted(set(numbers))


class QuietHandler(SimpleHTTPRequestHandler):
    cut = 1.0  # how much of a file is sent

    def log_message(self, *args: object) -> None:
        """Keep requests off the terminal."""

    def copyfile(self, source: object, outputfile: object) -> None:
        data = source.read()  # type: ignore[attr-defined]
        outputfile.write(data[: int(len(data) * self.cut)])  # type: ignore[attr-defined]


@pytest.fixture
def http_folder(tmp_path: Path) -> Iterator[tuple[Path, str, type[QuietHandler]]]:
    handler = type("Handler", (QuietHandler,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield tmp_path, f"http://127.0.0.1:{server.server_port}", handler
        server.shutdown()
        thread.join()


def test_video_over_http_is_read_whole(http_folder: tuple[Path, str, type[QuietHandler]]) -> None:
    folder, url, _ = http_folder
    clips.write_flat_video(folder / "clip.mp4", 12, muxer={"movflags": "+faststart"})
    with open_source(f"{url}/clip.mp4?token=secret") as source:
        assert (source.name, source.is_live, source.frame_count) == ("clip", False, 12)
        assert [clips.number_of(frame.bgr) for frame in source] == list(range(1, 13))


def test_http_transfer_that_breaks_off_is_told(http_folder: tuple[Path, str, type[QuietHandler]]) -> None:
    folder, url, handler = http_folder
    clips.write_noise_video(folder / "clip.mp4", 60, muxer={"movflags": "+faststart"})
    handler.cut = 0.5
    taken: list[Frame] = []
    with open_source(f"{url}/clip.mp4") as source, pytest.raises(SourceError, match=r"clip\.mp4 broke off"):
        taken.extend(source)
    assert 10 < len(taken) < 50


def test_http_error_gives_one_sentence(http_folder: tuple[Path, str, type[QuietHandler]]) -> None:
    with pytest.raises(SourceError, match=r"none.mp4 cannot be opened: .*404"):
        open_source(f"{http_folder[1]}/none.mp4")


def test_server_that_never_answers_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fairmot.video.containers, "TIMEOUT_SECONDS", 0.4)
    with socket.create_server(("127.0.0.1", 0)) as server:
        began = time.monotonic()
        with pytest.raises(SourceError, match=r"cannot be opened: no answer within 0\.4 seconds"):
            open_source(f"http://127.0.0.1:{server.getsockname()[1]}/a.mp4")
        assert time.monotonic() - began < 3.0


def serve_once(data: bytes, *, pause: float = 0.0, hold: threading.Event | None = None) -> int:
    """Send `data` to the first client of a new port, `pause` seconds between its parts; hold the connection."""
    server = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        with server, server.accept()[0] as connection, contextlib.suppress(ConnectionError):
            parts = 50 if pause else 1
            step = len(data) // parts + 1
            for at in range(0, len(data), step):
                connection.sendall(data[at : at + step])
                time.sleep(pause)
            if hold is not None:
                hold.wait(10)

    threading.Thread(target=run, daemon=True).start()
    return int(server.getsockname()[1])


def test_live_stream_drops_what_the_consumer_is_too_slow_for(tmp_path: Path) -> None:
    path = clips.write_noise_video(tmp_path / "a.ts", 300, encoder={"tune": "zerolatency", "g": "10"})
    port = serve_once(path.read_bytes(), pause=0.03)
    with open_source(f"tcp://127.0.0.1:{port}") as source:
        assert source.is_live
        numbers = []
        for frame in source:
            numbers.append(frame.index)
            assert frame.timestamp == pytest.approx((frame.index - 1) / 25)
            time.sleep(0.05)
    assert len(numbers) < 150
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 300
    assert source.damaged == f"The stream tcp://127.0.0.1:{port} ended after frame 300."


def test_live_stream_that_stalls_is_an_error_after_its_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fairmot.video.containers, "TIMEOUT_SECONDS", 1.0)
    path = clips.write_noise_video(tmp_path / "a.ts", 300, encoder={"tune": "zerolatency", "g": "10"})
    hold = threading.Event()
    port = serve_once(path.read_bytes(), hold=hold)
    taken: list[Frame] = []
    with VideoSource(f"tcp://127.0.0.1:{port}") as source, pytest.raises(SourceError, match="broke off: no answer"):
        taken.extend(source)
    hold.set()
    assert taken


def test_count_of_a_live_source_counts_frames_handed_over(tmp_path: Path) -> None:
    path = clips.write_noise_video(tmp_path / "a.ts", 300, encoder={"tune": "zerolatency", "g": "10"})
    port = serve_once(path.read_bytes(), pause=0.02)
    with open_source(f"tcp://127.0.0.1:{port}", count=4) as source:
        assert source.frame_count == 4
        numbers = []
        for frame in source:
            numbers.append(frame.index)
            time.sleep(0.08)
    assert len(numbers) == 4
    assert numbers[-1] > 4
