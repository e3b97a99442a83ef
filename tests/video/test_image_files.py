"""One image file: its orientation and kinds of pixels, damage, and sizes that are not believed."""

from __future__ import annotations

import ctypes
import os
import re
import struct
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from support import image_files as files

from fairmot.video.c_stderr import can_collect_stderr, collected_stderr
from fairmot.video.image_file import read_image
from fairmot.video.image_header import ImageError, read_header

ALL = (".bmp", ".jpg", ".png", ".tif", ".webp")


def read(folder: Path, data: bytes, max_pixels: int = 10**6) -> np.ndarray:
    (folder / "image").write_bytes(data)
    return read_image(folder / "image", max_pixels)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize(
    ("orientation", "expected"),
    list(enumerate(["BGRW", "GBWR", "WRGB", "RWBG", "BRGW", "RBWG", "WGRB", "GWBR"], 1)),
)
def test_every_orientation_is_undone(tmp_path: Path, suffix: str, orientation: int, expected: str) -> None:
    image = read(tmp_path, files.oriented(suffix, files.quarters((60, 40)), orientation))
    assert image.shape == ((40, 60, 3) if orientation <= 4 else (60, 40, 3))
    assert files.corners(image) == expected


@pytest.mark.parametrize("block", [b"", b"MM", b"MM\0*\xff\xff\xff\xff", files.exif(0), files.exif(9), bytes(100)])
def test_nonsense_in_exif_leaves_the_image_as_it_is(tmp_path: Path, block: bytes) -> None:
    chunk = b"EXIF" + struct.pack("<I", len(block)) + block
    data = files.riff(files.webp_extended((60, 40), 0x08) + files.encode(".webp", files.quarters())[12:] + chunk)
    assert files.corners(read(tmp_path, data)) == "BGRW"


def palette(transparent: bool) -> bytes:
    colors = files.png_chunk(b"PLTE", bytes([0, 0, 0, 30, 20, 10]))
    extra = colors + (files.png_chunk(b"tRNS", b"\xff\0") if transparent else b"")
    return files.png((16, 8), 8, 3, (b"\0" + b"\1" * 16) * 8, extra)


@pytest.mark.parametrize(
    ("data", "pixel"),
    [
        (files.encode(".png", np.full((8, 16), 77, np.uint8)), (77, 77, 77)),
        (files.encode(".png", np.full((8, 16), 77 * 256, np.uint16)), (77, 77, 77)),
        (files.encode(".png", np.full((8, 16, 3), (2560, 5120, 7680), np.uint16)), (10, 20, 30)),
        (files.encode(".png", np.full((8, 16, 4), (10, 20, 30, 0), np.uint8)), (10, 20, 30)),
        (files.encode(".tif", np.full((8, 16), 77 * 256, np.uint16)), (77, 77, 77)),
        (files.encode(".tif", np.full((8, 16), 77, np.uint8)), (77, 77, 77)),
        (files.encode(".webp", np.full((8, 16, 4), (10, 20, 30, 255), np.uint8)), (10, 20, 30)),
        (files.encode(".bmp", np.full((8, 16), 77, np.uint8)), (77, 77, 77)),
        (files.encode(".jpg", np.full((8, 16), 77, np.uint8)), (77, 77, 77)),
        (palette(transparent=False), (10, 20, 30)),
        (palette(transparent=True), (10, 20, 30)),
        (files.png((16, 8), 1, 0, b"\0\xff\xff" * 8), (255, 255, 255)),
        (files.png((16, 8), 8, 4, (b"\0" + b"\x4d\0" * 16) * 8), (77, 77, 77)),
    ],
    ids=[
        *("gray", "16-bit-gray", "16-bit-color", "alpha", "16-bit-tiff", "gray-tiff", "alpha-webp", "gray-bmp"),
        *("gray-jpeg", "palette", "transparent-palette", "1-bit", "gray-alpha"),
    ],
)
def test_every_kind_of_pixel_becomes_bgr(tmp_path: Path, data: bytes, pixel: tuple[int, int, int]) -> None:
    image = read(tmp_path, data)
    assert (image.shape, image.dtype) == ((8, 16, 3), np.uint8)
    np.testing.assert_array_equal(image.reshape(-1, 3), [pixel] * 128)


@pytest.mark.parametrize("suffix", ALL)
def test_header_knows_the_size(suffix: str) -> None:
    header = read_header(files.encode(suffix, files.noise((61, 43))))
    assert (header.width, header.height, header.is_animated) == (61, 43, False)


