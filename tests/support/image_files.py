"""Encoded images with known content, made byte by byte where OpenCV does not write what a test needs."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np

BLUE, GREEN, RED, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
NAMES = {BLUE: "B", GREEN: "G", RED: "R", WHITE: "W"}
LOSSLESS = {".webp": [cv2.IMWRITE_WEBP_QUALITY, 101], ".tif": [cv2.IMWRITE_TIFF_COMPRESSION, 1]}


def quarters(size: tuple[int, int] = (60, 40)) -> np.ndarray:
    """Blue and green above red and white, so that every turn and mirror image is told by its corners."""
    width, height = size
    image = np.empty((height, width, 3), np.uint8)
    image[: height // 2, : width // 2], image[: height // 2, width // 2 :] = BLUE, GREEN
    image[height // 2 :, : width // 2], image[height // 2 :, width // 2 :] = RED, WHITE
    return image


def corners(image: np.ndarray) -> str:
    """The colors near the corners: top left, top right, bottom left, bottom right."""
    height, width = image.shape[:2]
    places = [(4, 4), (4, width - 5), (height - 5, 4), (height - 5, width - 5)]
    return "".join(
        NAMES[min(NAMES, key=lambda color: np.abs(np.int64(color) - image[place]).sum())] for place in places
    )


def encode(suffix: str, image: np.ndarray) -> bytes:
    done, data = cv2.imencode(suffix, image, LOSSLESS.get(suffix, []))
    assert done
    return data.tobytes()


def noise(size: tuple[int, int] = (96, 80), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(size: tuple[int, int], bits: int, color: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG of any color type; `rows` are the lines with their filter bytes."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", *size, bits, color, 0, 0, 0))
    body = extra + png_chunk(b"IDAT", zlib.compress(rows, 9)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + body


def exif(orientation: int) -> bytes:
    return b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHH", 0x112, 3, 1, orientation, 0) + bytes(4)


def oriented(suffix: str, image: np.ndarray, orientation: int) -> bytes:
    """An image whose EXIF data asks for it to be turned."""
    return {".jpg": _jpeg, ".png": _png, ".webp": _webp, ".tif": _tiff}[suffix](
        encode(suffix, image), image, orientation
    )


def _jpeg(data: bytes, image: np.ndarray, orientation: int) -> bytes:
    block = b"Exif\0\0" + exif(orientation)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]


def _png(data: bytes, image: np.ndarray, orientation: int) -> bytes:
    return data[:33] + png_chunk(b"eXIf", exif(orientation)) + data[33:]


def _webp(data: bytes, image: np.ndarray, orientation: int) -> bytes:
    height, width = image.shape[:2]
    block = exif(orientation)
    extended = webp_extended((width, height), flags=0x08)
    return riff(extended + data[12:] + b"EXIF" + struct.pack("<I", len(block)) + block)


def webp_extended(size: tuple[int, int], flags: int) -> bytes:
    width, height = size
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"VP8X" + struct.pack("<I", 10) + bytes([flags, 0, 0, 0]) + canvas


def riff(chunks: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def _tiff(data: bytes, image: np.ndarray, orientation: int) -> bytes:
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, start)
    entries = [data[start + 2 + 12 * number :][:12] for number in range(count)]
    tags = {struct.unpack_from(order + "H", entry)[0]: entry for entry in entries}
    tags[0x112] = struct.pack(order + "HHIHH", 0x112, 3, 1, orientation, 0)
    directory = struct.pack(order + "H", len(tags)) + b"".join(tags[tag] for tag in sorted(tags)) + bytes(4)
    return data[:4] + struct.pack(order + "I", len(data)) + data[8:] + directory


def big_tiff(size: tuple[int, int]) -> bytes:
    entries = [struct.pack("<HHQIxxxx", tag, 4, 1, value) for tag, value in zip((0x100, 0x101), size, strict=True)]
    return b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, len(entries)) + b"".join(entries) + bytes(8)


def bombs(width: int, height: int) -> dict[str, bytes]:
    """Return small files of every format whose header claims an image of this size."""
    scan = b"\xff\xda\0\x08\x01\x01\0\0\x3f\0" + bytes(32) + b"\xff\xd9"
    frame = b"\xff\xc0\0\x0b\x08" + struct.pack(">HH", height & 0xFFFF, width & 0xFFFF) + b"\x01\x01\x11\0"
    directory = b"".join(
        struct.pack("<HHII", tag, 4, 1, value)
        for tag, value in ((0x100, width), (0x101, height), (0x111, 8), (0x116, height), (0x117, 64))
    )
    return {
        "a.png": png((width, height), 1, 0, bytes(1 + width // 8) * 10),
        "a.jpg": b"\xff\xd8" + frame + scan,
        "a.webp": riff(webp_extended((width, height), flags=0) + b"VP8L" + struct.pack("<I", 8) + b"\x2f" + bytes(7)),
        "a.tif": b"II*\0\x08\0\0\0\x05\0" + directory + bytes(68),
        "big.tif": big_tiff((width, height)),
        "a.bmp": b"BM" + struct.pack("<IIIIiiHHIIiiII", 154, 0, 54, 40, width, -height, 1, 24, *(0,) * 6) + bytes(100),
        "core.bmp": b"BM"
        + struct.pack("<IIIIHHHH", 126, 0, 26, 12, width & 0xFFFF, height & 0xFFFF, 1, 24)
        + bytes(100),
    }
