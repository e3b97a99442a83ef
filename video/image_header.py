"""Headers of image files, read before anything is decoded: size, orientation, whether the file is whole.

Decoders allocate what a header asks for, and 110 kB of PNG can ask for 2.7 GB, so the size is read here first. The
formats: JPEG (ITU-T T.81, annex B), PNG (W3C, third edition, section 5), WebP (RFC 9649), TIFF 6.0 (section 2) with
BigTIFF, and BMP (Microsoft's BITMAPCOREHEADER and BITMAPINFOHEADER).
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

_CUT_OFF = "it is cut off"
_DAMAGED = "it is damaged"

JPEG_END = b"\xff\xd9"
_JPEG_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_JPEG_START_OF_SCAN = 0xDA
_JPEG_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
_WEBP_EXIF, _WEBP_ANIMATED = 0x08, 0x02
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_ORIENTATION = 0x100, 0x101, 0x112
_TIFF_INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_TIFF_MOST_TAGS = 4096


class ImageError(ValueError):
    """An image file cannot be used; the message is a clause with the reason, as in "it is cut off"."""


@dataclass(frozen=True)
class ImageHeader:
    """The metadata of an image file.

    Attributes:
        width, height: in pixels as stored, before the orientation is applied.
        orientation: the EXIF orientation, 1 to 8, of a WebP file, which OpenCV ignores before 5.0; of the other
            formats always 1, as OpenCV applies theirs.
        is_animated: whether the file is an animated PNG or WebP.
        lacks_end: whether the file is a JPEG without its end marker. It is cut off, or written by a camera that leaves
            the marker out.
    """

    width: int
    height: int
    orientation: int = 1
    is_animated: bool = False
    lacks_end: bool = False


def read_header(data: bytes) -> ImageHeader:
    """Return the header of an encoded image, and check that the file is whole where its format permits.

    Args:
        data: the whole file.

    Raises:
        ImageError: if it is none of the known formats, cut off or damaged.
    """
    if not data:
        raise ImageError("it is empty")
    try:
        if data.startswith(b"\xff\xd8"):
            header = _jpeg(data)
        elif data.startswith(b"\x89PNG\r\n\x1a\n"):
            header = _png(data)
        elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            header = _webp(data)
        elif data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            tags = _tiff_tags(data)
            header = ImageHeader(tags.get(_TIFF_WIDTH, 0), tags.get(_TIFF_HEIGHT, 0))
        elif data.startswith(b"BM"):
            header = _bmp(data)
        else:
            raise ImageError("it is not a BMP, JPEG, PNG, TIFF or WebP image")
    except (struct.error, IndexError) as error:  # a field lies beyond the end of the file
        raise ImageError(_CUT_OFF) from error
    if header.width < 1 or header.height < 1:
        raise ImageError(_DAMAGED)
    return header


def without_extraneous_bytes(data: bytes) -> bytes:
    """Return a JPEG file without the bytes between the segments before its first scan, which decoders skip."""
    return data[:2] + b"".join(data[start:end] for _, start, end in _jpeg_segments(data))


def _jpeg(data: bytes) -> ImageHeader:
    size: tuple[int, int] | None = None
    scan = 0
    for marker, start, _ in _jpeg_segments(data):
        if marker in _JPEG_START_OF_FRAME and size is None:
            height, width = struct.unpack_from(">HH", data, start + 5)
            size = width, height
        scan = start
    if size is None:
        raise ImageError(_DAMAGED)
    lacks_end = data.rfind(JPEG_END) < scan
    # Zeros as after a power cut decode as a gray image; without its last scans an image is coarse, not damaged.
    if lacks_end and (data.endswith(bytes(4)) or _lacks_scans(data, scan)):
        raise ImageError(_CUT_OFF)
    return ImageHeader(*size, lacks_end=lacks_end)


def _lacks_scans(data: bytes, first: int) -> bool:
    """Return whether a progressive JPEG lacks the scan with the last bit of a coefficient (ITU-T T.81, annex G).

    Args:
        data: the file.
        first: start of its first scan.
    """
    frame = next(start for marker, start, _ in _jpeg_segments(data) if marker in _JPEG_START_OF_FRAME)
    if data[frame + 1] not in _JPEG_PROGRESSIVE:
        return False
    missing = {component: set(range(64)) for component in data[frame + 10 : frame + 10 + 3 * data[frame + 9] : 3]}
    for match in re.compile(b"\xff\xda").finditer(data, first):  # in coded data 0 follows 0xFF
        start = match.start()
        count = data[start + 4]
        selection = data[start + 5 + 2 * count : start + 8 + 2 * count]
        if len(selection) == 3 and not selection[2] & 0x0F:  # the low bit comes with this scan
            for component in data[start + 5 : start + 5 + 2 * count : 2]:
                missing.get(component, set()).difference_update(range(selection[0], selection[1] + 1))
    return any(missing.values())


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of the segments up to the first scan, which extends to the end of the data.

    Raises:
        ImageError: if there is no scan.
    """
    position = 2
    while True:
        position = data.find(b"\xff", position)  # decoders skip what is between segments
        if position < 0:
            raise ImageError(_CUT_OFF)
        marker = data[position + 1]
        if marker == 0xFF:  # fill
            position += 1
        elif marker == 0 or marker in _JPEG_WITHOUT_LENGTH:
            position += 2
        elif marker == _JPEG_START_OF_SCAN:
            yield marker, position, len(data)
            return
        else:
            end = position + 2 + max(2, struct.unpack_from(">H", data, position + 2)[0])
            yield marker, position, end
            position = end


