"""Files that look shorter than they state and are complete, and files that are really cut."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from support import clip_files as clips

from fairmot.video import open_source
from fairmot.video.structure import is_cut, lacks_index


def write_with_gaps(path: Path, ticks: list[int], codec: str = "mpeg4") -> Path:
    """Write an AVI at 10 frames/s with a frame at each of `ticks`; the muxer fills the gaps with empty chunks."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=10)
        stream.width, stream.height = clips.SIZE
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for number, tick in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(clips.noise(number), format="bgr24").reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = tick, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def read(path: Path) -> tuple[list[float], str | None]:
    with open_source(str(path)) as source:
        times = [frame.timestamp for frame in source]
    return times, source.damaged


GAPS = {
    "one": [0, 1, 2, 3, 40, 41, 42],
    "many": [*range(0, 100, 4)],
    "before the second frame": [0, 50, 51, 52],
    "before the last frame": [0, 1, 2, 3, 4, 99],
}


@pytest.mark.parametrize("codec", ["mpeg4", "mjpeg"])
@pytest.mark.parametrize("gaps", GAPS)
def test_an_avi_with_dropped_frames_is_complete(tmp_path: Path, gaps: str, codec: str) -> None:
    times, damaged = read(write_with_gaps(tmp_path / "a.avi", GAPS[gaps], codec))
    assert damaged is None
    assert times == pytest.approx([tick / 10 for tick in GAPS[gaps]])


def test_an_avi_that_ends_in_dropped_frames_is_complete(tmp_path: Path) -> None:
    path = write_with_gaps(tmp_path / "a.avi", [0, 1, 2, 3, 40])
    data = bytearray(path.read_bytes())
    # The last frame becomes empty: in the data a chunk of another kind, in the index a chunk of no bytes.
    entry = data.rindex(b"00dc")
    offset, size = struct.unpack_from("<II", data, entry + 8)
    chunk = data.index(b"movi") + offset
    assert data[chunk : chunk + 4] == b"00dc"
    data[chunk : chunk + 8] = b"JUNK" + struct.pack("<I", size)
    struct.pack_into("<I", data, entry + 12, 0)
    path.write_bytes(data)
    times, damaged = read(path)
    assert damaged is None
    assert times == pytest.approx([0, 0.1, 0.2, 0.3])


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("gaps", ["none", "many"])
def test_a_cut_avi_is_told(tmp_path: Path, share: float, gaps: str) -> None:
    path = write_with_gaps(tmp_path / "a.avi", GAPS.get(gaps, list(range(40))))
    data = path.read_bytes()
    start = data.index(b"movi")
    path.write_bytes(data[: start + int((len(data) - start) * share)])
    times, damaged = read(path)
    assert times
    assert damaged is not None
    assert "cut off or damaged: it breaks off after frame" in damaged


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_a_cut_avi_is_told_where_its_header_was_not_finished(tmp_path: Path, share: float) -> None:
    path = write_with_gaps(tmp_path / "a.avi", list(range(60)))
    data = bytearray(path.read_bytes())
    data[4:8] = bytes(4)
    start = data.index(b"movi")
    path.write_bytes(data[: start + int((len(data) - start) * share)])
    assert "cut off" in (read(path)[1] or "")


@pytest.mark.skipif(int(av.__version__.split(".")[0]) < 17, reason="this PyAV does not hand out the index")
def test_an_avi_that_lost_chunks_inside_is_damaged(tmp_path: Path) -> None:
    path = write_with_gaps(tmp_path / "a.avi", list(range(60)), "mjpeg")
    data = bytearray(path.read_bytes())
    movi, index = data.index(b"movi"), data.index(b"idx1")
    for number in range(20, 35):
        entry = index + 8 + 16 * number
        offset = struct.unpack_from("<I", data, entry + 8)[0]
        struct.pack_into("<I", data, entry + 8, offset + 3)  # where no chunk begins
        data[movi + offset : movi + offset + 4] = b"\0\0\0\0"
    path.write_bytes(data)
    _, damaged = read(path)
    assert damaged is not None


def test_an_avi_of_several_riff_chunks_is_complete(tmp_path: Path) -> None:
    # OpenDML: above 1 GiB a file goes on in further RIFF chunks. Here a small one stands for it.
    path = write_with_gaps(tmp_path / "a.avi", list(range(10)))
    more = b"AVIX" + b"LIST" + struct.pack("<I", 4) + b"movi"
    whole = path.read_bytes() + b"RIFF" + struct.pack("<I", len(more)) + more
    path.write_bytes(whole)
    assert is_cut(path) is False
    assert read(path) == (pytest.approx([number / 10 for number in range(10)]), None)
    path.write_bytes(whole + b"RIFF" + struct.pack("<I", 1 << 29) + more)
    assert is_cut(path) is True