def test_header_of_other_variants() -> None:
    lossy = cv2.imencode(".webp", files.noise((61, 43)), [cv2.IMWRITE_WEBP_QUALITY, 50])[1].tobytes()
    progressive = cv2.imencode(".jpg", files.noise((61, 43)), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    plain = files.encode(".jpg", files.noise((61, 43)))
    padded = plain[:2] + b"\xff\xff\xfe\0\x04ab" + plain[2:]  # fill before a marker, and a comment
    with_video = plain + files.noise().tobytes()  # what phones append
    for data in (lossy, progressive, padded, with_video, files.big_tiff((61, 43))):
        header = read_header(data)
        assert (header.width, header.height) == (61, 43)
    assert read_header(files.riff(files.webp_extended((61, 43), 0x02))).is_animated
    animated = files.png((16, 8), 1, 0, b"\0\xff\xff" * 8, files.png_chunk(b"acTL", bytes(8)))
    assert read_header(animated).is_animated


@pytest.mark.parametrize("suffix", ALL)
@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.2, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_off_is_damaged(
    tmp_path: Path, suffix: str, share: float, capfd: pytest.CaptureFixture[str]
) -> None:
    data = files.encode(suffix, files.noise())
    with pytest.raises(ImageError):
        read(tmp_path, data[: int(share * len(data))])
    assert capfd.readouterr() == ("", "")  # neither OpenCV nor its libraries write to the terminal


@pytest.mark.parametrize("progressive", [0, 1])
def test_a_jpeg_that_lacks_only_its_end_marker(tmp_path: Path, progressive: int) -> None:
    """As some cameras write them."""
    data = cv2.imencode(".jpg", files.noise(), [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive])[1].tobytes()
    np.testing.assert_array_equal(read(tmp_path, data[:-2]), read(tmp_path, data))


def test_a_progressive_jpeg_without_its_last_scans_is_cut_off(tmp_path: Path) -> None:
    """Wherever it is cut: libjpeg takes what scans there are for an image, and prints nothing."""
    image = cv2.GaussianBlur(files.noise((160, 120)), (0, 0), 3)
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    scans = [match.start() for match in re.finditer(b"\xff\xda", data)]
    tables = [match.start() for match in re.finditer(b"\xff\xc4", data[scans[0] :])]
    cuts = {
        *scans,
        *(scans[0] + start for start in tables),
        *(start + 12 for start in scans),
        *range(scans[0], len(data) - 2, 37),
    }
    for cut in sorted(cuts):
        with pytest.raises(ImageError, match=r"it is damaged|it is cut off"):
            read(tmp_path, data[:cut])
    np.testing.assert_array_equal(read(tmp_path, data[:-2]), read(tmp_path, data))


@pytest.mark.skipif(not can_collect_stderr(), reason="needs glibc")
@pytest.mark.parametrize("progressive", [0, 1])
@pytest.mark.parametrize("extraneous", [b"", b"\0\1\2\3", bytes(40)])
@pytest.mark.parametrize("share", [0.35, 0.6, 0.9, 1.0])
def test_harmless_bytes_do_not_hide_that_a_jpeg_is_cut_off(
    tmp_path: Path, progressive: int, extraneous: bytes, share: float
) -> None:
    """libjpeg prints its first warning alone."""
    data = cv2.imencode(".jpg", files.noise(), [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive])[1].tobytes()
    end = 4 + int.from_bytes(data[4:6], "big")  # of the first segment, APP0
    cut = data[:end] + extraneous + data[end : int(share * len(data))]
    if share < 1:
        with pytest.raises(ImageError, match=r"it is damaged|it is cut off"):
            read(tmp_path, cut)
    else:
        np.testing.assert_array_equal(read(tmp_path, cut), read(tmp_path, data))


def corrupt_jpeg(kind: str) -> bytes:
    data = bytearray(files.encode(".jpg", files.noise()))
    half = len(data) // 2
    changes = {"bad codes": b"\xff\0" * 50, "an early end": b"\xff\xd9" * 10, "a marker": b"\xff\xd3" * 10}
    data[half : half + len(changes[kind])] = changes[kind]
    return bytes(data)


@pytest.mark.skipif(not can_collect_stderr(), reason="needs glibc")
@pytest.mark.parametrize("kind", ["bad codes", "an early end", "a marker"])
def test_a_corrupt_jpeg_is_damaged_without_a_word_from_its_library(
    tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ImageError, match="it is damaged"):
        read(tmp_path, corrupt_jpeg(kind))
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not can_collect_stderr(), reason="needs glibc")
def test_bytes_too_many_are_no_damage(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = files.encode(".jpg", files.noise())
    padded = data[:-2] + b"\x55" * 5 + data[-2:]
    np.testing.assert_array_equal(read(tmp_path, padded), read(tmp_path, data))
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not can_collect_stderr(), reason="needs glibc")
def test_only_what_c_code_prints_is_collected(capfd: pytest.CaptureFixture[str]) -> None:
    c = ctypes.CDLL(None)
    c.perror(b"before")
    for lines in (["first: Success", "second: Success"], ["third: Success"], []):
        ctypes.set_errno(0)
        with collected_stderr() as collected:
            print("by Python", file=sys.stderr)
            os.write(2, b"by a descriptor\n")
            for line in lines:
                c.__errno_location.restype = ctypes.POINTER(ctypes.c_int)
                c.__errno_location()[0] = 0
                c.perror(line.split(":")[0].encode())
        assert collected == lines
    c.perror(b"after")
    out, err = capfd.readouterr()
    shown = [line.split(":")[0] for line in err.splitlines()]
    assert (out, shown) == ("", ["before", *["by Python", "by a descriptor"] * 3, "after"])


