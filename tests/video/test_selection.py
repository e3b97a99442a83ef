"""Selection of the stream, its frame rate and its pixel aspect."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import cv2
import numpy as np
import pytest
from support import clip_files as clips
from test_orientation import matrix, set_matrix

from fairmot.core import SourceError
from fairmot.video import Source, open_source
from fairmot.video.selection import choose_video_stream, frame_rate

DEFAULT, ATTACHED, THUMBNAILS, DEPENDENT, STILL = 1, 1 << 10, 1 << 11, 1 << 19, 1 << 20


def a_stream(width: int, flags: int, *, decodable: bool = True, index: int = 0, tag: str = "avc1") -> Any:
    codec = SimpleNamespace(width=width, height=width, codec_tag=tag) if decodable else None
    return SimpleNamespace(
        disposition=SimpleNamespace(value=flags), codec_context=codec, index=index, type="video", metadata={}
    )


def a_container(videos: list[Any], *others: str, name: str = "matroska") -> Any:
    class Streams(list[Any]):
        video = videos

    streams = Streams([*videos, *(SimpleNamespace(type=kind) for kind in others)])
    return SimpleNamespace(streams=streams, format=SimpleNamespace(name=name), dumps_format=lambda: "")


@pytest.mark.parametrize(
    ("streams", "chosen"),
    [
        ([(64, 0), (320, DEFAULT)], 1),
        ([(320, 0), (64, DEFAULT)], 1),
        ([(64, DEFAULT), (320, DEFAULT), (100, DEFAULT)], 1),
        ([(64, 0), (320, 0)], 1),
        ([(64, 0), (64, 0)], 0),
        ([(900, ATTACHED | DEFAULT), (64, 0)], 1),
        ([(900, THUMBNAILS), (900, STILL | DEFAULT), (900, DEPENDENT), (64, 0)], 3),
    ],
)
def test_the_default_and_then_the_largest_is_chosen(streams: list[tuple[int, int]], chosen: int) -> None:
    videos = [a_stream(*stream) for stream in streams]
    assert choose_video_stream(a_container(videos), "a.mkv") is videos[chosen]


def test_a_stream_that_can_be_decoded_goes_before_the_default() -> None:
    videos = [a_stream(900, DEFAULT, decodable=False), a_stream(64, 0)]
    assert choose_video_stream(a_container(videos), "a.mkv") is videos[1]


@pytest.mark.parametrize(
    ("container", "message"),
    [
        (a_container([]), "a.x holds no video; give a video file."),
        (a_container([], "audio", "subtitle"), "a.x holds no video, only sound; give a video file."),
        (a_container([a_stream(9, ATTACHED)], "audio"), "a.x holds no video, only sound; give a video file."),
        (a_container([], "subtitle"), "a.x holds no video, only subtitles; give a video file."),
        (a_container([a_stream(9, STILL)]), "a.x holds no video, only a still image; give a video file."),
        (a_container([a_stream(9, 0)], name="tty"), "a.x holds no video: it is a text file; give a video file."),
        (
            a_container([a_stream(9, 0, tag="encv")]),
            "a.x is encrypted (DRM) and cannot be decoded; give a copy without encryption.",
        ),
        (
            a_container([a_stream(9, 0, decodable=False)]),
            f"a.x cannot be decoded: the codec unknown is not supported by the FFmpeg of PyAV {av.__version__}; "
            "convert it, for example to H.264.",
        ),
    ],
)
def test_the_message_names_what_a_container_without_video_holds(container: Any, message: str) -> None:
    with pytest.raises(SourceError) as caught:
        choose_video_stream(container, "a.x")
    assert str(caught.value) == message


def write_two(path: Path, flags: tuple[int, int], sizes: tuple[tuple[int, int], tuple[int, int]]) -> Path:
    with av.open(str(path), "w") as container:
        streams: list[Any] = []
        for size, flag in zip(sizes, flags, strict=True):
            stream: Any = container.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            stream.disposition = flag
            streams.append(stream)
        for _ in range(3):
            for stream in streams:
                image = clips.flat(3, (stream.width, stream.height))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        for stream in streams:
            container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("ending", ["mkv", "mp4", "mov", "nut"])
@pytest.mark.parametrize("flags", [(0, 1), (1, 0), (0, 0), (1, 1)])
def test_two_streams_of_a_file(tmp_path: Path, ending: str, flags: tuple[int, int]) -> None:
    path = write_two(tmp_path / f"a.{ending}", flags, ((64, 48), (160, 120)))
    with av.open(str(path)) as container:  # what the muxer made of the flags decides
        first, second = (stream.disposition.value & 1 for stream in container.streams.video)
    with open_source(str(path)) as source:
        assert source.size == ((64, 48) if first and not second else (160, 120))
        assert len(list(source)) == 3


def write_song(path: Path) -> Path:
    """Write sound with cover art."""
    with av.open(str(path), "w") as container:
        sound: Any = container.add_stream("aac", rate=44100)
        cover: Any = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 640, 480, "yuvj420p"
        cover.disposition = ATTACHED
        container.mux(cover.encode(av.VideoFrame.from_ndarray(clips.flat(3, (640, 480)), format="bgr24")))
        container.mux(cover.encode(None))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 44100
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


def test_sound_with_a_cover_holds_no_video(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no video, only sound"):
        open_source(str(write_song(tmp_path / "song.mp4")))


def test_subtitles_alone_are_no_video(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_text("1\n00:00:00,000 --> 00:00:02,000\nHello\n\n" * 3)
    with pytest.raises(SourceError, match="holds no video, only subtitles"):
        open_source(str(tmp_path / "a.srt"))


@pytest.mark.parametrize(
    ("average", "guess", "base", "intervals", "expected"),
    [
        (25, 25, 25, None, 25.0),
        (Fraction(30000, 1001), 30, 30, None, 30000 / 1001),  # agreement: frames are not looked at
        (Fraction(1, 150), 10, 10, [0.1] * 8, 10.0),  # one long pause in all
        (Fraction(1, 150), 10, 10, [0.1, 3600, 0.1, 0.1], 10.0),
        (Fraction(299, 10), 120, 120, [0.033, 0.034, 0.033, 0.05, 0.025], 29.9),  # jitter of phones
        (25, 50, 50, [0.04] * 5, 25.0),  # fields
        (1000, 1000, 1000, [0.04] * 5, 25.0),  # a clock rate instead of a frame rate
        (90000, 90000, 90000, [0.1] * 5, 10.0),
        (0, 1000, 1000, [], 30.0),  # one frame
        (90000, 90000, 90000, [], 30.0),
        (None, None, None, [], 30.0),
        (None, None, None, [0.1, 0.1], 10.0),
        (90000, 90000, 90000, [1 / 90000] * 5, 30.0),
        (480, 480, 480, [1 / 480] * 5, 480.0),  # high speed, confirmed
        (Fraction(1, 60), Fraction(1, 60), 1, [60.0] * 3, 1 / 60),  # time lapse
        (25, 90000, 90000, None, 25.0),  # live: nothing is looked at
        (None, 100, 100, None, 100.0),
        (None, 90000, 90000, None, 30.0),
        (12, 25, 25, [0.0, 0.0, -1.0, 0.04, 0.04], 25.0),
    ],
)
def test_frame_rate(average: Any, guess: Any, base: Any, intervals: list[float] | None, expected: float) -> None:
    stream = SimpleNamespace(average_rate=average, guessed_rate=guess, base_rate=base)
    ahead = None if intervals is None else lambda: intervals
    if average == 25 == guess or average == Fraction(30000, 1001):
        ahead = lambda: pytest.fail("frames are decoded ahead though the headers agree")  # noqa: E731
    assert frame_rate(stream, ahead) == pytest.approx(expected)


@pytest.mark.parametrize("ending", ["mp4", "mkv", "mov", "ts"])
@pytest.mark.parametrize(("before", "pause"), [(10, 3600.0), (2, 600.0), (18, 60.0), (10, 5.0)])
def test_one_long_pause_is_no_rate_and_stays_in_the_times(
    tmp_path: Path, ending: str, before: int, pause: float
) -> None:
    times = [number / 10 + (pause if number >= before else 0) for number in range(20)]
    path = clips.write_flat_video(tmp_path / f"a.{ending}", 20, times=times, rate=10)
    with open_source(str(path)) as source:
        assert source.frame_rate == pytest.approx(10, rel=0.02)
        frames = list(source)
    assert source.damaged is None
    assert [frame.timestamp for frame in frames] == pytest.approx(times, abs=0.002)
    assert [clips.number_of(frame.bgr) for frame in frames] == list(range(1, 21))


def test_one_frame_has_a_sane_rate(tmp_path: Path) -> None:
    for ending in ("mkv", "mp4", "avi"):
        path = clips.write_video(tmp_path / f"a.{ending}", [clips.flat(1)], codec="mpeg4")
        with open_source(str(path)) as source:
            assert 20 <= source.frame_rate <= 60
            assert len(list(source)) == 1


def test_frames_looked_at_for_the_rate_are_not_lost(tmp_path: Path) -> None:
    times = [number / 10 + (3600 if number > 3 else 0) for number in range(30)]
    path = clips.write_flat_video(tmp_path / "a.mp4", 30, times=times, rate=10)
    with open_source(str(path), start=3, stride=4, pixel_format="yuv420p") as source:
        assert [(frame.index, clips.number_of(frame.bgr)) for frame in source] == [(n, n) for n in range(3, 31, 4)]


def write_with_aspect(path: Path, aspect: Fraction | None, codec: str = "mpeg4") -> Path:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        if aspect is not None:
            stream.sample_aspect_ratio = stream.codec_context.sample_aspect_ratio = aspect
        for number in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(clips.flat(number), format="bgr24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("ending", "codec"), [("mkv", "mpeg4"), ("mp4", "mpeg4"), ("mp4", "libx264"), ("ts", "libx264"), ("avi", "mpeg4")]
)
@pytest.mark.parametrize("aspect", [None, Fraction(1), Fraction(64, 45), Fraction(8, 9), Fraction(4, 3)])
def test_pixels_that_are_not_square(tmp_path: Path, ending: str, codec: str, aspect: Fraction | None) -> None:
    path = write_with_aspect(tmp_path / f"a.{ending}", aspect, codec)
    if ending == "ts":  # long enough to be recognized
        path.write_bytes(path.read_bytes() * 4)
    with open_source(str(path)) as source:
        assert source.size == (96, 64)
        assert float(source.pixel_aspect) == pytest.approx(float(aspect or 1), rel=0.01)
        assert isinstance(source.pixel_aspect, Fraction)
        assert next(source).size == (96, 64)


def test_the_containers_aspect_goes_before_the_codecs(tmp_path: Path) -> None:
    path = write_with_aspect(tmp_path / "a.mp4", Fraction(4, 3), "libx264")
    data = path.read_bytes()
    at = data.index(b"pasp") + 4
    path.write_bytes(data[:at] + (16).to_bytes(4, "big") + (11).to_bytes(4, "big") + data[at + 8 :])
    with open_source(str(path)) as source:
        assert source.pixel_aspect == Fraction(16, 11)


@pytest.mark.parametrize(("horizontal", "vertical"), [(0, 0), (0, 1), (1, 0), (65535, 1), (1, 65535), (0xFFFFFFFF, 1)])
def test_an_absurd_aspect_is_square(tmp_path: Path, horizontal: int, vertical: int) -> None:
    path = write_with_aspect(tmp_path / "a.mp4", Fraction(4, 3))
    data = path.read_bytes()
    at = data.index(b"pasp") + 4
    path.write_bytes(data[:at] + horizontal.to_bytes(4, "big") + vertical.to_bytes(4, "big") + data[at + 8 :])
    with open_source(str(path)) as source:
        assert source.pixel_aspect in (Fraction(1), Fraction(4, 3))  # the codec's where the container's is invalid
        assert source.pixel_aspect > 0


@pytest.mark.parametrize(("turn", "expected"), [((0, 1, -1, 0), Fraction(3, 4)), ((-1, 0, 0, -1), Fraction(4, 3))])
def test_a_quarter_turn_swaps_the_aspect(tmp_path: Path, turn: tuple[int, int, int, int], expected: Fraction) -> None:
    path = set_matrix(write_with_aspect(tmp_path / "a.mp4", Fraction(4, 3)), matrix(*turn))
    with open_source(str(path)) as source:
        assert source.pixel_aspect == expected


def test_images_have_square_pixels(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), clips.flat(1))
    with open_source(str(tmp_path)) as source:
        assert isinstance(source, Source)
        assert source.pixel_aspect == 1
