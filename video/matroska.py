"""The header of a Matroska file that PyAV begins: the shape of pixels, which cannot be set through it.

FFmpeg's muxer takes that from a field of the stream that PyAV (up to 19.0) leaves unset, and then writes none. So the
video track gets a name of known length, and before the header is on the disk the name is replaced by elements of the
same length that state the display aspect ratio. Elements: RFC 9559, their coding: RFC 8794.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from fairmot.video.mp4 import FragmentFile

TRACK_NAME = "shape of pixels, to be replaced"
"""Name of the video track whose header `with_display_aspect` changes."""

_NAME, _VIDEO, _VOID = b"\x53\x6e", b"\xe0", b"\xec"
_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT = b"\x54\xb0", b"\x54\xba", b"\x54\xb2"
_ASPECT_RATIO = b"\x03"  # as unit: width and height are the terms of a ratio
_LARGEST_TERM = 2**16


class MatroskaFile(FragmentFile):
    """A file object for PyAV, to which FFmpeg writes Matroska clusters.

    Args:
        path: of the file, which is replaced.
        display_aspect: width over height of the video as it is shown, stored upright; None if its pixels are square.

    Raises:
        OSError: if it cannot be made.
    """

    def __init__(self, path: Path, display_aspect: Fraction | None) -> None:
        super().__init__(path)
        self._display_aspect = display_aspect

    def write(self, data: bytes) -> int:
        """Append data, or keep a change of what is there for later; return how many bytes.

        Raises:
            OSError: if the file cannot be written.
        """
        content = bytes(data)
        # The description of the tracks is written at the start and, possibly changed, in the same place at the end.
        is_header = not self._size or self._position < self._size
        if self._display_aspect is not None and is_header and TRACK_NAME.encode() in content:
            content = with_display_aspect(content, self._display_aspect)
        return super().write(content)


def with_display_aspect(header: bytes, aspect: Fraction) -> bytes:
    """Return a header of the same length whose track of the name `TRACK_NAME` states a display aspect ratio.

    Args:
        header: of a Matroska file, as FFmpeg writes it: the name of a track stands before what describes its video.
        aspect: width over height.

    Raises:
        ValueError: if it has no such track.
    """
    text = TRACK_NAME.encode()
    name = _NAME + bytes([0x80 | len(text)]) + text  # FFmpeg codes lengths as short as they can be
    at = header.index(name)
    siblings = _elements(header, at + len(name))
    start, end, content = next((start, end, content) for start, end, id_, content in siblings if id_ == _VIDEO)
    kept = b"".join(content[a:b] for a, b, id_, _ in _elements(content) if id_ != _DISPLAY_UNIT)
    aspect = aspect.limit_denominator(_LARGEST_TERM)
    kept += _element(_DISPLAY_UNIT, _ASPECT_RATIO)
    kept += _element(_DISPLAY_WIDTH, aspect.numerator.to_bytes(4, "big"))
    kept += _element(_DISPLAY_HEIGHT, aspect.denominator.to_bytes(4, "big"))
    room = len(name) + (end - start) - len(_element(_VIDEO, kept)) - len(_element(_VOID, b""))
    video = _element(_VIDEO, kept + _element(_VOID, bytes(room)))
    return header[:at] + header[at + len(name) : start] + video + header[end:]


def _element(id_: bytes, content: bytes) -> bytes:
    """Return an element, its length coded in two bytes."""
    return id_ + (0x4000 | len(content)).to_bytes(2, "big") + content


def _elements(data: bytes, position: int = 0) -> Iterator[tuple[int, int, bytes, bytes]]:
    """Yield start, end, id and content of the elements that follow each other from a position on."""
    while position < len(data):
        after_id = position + _number_length(data[position])
        length = _number_length(data[after_id])
        begin = after_id + length
        size = int.from_bytes(data[after_id:begin], "big") & ((1 << 7 * length) - 1)
        yield position, begin + size, data[position:after_id], data[begin : begin + size]
        position = begin + size


def _number_length(first: int) -> int:
    """Return the bytes of a number of variable length by the first of them."""
    return 9 - first.bit_length()