def test_threads_do_not_mix_up_their_damage(tmp_path: Path) -> None:
    (tmp_path / "good.jpg").write_bytes(files.encode(".jpg", files.noise((300, 200))))
    (tmp_path / "bad.jpg").write_bytes(corrupt_jpeg("an early end"))

    def is_good(name: str) -> bool:
        try:
            read_image(tmp_path / name)
        except ImageError:
            return False
        return True

    names = ["good.jpg", "bad.jpg"] * 100
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(is_good, names)) == [name == "good.jpg" for name in names]


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_file_that_goes_on_with_zeros_is_damaged(tmp_path: Path, suffix: str) -> None:
    """As after a power cut: the length is right, the rest was never written."""
    data = files.encode(suffix, files.noise())
    half = len(data) // 2
    with pytest.raises(ImageError, match=r"it is cut off|it is damaged"):
        read(tmp_path, data[:half] + bytes(len(data) - half))


def test_a_flipped_bit_in_a_png_is_damage(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(files.encode(".png", files.noise()))
    data[len(data) // 2] ^= 0x10
    with pytest.raises(ImageError, match=r"^it is damaged$"):
        read(tmp_path, bytes(data))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it is empty"),
        (b"not an image", "it is not a BMP, JPEG, PNG, TIFF or WebP image"),
        (b"GIF89a" + bytes(100), "it is not a BMP"),
        (b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(60), "it is not a BMP"),
        (b"\xff\xd8", "it is cut off"),
        (b"\xff\xd8" + b"\xff" * 1000, "it is cut off"),
        (b"\xff\xd8\xff\xda" + bytes(100) + b"\xff\xd9", "it is damaged"),
        (files.png((0, 5), 1, 0, b""), "it is damaged"),
        (b"\x89PNG\r\n\x1a\n" + files.png_chunk(b"IDAT", bytes(50)), "it is damaged"),
        (files.riff(b"ABCD" + bytes(30)), "it is damaged"),
        (b"II*\0\xff\xff\xff\xff" + bytes(100), "it is cut off"),
        (b"II+\0\x08\0\0\0\x10" + bytes(7) + b"\xff" * 200, "it is damaged"),
        (b"BM" + bytes(100), "it is damaged"),
    ],
)
def test_reasons(tmp_path: Path, data: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=f"^{reason}"):
        read(tmp_path, data)


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere.png")
    for name, reason in (("link.png", "symbolic link that leads nowhere"), ("none.png", "it is gone")):
        with pytest.raises(ImageError, match=reason):
            read_image(tmp_path / name)
    with pytest.raises(ImageError, match="is a directory"):
        read_image(tmp_path)


@pytest.mark.parametrize(("name", "data"), files.bombs(30000, 30000).items())
def test_size_is_checked_before_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, data: bytes
) -> None:
    def decode(*arguments: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(cv2, "imdecode", decode)
    with pytest.raises(ImageError, match=r"30000x30000 pixels, more than --max-pixels allows, which is 200000000"):
        read(tmp_path, data, 200_000_000)


def test_limit_of_pixels_is_exact(tmp_path: Path) -> None:
    data = files.encode(".png", files.noise((61, 43)))
    assert read(tmp_path, data, 61 * 43).shape == (43, 61, 3)
    with pytest.raises(ImageError, match="--max-pixels"):
        read(tmp_path, data, 61 * 43 - 1)


def test_files_larger_than_any_image_are_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(2**40)  # takes no room on the disk
    began = time.perf_counter()
    with pytest.raises(ImageError, match="too many for --max-pixels"):
        read_image(tmp_path / "a.png")
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize("suffix", ALL)
def test_no_mutation_escapes(tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever a byte is changed to, there is an image of bounded size or an `ImageError`."""
    rng = np.random.default_rng(7)
    whole = files.encode(suffix, files.noise((24, 16)))
    read_count = 0
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            data[int(rng.integers(len(data)) if rng.random() < 0.5 else rng.integers(64))] = int(rng.integers(256))
        if suffix == ".png" and rng.random() < 0.7:  # checksums that fit, so that the decoder sees the change
            header = bytes(data[12:29])
            data[29:33] = struct.pack(">I", zlib.crc32(header))
        try:
            image = read(tmp_path, bytes(data))
        except ImageError:
            continue
        finally:
            assert capfd.readouterr() == ("", "")
        assert image.size <= 3 * 10**6
        read_count += 1
    assert read_count < 150
