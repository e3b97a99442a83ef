"""Compatibility with the versions of PyAV: everything that differs between 17.1 and 19.0."""

from __future__ import annotations

import re
import struct
from fractions import Fraction
from typing import Any, cast

import av
from av.sidedata.sidedata import Type as SideDataType

_VERSION = tuple(map(int, av.__version__.split(".")[:2]))
# A decoder that could not be opened raises a plain ValueError at the next packet in 19.
DECODE_ERRORS = (av.FFmpegError, ValueError)

_MATRIX = struct.Struct("=9i")  # AV_FRAME_DATA_DISPLAYMATRIX, in the byte order of the machine


def open_input(
    location: str, options: dict[str, str], decoder_options: dict[str, str], timeout: float | None = None
) -> av.container.InputContainer:
    """Open a container for reading.

    Args:
        location: path or URL as FFmpeg takes it.
        options: FFmpeg's options for the container.
        decoder_options: options for the decoders that look into its streams while it is opened.
        timeout: seconds to wait, for opening and for each read.

    Raises:
        av.FFmpegError: if it cannot be opened.
    """
    # Without it titles that are not UTF-8 raise; 19 replaces what it cannot decode by itself.
    extra: dict[str, Any] = {"metadata_errors": "replace"} if _VERSION < (19, 0) else {}
    waits = None if timeout is None else (timeout, timeout)
    container: av.container.InputContainer = av.open(
        location, container_options=options, options=decoder_options, timeout=waits, **extra
    )
    return container


def disposition(stream: Any) -> int:
    """Return the AV_DISPOSITION_* flags of a stream."""
    return int(stream.disposition.value)


def display_matrix(frame: av.VideoFrame) -> tuple[int, ...] | None:
    """Return the nine numbers of a decoded frame's display matrix; None if it has none.

    FFmpeg turns the EXIF orientation of a JPEG into a display matrix too.
    """
    try:
        # By name and not by iteration: `side_data` is a sequence of items up to 18.1, a mapping of types from 19 on.
        data = bytes(cast(Any, frame.side_data)["DISPLAYMATRIX"])
    except KeyError:
        return None
    return _MATRIX.unpack(data[: _MATRIX.size]) if len(data) >= _MATRIX.size else None


def fraction(value: Any) -> Fraction | None:
    """Return a positive rational number of FFmpeg; None if it is unset (None up to 18.1, 0/1 or x/0 from 19 on)."""
    if not value or value.denominator <= 0 or value.numerator <= 0:
        return None
    return Fraction(value.numerator, value.denominator)


def packets_in_index(stream: Any) -> int | None:
    """Return how many packets with data the index of a stream lists; None if it has none."""
    entries = stream.index_entries
    return sum(entry.size > 0 for entry in entries) if entries else None


def codec_description(container: av.container.InputContainer, index: int) -> str:
    """Return FFmpeg's name of the codec of a stream without a decoder, its four-character code, or both."""
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)  # the dump goes through the log, which PyAV turns off
    try:
        dump = cast(Any, container).dumps_format()  # missing in PyAV's stubs
    finally:
        av.logging.set_level(level)
    match = re.search(rf"Stream #0:{index}\b[^\n]*?: Video: (\w+)[^\n(]*(?:\(([^/\n)]+) / 0x)?", dump)
    name, code = match.groups() if match else (None, None)
    known = [text for text in (name, code and f'"{code.strip()}"') if text and text != "none"]
    return " ".join(known) or "unknown"


def _accept_unknown_side_data() -> None:
    """Let frames carry side data of types newer than PyAV.

    PyAV 17 and 18 look up all side data of a frame in an enumeration, and raise ValueError for what FFmpeg added
    later, such as EXIF (type 31 of FFmpeg 8.1). PyAV 19 adds a member for such types in the same way.
    """

    def missing(cls: Any, value: object) -> Any:
        if not isinstance(value, int):
            return None
        member = object.__new__(cls)
        member._name_, member._value_ = f"UNKNOWN_{value}", value
        return cls._value2member_map_.setdefault(value, member)

    SideDataType._missing_ = classmethod(missing)  # type: ignore[assignment, method-assign]


if _VERSION < (19, 0):
    _accept_unknown_side_data()
