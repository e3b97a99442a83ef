from __future__ import annotations

import itertools
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from support import clip_files as clips

from fairmot.video import open_source
from fairmot.video.orientation import Orientation, from_display_matrix
from fairmot.video.video_source import VideoSource

ONE = 1 << 16

# Matrix (a, b, c, d), and which quarters are seen where: upper left, upper right, lower left, lower right.
EIGHT = {
    "upright": ((1, 0, 0, 1), "ABCD"),
    "mirrored left-right": ((-1, 0, 0, 1), "BADC"),
    "half turn": ((-1, 0, 0, -1), "DCBA"),
    "mirrored top-bottom": ((1, 0, 0, -1), "CDAB"),
    "transposed": ((0, 1, 1, 0), "ACBD"),
    "clockwise": ((0, 1, -1, 0), "CADB"),
    "transversed": ((0, -1, -1, 0), "DBCA"),
    "counter-clockwise": ((0, -1, 1, 0), "BDAC"),
}
EXIF = dict(enumerate(EIGHT, 1))  # the values of tag 0x0112 come in this order
LEVELS = {"A": 240, "B": 150, "C": 70, "D": 10}


def quarters(size: tuple[int, int] = (96, 64)) -> np.ndarray:
    width, height = size
    image = np.zeros((height, width, 3), np.uint8)
    for place, level in zip(itertools.product((0, 1), (0, 1)), LEVELS.values(), strict=True):
        rows, columns = (
            slice(at * side // 2, (at + 1) * side // 2) for at, side in zip(place, (height, width), strict=True)
        )
        image[rows, columns] = level
    return image


def seen(image: np.ndarray) -> str:
    height, width = image.shape[:2]
    levels = [float(image[r, c].mean()) for r in (height // 4, 3 * height // 4) for c in (width // 4, 3 * width // 4)]
    return "".join(min(LEVELS, key=lambda letter: abs(LEVELS[letter] - level)) for level in levels)


def set_matrix(path: Path, numbers: tuple[float, ...]) -> Path:
    """Write the nine numbers of the display matrix of an mp4."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44  # in a box of version 0
    data[at : at + 36] = struct.pack(">9i", *(round(number) for number in numbers))
    path.write_bytes(data)
    return path


def matrix(a: float, b: float, c: float, d: float, x: float = 0, y: float = 0, scale: float = ONE) -> tuple[float, ...]:
    return (a * scale, b * scale, 0, c * scale, d * scale, 0, x * ONE, y * ONE, 1 << 30)


@pytest.mark.parametrize("name", EIGHT)
@pytest.mark.parametrize("pixel_format", ["bgr24", "yuv420p"])
def test_all_eight_display_matrices(tmp_path: Path, name: str, pixel_format: str) -> None:
    (a, b, c, d), expected = EIGHT[name]
    path = clips.write_video(tmp_path / "a.mp4", [quarters()] * 3)
    set_matrix(path, matrix(a, b, c, d, 96, 64))
    with open_source(str(path), pixel_format=pixel_format) as source:  # type: ignore[arg-type]
        frames = list(source)
        assert source.size == ((64, 96) if b else (96, 64))
    assert source.damaged is None
    assert len(frames) == 3
    for frame in frames:
        assert frame.size == source.size
        assert seen(frame.bgr) == expected
    assert frames[0].pixel_format == (pixel_format if name == "upright" else "bgr24")


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        (None, "upright"),
        ((0,) * 9, "upright"),
        (matrix(1, 0, 0, 1, -500, 900), "upright"),
        (matrix(2, 0, 0, 0.5), "upright"),
        (matrix(0.98, 0.17, -0.17, 0.98), "upright"),
        (matrix(-0.17, 0.98, -0.98, -0.17), "clockwise"),
        (matrix(0.17, -0.98, 0.98, 0.17), "counter-clockwise"),
        (matrix(0, 3, -0.2, 0), "clockwise"),
        (matrix(0, -1, -1, 0, scale=1), "transversed"),
        (matrix(-1, 0, 0, 1, scale=32767 * ONE), "mirrored left-right"),
        ((-(2**31), 0, 0, 0, -(2**31), 0, 0, 0, -1), "half turn"),
        ((0, 0, 0, 0, -7, 0, 0, 0, 0), "mirrored top-bottom"),
    ],
)
def test_odd_matrices_take_the_nearest_orientation(numbers: tuple[int, ...] | None, expected: str) -> None:
    assert seen(from_display_matrix(numbers).apply(quarters())) == EIGHT[expected][1]  # type: ignore[arg-type]


def test_the_eight_orientations_differ_and_keep_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 255, (6, 10, 3), np.uint8)
    results = []
    for flags in itertools.product((False, True), repeat=3):
        orientation = Orientation(*flags)
        shown = orientation.apply(image)
        assert shown.shape[1::-1] == orientation.size(10, 6)
        assert sorted(shown.reshape(-1, 3).tolist()) == sorted(image.reshape(-1, 3).tolist())
        assert orientation.is_upright == (not any(flags))
        results.append(shown.tobytes() + bytes(shown.shape[:2]))
    assert len(set(results)) == 8


def exif_jpeg(value: int | None, order: str, *, other_tags: int = 0) -> bytes:
    """A JPEG with EXIF data of an orientation, between tags that have nothing to do with it."""
    jpeg = cv2.imencode(".jpg", quarters())[1].tobytes()
    tags = [struct.pack(f"{order}HHI4s", 0x010F, 2, 4, b"CAM\0")]
    if value is not None:
        tags.append(struct.pack(f"{order}HHIHH", 0x0112, 3, 1, value, 0))
    tags += [struct.pack(f"{order}HHI4s", 0x0131 + tag, 2, 4, b"abc\0") for tag in range(other_tags)]
    tiff = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HIH", 42, 8, len(tags)) + b"".join(tags) + bytes(4)
    body = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + jpeg[2:]


def write_packets(path: Path, jpegs: list[bytes]) -> Path:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuvj420p"
        for number, jpeg in enumerate(jpegs):
            packet = av.Packet(jpeg)
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, number, number, Fraction(1, 10)
            packet.is_keyframe = True
            container.mux(packet)
    return path


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("value", [None, *EXIF, 0, 9, 65535])
def test_motion_jpeg_with_exif_is_read_upright(tmp_path: Path, value: int | None, order: str) -> None:
    expected = EIGHT[EXIF.get(value or 1, "upright")][1]
    path = write_packets(tmp_path / "a.avi", [exif_jpeg(value, order, other_tags=3)] * 4)
    for pixel_format in ("bgr24", "yuv420p"):
        with open_source(str(path), pixel_format=pixel_format) as source:  # type: ignore[arg-type]
            frames = list(source)
        assert source.damaged is None
        assert [seen(frame.bgr) for frame in frames] == [expected] * 4


@pytest.mark.parametrize("container", ["mov", "mkv", "mjpeg", "avi"])
def test_exif_in_every_container_of_motion_jpeg(tmp_path: Path, container: str) -> None:
    path = write_packets(tmp_path / f"a.{container}", [exif_jpeg(6, ">")] * 3)
    with open_source(str(path)) as source:
        assert source.size == (64, 96)
        assert [seen(frame.bgr) for frame in source] == ["CADB"] * 3


@pytest.mark.parametrize("damage", [b"\xff\xff\xff\xff", b"\0\0\0\0"])
def test_damaged_exif_is_no_damage_of_the_video(tmp_path: Path, damage: bytes) -> None:
    jpeg = exif_jpeg(6, ">")
    at = jpeg.index(b"MM\0*") + 4  # where the tags begin
    path = write_packets(tmp_path / "a.avi", [jpeg[:at] + damage + jpeg[at + 4 :]] * 3)
    with open_source(str(path)) as source:
        assert len(list(source)) == 3


@pytest.mark.parametrize("value", EXIF)
def test_a_jpeg_file_is_one_upright_frame(tmp_path: Path, value: int) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(exif_jpeg(value, ">"))
    with VideoSource(str(path)) as source:
        frames = list(source)
    assert source.damaged is None
    assert [frame.index for frame in frames] == [1]
    assert seen(frames[0].bgr) == EIGHT[EXIF[value]][1]
    assert np.abs(frames[0].bgr.astype(int) - cv2.imread(str(path))).mean() < 2  # as OpenCV turns it


@pytest.mark.parametrize("ending", ["png", "webp", "tiff", "tif", "bmp", "jpeg"])
@pytest.mark.parametrize("stem", ["photo", "photo%03d", "photo[1]*?"])
def test_other_still_images_are_one_frame(tmp_path: Path, ending: str, stem: str) -> None:
    path = tmp_path / f"{stem}.{ending}"
    path.write_bytes(cv2.imencode(f".{ending}", quarters())[1].tobytes())
    (tmp_path / f"photo001.{ending}").write_bytes(cv2.imencode(f".{ending}", quarters((32, 32)))[1].tobytes())
    with VideoSource(str(path)) as source:
        assert source.size == (96, 64)
        frames = list(source)
    assert source.damaged is None
    assert [seen(frame.bgr) for frame in frames] == ["ABCD"]
    assert source.frame_rate <= 60


@pytest.mark.parametrize(("ending", "codec", "pix_fmt"), [("gif", "gif", "rgb8"), ("apng", "apng", "rgb24")])
def test_animations_are_videos(tmp_path: Path, ending: str, codec: str, pix_fmt: str) -> None:
    path = clips.write_video(
        tmp_path / f"a.{ending}", [quarters()] * 3 + [255 - quarters()], rate=10, codec=codec, pix_fmt=pix_fmt
    )
    with VideoSource(str(path)) as source:
        assert [seen(frame.bgr) for frame in source][:3] == ["ABCD"] * 3
    assert source.frame_rate == pytest.approx(10)
