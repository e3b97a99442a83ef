"""Detection of truncated files by their own structure: AVI, MP4 and relatives, Matroska and WebM.

Numbers of frames in headers do not suffice: an AVI with dropped frames, and an MP4 that was trimmed by an edit list,
yield fewer packets than they state and are complete.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_SLACK_BYTES = 16  # some writers state the size with the header counted twice, or without the last padding
_ISO_BOXES = {b"ftyp", b"styp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"pnot", b"sidx", b"uuid"}
_EBML, _SEGMENT = 0x1A45DFA3, 0x18538067


def is_cut(path: Path) -> bool | None:
    """Return whether a file ends before its outermost structure does; None where that structure does not state it."""
    try:
        with path.open("rb") as file:
            length = os.fstat(file.fileno()).st_size
            head = file.read(12)
            file.seek(0)
            if head[:4] == b"RIFF":
                end = _end_of_riff(file, length)
            elif head[4:8] in _ISO_BOXES:
                end = _end_of_boxes(file, length)
            elif head[:4] == _EBML.to_bytes(4, "big"):
                end = _end_of_matroska(file)
            else:
                end = None
    except OSError:
        return None
    return None if end is None else end > length + _SLACK_BYTES


def lacks_index(path: Path) -> bool:
    """Return whether a file is an MP4 (or a relative) without its index, as a recording that was never finished is."""
    try:
        with path.open("rb") as file:
            length = os.fstat(file.fileno()).st_size
            kinds = [kind for kind, _ in _boxes(file, length)]
    except OSError:
        return False
    return bool(kinds) and kinds[0] in _ISO_BOXES and not {b"moov", b"moof"} & set(kinds)


def _end_of_riff(file: BinaryIO, length: int) -> int | None:
    """Return where the last RIFF chunk ends: an AVI above 1 GiB has several (OpenDML)."""
    end = 0
    while end + 8 <= length:
        file.seek(end)
        kind, size = struct.unpack("<4sI", file.read(8))
        if kind != b"RIFF":
            break
        if size in (0, 0xFFFFFFFF):  # written as a placeholder and never filled in
            return None
        end += 8 + size + size % 2
    return end or None


def _end_of_boxes(file: BinaryIO, length: int) -> int | None:
    """Return where the last box of an ISO base media file ends; None if it runs to the end of the file."""
    end = 0
    for _, box_end in _boxes(file, length):
        if box_end is None:
            return None
        end = box_end
    return end


def _boxes(file: BinaryIO, length: int) -> Iterator[tuple[bytes, int | None]]:
    """Yield kind and end of each outermost box; the end is None where it is that of the file."""
    start = 0
    while start + 8 <= length:
        file.seek(start)
        size, kind = struct.unpack(">I4s", file.read(8))
        header = 8
        if size == 1:
            wide = file.read(8)
            size, header = (int.from_bytes(wide, "big") if len(wide) == 8 else 16), 16
        if size == 0:
            yield kind, None
            return
        if size < header:  # garbage behind the last box
            return
        start += size
        yield kind, start


def _end_of_matroska(file: BinaryIO) -> int | None:
    """Return where the segment of a Matroska file ends; None if its size is not stated, as in a live recording."""
    _read_number(file, keep_marker=True)
    header = _read_number(file)
    if header is None:
        return None
    file.seek(header, os.SEEK_CUR)
    if _read_number(file, keep_marker=True) != _SEGMENT:
        return None
    size = _read_number(file)
    return None if size is None else file.tell() + size


def _read_number(file: BinaryIO, *, keep_marker: bool = False) -> int | None:
    """Read a number of variable length (RFC 8794, section 4); None if it is invalid or the reserved "unknown"."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    length = 9 - first[0].bit_length()
    data = first + file.read(length - 1)
    value = int.from_bytes(data, "big")
    if keep_marker:
        return value
    value &= (1 << 7 * length) - 1
    return None if value == (1 << 7 * length) - 1 else value
