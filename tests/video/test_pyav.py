"""Differences between versions of PyAV; a new version that breaks one of these must fail here."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from support import clip_files as clips

from fairmot.video import open_source, pyav


def mpeg_crc(data: bytes) -> bytes:
    """CRC-32 of MPEG-2 sections (ISO/IEC 13818-1, annex A)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1) & 0xFFFFFFFF
    return crc.to_bytes(4, "big")


def renew_service_tables(data: bytes) -> bytes:
    """Correct the checksums of the service descriptions (PID 17) of a transport stream."""
    packets = [bytearray(data[at : at + 188]) for at in range(0, len(data), 188)]
    for packet in packets:
        if int.from_bytes(packet[1:3], "big") & 0x1FFF == 17:
            end = 5 + 3 + (int.from_bytes(packet[6:8], "big") & 0xFFF)
            packet[end - 4 : end] = mpeg_crc(packet[5 : end - 4])
    return b"".join(packets)


@pytest.mark.parametrize(
    ("ending", "codec"),
    [
        ("avi", "mpeg4"),
        ("mp4", "libx264"),
        ("mov", "libx264"),
        ("mkv", "libx264"),
        ("flv", "flv"),
        ("ts", "mpeg2video"),
        ("asf", "mpeg4"),
        ("nut", "mpeg4"),
    ],
)
@pytest.mark.parametrize(
    "title", [b"Stra\xdfe1 S\xfcd2", b"\xd3\xeb\xe8\xf6\xe0 \xed\xee\xf7\xfc!", b"\x92\xca\x82\xe8 \xff\xfe\xc0\x80..."]
)
def test_titles_that_are_not_utf_8(tmp_path: Path, ending: str, codec: str, title: bytes) -> None:
    path = tmp_path / f"a.{ending}"
    with av.open(str(path), "w") as container:
        for key in ("title", "service_name"):
            container.metadata[key] = "Strasse Sued"[: len(title)]
        stream: Any = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = *clips.SIZE, "yuv420p"
        stream.metadata["title"] = "Strasse Sued"[: len(title)]
        for number in range(8):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(clips.noise(number), format="bgr24")))
        container.mux(stream.encode(None))
    data = path.read_bytes()
    written = b"Strasse Sued"[: len(title)]
    if ending == "asf":
        written, title = written.decode().encode("utf-16-le"), b"\x00\xd8" * len(title)
    assert written in data
    data = data.replace(written, title)
    path.write_bytes(renew_service_tables(data) if ending == "ts" else data)
    with open_source(str(path)) as source:
        assert len(list(source)) == 8
    assert source.damaged is None


def test_side_data_of_types_newer_than_pyav_is_no_error() -> None:
    newest = av.sidedata.sidedata.Type(9999)
    assert newest.value == 9999
    assert newest is av.sidedata.sidedata.Type(9999)
    assert av.sidedata.sidedata.Type["DISPLAYMATRIX"].value == 6
    with pytest.raises(ValueError, match="nonsense"):
        av.sidedata.sidedata.Type("nonsense")


def first_frame(path: Path) -> tuple[Any, Any]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream, next(container.decode(stream))


def test_side_data_of_x264_is_no_display_matrix(tmp_path: Path) -> None:
    _, decoded = first_frame(clips.write_flat_video(tmp_path / "a.mp4", 2))
    assert len(decoded.side_data) > 0  # x264's text about itself: what is to be got round
    assert pyav.display_matrix(decoded) is None


def test_display_matrix_is_nine_numbers(tmp_path: Path) -> None:
    _, decoded = first_frame(clips.turn_clockwise(clips.write_flat_video(tmp_path / "a.mp4", 2)))
    assert pyav.display_matrix(decoded) == (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)


def test_disposition_is_a_number(tmp_path: Path) -> None:
    path = clips.write_flat_video(tmp_path / "a.mp4", 2)
    with av.open(str(path)) as container:
        assert pyav.disposition(container.streams.video[0]) == 1


class Rational:
    """As PyAV 19's: not None where unset."""

    def __init__(self, numerator: int, denominator: int) -> None:
        self.numerator, self.denominator = numerator, denominator

    def __bool__(self) -> bool:
        return self.numerator != 0 and self.denominator != 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (0, None),
        (25, Fraction(25)),
        (Fraction(30000, 1001), Fraction(30000, 1001)),
        (Fraction(-1, 2), None),
        (Rational(0, 1), None),
        (Rational(1, 0), None),
        (Rational(64, 45), Fraction(64, 45)),
    ],
)
def test_fractions_that_are_unset(value: object, expected: Fraction | None) -> None:
    assert pyav.fraction(value) == expected


def test_rates_of_this_pyav_are_fractions(tmp_path: Path) -> None:
    path = clips.write_flat_video(tmp_path / "a.mkv", 10)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert pyav.fraction(stream.average_rate) == 25
        assert pyav.fraction(stream.guessed_rate) == 25
        assert pyav.fraction(stream.sample_aspect_ratio) in (None, Fraction(1))


def test_index_of_this_pyav_counts_packets(tmp_path: Path) -> None:
    path = clips.write_video(tmp_path / "a.avi", [clips.flat(1)] * 7, codec="mpeg4")
    with av.open(str(path)) as container:
        expected = 7 if int(av.__version__.split(".")[0]) >= 17 else None
        assert pyav.packets_in_index(container.streams.video[0]) == expected


def test_codec_without_a_decoder_is_described(tmp_path: Path) -> None:
    path = clips.write_flat_video(tmp_path / "a.mp4", 2)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"XYZW"))
    level = av.logging.get_level()
    with pyav.open_input(str(path), {}, {}) as container:
        assert pyav.codec_description(container, 0) == '"XYZW"'
    assert av.logging.get_level() == level


def test_frames_convert_to_arrays(tmp_path: Path) -> None:
    _, decoded = first_frame(clips.write_flat_video(tmp_path / "a.mp4", 2))
    array = decoded.to_ndarray(format="bgr24")
    assert (array.shape, array.dtype) == ((*clips.SIZE[::-1], 3), np.uint8)
    assert isinstance(int(decoded.colorspace), int)
    assert isinstance(int(decoded.color_range), int)