def test_the_number_of_frames_of_an_avi_is_of_those_it_has(tmp_path: Path) -> None:
    with open_source(str(write_with_gaps(tmp_path / "a.avi", GAPS["many"]))) as source:
        expected = 25 if int(av.__version__.split(".")[0]) >= 17 else 97
        assert source.frame_count == expected


def add_edit_list(path: Path, media_time: int, seconds: float) -> Path:
    """Trim an mp4 by its edit list, as phones do: it begins at `media_time` ticks and lasts `seconds`."""
    data = bytearray(path.read_bytes())
    at = data.index(b"elst")
    time_scale = struct.unpack_from(">I", data, data.index(b"mvhd") + 16)[0]
    assert struct.unpack_from(">II", data, at + 4) == (0, 1)
    struct.pack_into(">Ii", data, at + 12, round(seconds * time_scale), media_time)
    path.write_bytes(data)
    return path


def test_an_mp4_trimmed_by_its_edit_list_is_complete(tmp_path: Path) -> None:
    path = clips.write_noise_video(
        tmp_path / "a.mp4", 60, encoder={"g": "10", "bf": "0"}, muxer={"movflags": "+faststart"}
    )
    add_edit_list(path, 20 * 512, 1.0)
    times, damaged = read(path)
    assert damaged is None
    assert 20 <= len(times) < 60


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "webm", "avi", "flv", "ts"])
def test_whole_files_are_whole(tmp_path: Path, ending: str) -> None:
    codec = {"webm": "libvpx", "avi": "mpeg4"}.get(ending, "libx264")
    path = clips.write_noise_video(tmp_path / f"a.{ending}", 30, codec=codec)
    times, damaged = read(path)
    assert (len(times), damaged) == (30, None)
    assert is_cut(path) is (None if ending in ("flv", "ts") else False)
    assert not lacks_index(path)


@pytest.mark.parametrize(
    ("ending", "muxer"),
    [
        ("mp4", {"movflags": "+faststart"}),
        ("mp4", {"movflags": "frag_keyframe+empty_moov"}),
        ("mkv", {}),
        ("avi", {}),
    ],
)
@pytest.mark.parametrize("lost", [0.03, 0.2, 0.6])
def test_cut_files_are_cut(tmp_path: Path, ending: str, muxer: dict[str, str], lost: float) -> None:
    path = clips.write_noise_video(tmp_path / f"a.{ending}", 60, muxer=muxer, codec="mpeg4", encoder={"g": "5"})
    data = path.read_bytes()
    path.write_bytes(data[: round(len(data) * (1 - lost))])
    assert is_cut(path) is True
    if lost > 0.1:  # else only an index behind the frames may be lost
        assert "cut off" in (read(path)[1] or "")


def box(kind: bytes, body: bytes, size: int | None = None) -> bytes:
    return struct.pack(">I4s", 8 + len(body) if size is None else size, kind) + body


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", None),
        (b"RIFF", None),
        (b"RIFF\0\0\0\0AVI ", None),
        (b"RIFF\xff\xff\xff\xffAVI ", None),
        (b"RIFF\4\0\0\0AVI ", False),
        (b"RIFF\x14\0\0\0AVI ", False),  # within the slack
        (b"RIFF\xff\0\0\0AVI ", True),
        (box(b"ftyp", b"isom") + box(b"mdat", b"12345"), False),
        (box(b"ftyp", b"isom") + box(b"mdat", b"12345", 0), None),
        (box(b"ftyp", b"isom") + box(b"mdat", b"12345", 900), True),
        (box(b"ftyp", b"isom") + box(b"mdat", (1 << 33).to_bytes(8, "big"), 1), True),
        (box(b"ftyp", b"isom") + b"\0\0\0\1mdat", False),
        (box(b"ftyp", b"isom") + b"\0\0\0\3rest", False),
        (b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x84abcd", False),
        (b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x41\x00abcd", True),
        (b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\xffabcd", None),
        (b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff", None),
        (b"\x1a\x45\xdf\xa3\x80", None),
        (b"\x1a\x45\xdf\xa3\x00", None),
        (b"nonsense at all", None),
    ],
)
def test_structure(tmp_path: Path, data: bytes, expected: bool | None) -> None:
    (tmp_path / "a").write_bytes(data)
    assert is_cut(tmp_path / "a") is expected


def test_structure_of_a_file_that_is_gone(tmp_path: Path) -> None:
    assert is_cut(tmp_path / "none") is None
    assert not lacks_index(tmp_path / "none")