def _png(data: bytes) -> ImageHeader:
    width, height = struct.unpack_from(">II", data, 16)
    is_animated = False
    position = 8
    kind = b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        (checksum,) = struct.unpack_from(">I", data, end)
        is_critical = not kind[0] & 0x20 and length
        if is_critical and zlib.crc32(memoryview(data)[position + 4 : end]) != checksum:
            raise ImageError(_DAMAGED)
        if position == 8 and kind != b"IHDR":
            raise ImageError(_DAMAGED)
        is_animated = is_animated or kind == b"acTL"
        position = end + 4
    return ImageHeader(width, height, is_animated=is_animated)


def _webp(data: bytes) -> ImageHeader:
    end = 8 + struct.unpack_from("<I", data, 4)[0]
    if end > len(data):
        raise ImageError(_CUT_OFF)
    kind = data[12:16]
    if kind == b"VP8X":
        flags = data[20]
        size = int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
        exif = next((body for kind, body in _webp_chunks(data) if kind == b"EXIF"), b"") if flags & _WEBP_EXIF else b""
        return ImageHeader(*size, orientation=_exif_orientation(exif), is_animated=bool(flags & _WEBP_ANIMATED))
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return ImageHeader(width & 0x3FFF, height & 0x3FFF)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return ImageHeader((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    raise ImageError(_DAMAGED)


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 12
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        yield kind, data[position + 8 : position + 8 + length]
        position += 8 + length + length % 2


def _exif_orientation(exif: bytes) -> int:
    """Return the orientation of an EXIF block; 1 if there is none or it is damaged, as other programs do."""
    exif = exif.removeprefix(b"Exif\0\0")
    try:
        orientation = _tiff_tags(exif).get(_TIFF_ORIENTATION, 1)
    except (struct.error, ImageError):
        return 1
    return orientation if 1 <= orientation <= 8 else 1


def _tiff_tags(data: bytes) -> dict[int, int]:
    """Return the tags of the first directory that are whole numbers; of several numbers the first."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        raise ImageError(_DAMAGED)
    (version,) = struct.unpack_from(order + "H", data, 2)
    # Offset of the directory, number of its entries, length of an entry, offset of the value in it.
    if version == 43:
        (position,) = struct.unpack_from(order + "Q", data, 8)
        (count,) = struct.unpack_from(order + "Q", data, position)
        position, entry_bytes, value_offset = position + 8, 20, 12
    else:
        (position,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, position)
        position, entry_bytes, value_offset = position + 2, 12, 8
    if count > _TIFF_MOST_TAGS:
        raise ImageError(_DAMAGED)
    tags = {}
    for start in range(position, position + count * entry_bytes, entry_bytes):
        tag, kind = struct.unpack_from(order + "HH", data, start)
        if kind in _TIFF_INTEGERS:
            (tags[tag],) = struct.unpack_from(order + _TIFF_INTEGERS[kind], data, start + value_offset)
    return tags


def _bmp(data: bytes) -> ImageHeader:
    (header_bytes,) = struct.unpack_from("<I", data, 14)
    if header_bytes == 12:
        return ImageHeader(*struct.unpack_from("<HH", data, 18))
    width, height = struct.unpack_from("<ii", data, 18)
    return ImageHeader(width, abs(height))  # a negative height means that the rows go down
