"""Opening of files: what else they may open, and the messages when they cannot be read."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from support import clip_files as clips

from fairmot.core import SourceError
from fairmot.core.limits import MAX_PIXELS
from fairmot.video import open_source
from fairmot.video.playlists import check_playlist
from fairmot.video.video_source import VideoSource

PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{}\n#EXT-X-ENDLIST\n"


def write_playlist(path: Path, entry: str) -> Path:
    path.write_text(PLAYLIST.format(entry))
    return path


@pytest.mark.parametrize("entry", ["a.ts", "part/a.ts", "./a.ts"])
def test_a_playlist_of_its_own_folder_is_read(tmp_path: Path, entry: str) -> None:
    (tmp_path / "part").mkdir()
    clips.write_noise_video(tmp_path / entry, 20)
    with open_source(str(write_playlist(tmp_path / "list.m3u8", entry))) as source:
        assert len(list(source)) == 20


OUTSIDE = [
    "/etc/passwd.ts",
    "../a.ts",
    "part/../../a.ts",
    "..\\a.ts",
    "C:\\a.ts",
    "\\\\server\\share\\a.ts",
    "file:a.ts",
    "file:///etc/a.ts",
    "http://127.0.0.1:9/a.ts",
    "//127.0.0.1/a.ts",
    "concat:a.ts|b.ts",
    "data:video/mp2t;base64,AAAA",
]


@pytest.mark.parametrize("entry", OUTSIDE)
@pytest.mark.parametrize("how", ["segment", "key", "map", "variant", "nested", "hidden"])
def test_a_playlist_that_leaves_its_folder_is_refused(tmp_path: Path, entry: str, how: str) -> None:
    path = tmp_path / "list.m3u8"
    if how == "segment":
        write_playlist(path, entry)
    elif how in ("nested", "hidden"):
        inner = "inner.m3u8" if how == "nested" else "inner.ts"
        write_playlist(tmp_path / inner, entry)
        path.write_text(f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{inner}\n")
    else:
        tag = {"key": "KEY:METHOD=AES-128,", "map": "MAP:", "variant": "MEDIA:TYPE=VIDEO,"}[how]
        path.write_text(PLAYLIST.format(f'#EXT-X-{tag}URI="{entry}"\na.ts'))
    with pytest.raises(SourceError, match=r"names .*, which is not in its folder") as caught:
        VideoSource(str(path))
    assert "\n" not in str(caught.value)


def test_playlists_that_name_each_other_end(tmp_path: Path) -> None:
    write_playlist(tmp_path / "a.m3u8", "b.m3u8")
    check_playlist(write_playlist(tmp_path / "b.m3u8", "a.m3u8"))


def test_a_playlist_with_another_ending_is_no_video(tmp_path: Path) -> None:
    clips.write_noise_video(tmp_path / "a.ts", 20)
    path = write_playlist(tmp_path / "list.mp4", "a.ts")
    with pytest.raises(SourceError, match=r"is not a video that can be read: it is a playlist \(HLS\)"):
        VideoSource(str(path))


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("list.txt", "ffconcat version 1.0\nfile a.ts\n", r"a list of other files \(ffconcat\)"),
        ("list.mp4", "ffconcat version 1.0\nfile a.ts\n", r"a list of other files \(ffconcat\)"),
        ("a.sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n", "SDP"),
        ("a.mpd", '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>\n', "not a video|no video"),
    ],
)
def test_lists_of_other_files_are_no_video(tmp_path: Path, name: str, text: str, part: str) -> None:
    clips.write_noise_video(tmp_path / "a.ts", 20)
    (tmp_path / name).write_text(text)
    with pytest.raises(SourceError, match=part):
        VideoSource(str(tmp_path / name))


def with_bytes(data: bytes, old: bytes, new: bytes) -> bytes:
    assert old in data
    return data.replace(old, new)


def unknown_mp4(folder: Path) -> Path:
    path = clips.write_flat_video(folder / "a.mp4", 5)
    path.write_bytes(with_bytes(path.read_bytes(), b"avc1", b"XYZW"))
    return path


def unknown_avi(folder: Path) -> Path:
    path = clips.write_video(folder / "a.avi", [clips.flat(1)] * 5, codec="mpeg4")
    path.write_bytes(with_bytes(path.read_bytes(), b"FMP4", b"Qx7z"))
    return path


def unknown_mkv(folder: Path) -> Path:
    path = clips.write_video(folder / "a.mkv", [clips.flat(1)] * 5, codec="libx264")
    path.write_bytes(with_bytes(path.read_bytes(), b"V_MPEG4/ISO/AVC", b"V_NONSENSE/OF/X"))
    return path


def encrypted(folder: Path) -> Path:
    path = clips.write_flat_video(folder / "a.mp4", 5)
    path.write_bytes(with_bytes(path.read_bytes(), b"avc1\0", b"encv\0"))
    return path


def empty(folder: Path) -> Path:
    (folder / "a.mp4").touch()
    return folder / "a.mp4"


def without_index(folder: Path) -> Path:
    path = clips.write_noise_video(folder / "a.mp4")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def random_bytes(folder: Path) -> Path:
    (folder / "a.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    return folder / "a.mp4"


def sound(folder: Path) -> Path:
    return clips.write_audio(folder / "a.wav")


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (unknown_mp4, r'the codec "XYZW" is not supported by the FFmpeg of PyAV .*; convert it'),
        (unknown_avi, r'the codec "Qx7z" is not supported'),
        (unknown_mkv, r"the codec \S+ is not supported"),
        (encrypted, r"is encrypted \(DRM\)"),
        (empty, "it is empty"),
        (without_index, r"its index \(moov\) is missing"),
        (random_bytes, "is not a video that can be read, or is cut off"),
        (sound, "holds no video, only sound"),
    ],
)
def test_what_cannot_be_read_says_why(
    tmp_path: Path, make: Callable[[Path], Path], part: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = make(tmp_path)
    with pytest.raises(SourceError, match=part) as caught:
        open_source(str(path))
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert "complete" not in message
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("ending", "codec", "pix_fmt"),
    [
        ("mp4", "libx264", "yuv420p"),
        ("mp4", "mpeg4", "yuv420p"),
        ("mkv", "libx264", "yuv420p"),
        ("mkv", "ffv1", "bgr0"),
        ("avi", "mjpeg", "yuvj420p"),
        ("ts", "mpeg2video", "yuv420p"),
        ("ivf", "libvpx-vp9", "yuv420p"),
        ("gif", "gif", "rgb8"),
    ],
)
def test_frames_with_too_many_pixels_are_refused(tmp_path: Path, ending: str, codec: str, pix_fmt: str) -> None:
    path = clips.write_noise_video(tmp_path / f"a.{ending}", 8, codec=codec, pix_fmt=pix_fmt)
    pixels = 96 * 64
    with VideoSource(str(path), max_pixels=pixels) as source:
        assert len(list(source)) == 8
    with pytest.raises(SourceError, match=r"frames of 96x64 pixels, more than the 6,143 .* raise --max-pixels"):
        VideoSource(str(path), max_pixels=pixels - 1)


def write_mjpeg(path: Path, jpegs: list[bytes], claimed: tuple[int, int] = clips.SIZE) -> Path:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = *claimed, "yuvj420p"
        for number, jpeg in enumerate(jpegs):
            packet = av.Packet(jpeg)
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, number, number, Fraction(1, 10)
            container.mux(packet)
    return path


def jpeg(number: int, size: tuple[int, int]) -> bytes:
    return cv2.imencode(".jpg", clips.flat(number, size))[1].tobytes()


@pytest.mark.parametrize("more", [1, 3, 40])
def test_frames_that_become_too_large_are_refused_after_those_before(tmp_path: Path, more: int) -> None:
    jpegs = [jpeg(1, clips.SIZE)] * 5 + [jpeg(1, (640, 480))] * more
    path = write_mjpeg(tmp_path / "a.avi", jpegs)
    taken = []
    with VideoSource(str(path), max_pixels=100_000) as source, pytest.raises(SourceError, match="--max-pixels"):
        taken.extend(frame.index for frame in source)
    assert taken == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg2video"])
def test_streams_that_become_too_large_are_refused(tmp_path: Path, codec: str) -> None:
    if codec == "libx265" and "libx265" not in av.codecs_available:
        pytest.skip("this PyAV has no HEVC encoder")
    encoder = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    parts = [
        clips.write_video(
            tmp_path / f"{size[0]}.ts", [clips.noise(n, size) for n in range(12)], codec=codec, encoder=encoder
        ).read_bytes()
        for size in (clips.SIZE, (640, 480))
    ]
    (tmp_path / "a.ts").write_bytes(b"".join(parts))
    taken = []
    source = VideoSource(str(tmp_path / "a.ts"), max_pixels=100_000)
    with source, pytest.raises(SourceError, match="640x480 pixels, more than the 100,000"):
        taken.extend(frame.index for frame in source)
    assert 1 <= len(taken) <= 12


def test_a_header_that_lies_about_the_size_does_not_help(tmp_path: Path) -> None:
    path = write_mjpeg(tmp_path / "a.avi", [jpeg(1, (640, 480))] * 3)
    with pytest.raises(SourceError, match="--max-pixels"):
        VideoSource(str(path), max_pixels=100_000)


@pytest.mark.parametrize(("width", "height"), [(16383, 16383), (16000, 16000), (16383, 12300)])
@pytest.mark.parametrize("in_container", [False, True])
def test_absurd_sizes_are_refused_at_once(tmp_path: Path, width: int, height: int, in_container: bool) -> None:
    path = clips.write_noise_video(tmp_path / "a.ivf", 4, codec="libvpx")
    data = bytearray(path.read_bytes())
    if in_container:
        struct.pack_into("<HH", data, 12, width, height)
    at = 32
    while at < len(data):
        if data[at + 15 : at + 18] == b"\x9d\x01\x2a":  # the size in a key frame of VP8 (RFC 6386, 9.1)
            struct.pack_into("<HH", data, at + 18, width, height)
        at += 12 + struct.unpack_from("<I", data, at)[0]
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"200,000,000.*--max-pixels") as caught:
        VideoSource(str(path))
    assert "space" not in str(caught.value)


def test_a_png_bomb_is_refused(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30000, 30000, 1, 0, 0, 0, 0)
    lines = zlib.compress(bytes((30000 // 8 + 1) * 30000), 9)
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", lines) + chunk(b"IEND", b""))
    with pytest.raises(SourceError, match="--max-pixels"):
        VideoSource(str(path))


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_a_decoder_that_cannot_be_opened_is_one_sentence(tmp_path: Path, ending: str) -> None:
    path = clips.write_flat_video(tmp_path / f"a.{ending}", 5)
    data = bytearray(path.read_bytes())
    at = data.index(b"\x01\x64\x00") if b"\x01\x64\x00" in data else data.index(b"\x01\xf4")
    data[at : at + 12] = b"\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"  # the decoder configuration
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"holds no video frame that can be decoded|cut off"):
        VideoSource(str(path))


def test_the_limit_is_about_two_hundred_megapixels() -> None:
    assert MAX_PIXELS == 200_000_000


@pytest.mark.parametrize("limit", [2**31, 10**12])
def test_a_limit_beyond_ffmpegs_is_ffmpegs(tmp_path: Path, limit: int) -> None:
    with VideoSource(str(clips.write_flat_video(tmp_path / "a.mp4", 3)), max_pixels=limit) as source:
        assert len(list(source)) == 3
