"""`seqinfo.ini`, the description of a MOTChallenge sequence: one reader for everything that uses it."""

from __future__ import annotations

import codecs
import configparser
import math
import re
from dataclasses import dataclass
from pathlib import Path

from fairmot.core.errors import SourceError

MOST_FRAMES = 10_000_000
"""Most frames of a sequence, and largest number of one: four days at 30 frames per second."""

_MOST_BYTES = 64 * 1024
_FRAME_RATES = (0.01, 10_000.0)
_SHOWN_CHARACTERS = 40
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class SequenceInfo:
    """The content of a `seqinfo.ini`; None for what it does not state.

    Attributes:
        name: of the sequence, as written.
        frame_rate: frames per second.
        stated_length: number of frames as written, a whole number above 0.
        image_folder: `imDir` as written; nothing has checked where it leads.
        image_suffix: `imExt` in lower case with its dot.
    """

    name: str | None = None
    frame_rate: float | None = None
    stated_length: int | None = None
    image_folder: str | None = None
    image_suffix: str | None = None

    @property
    def length(self) -> int | None:
        """Number of frames; None if none is stated, or a placeholder that no sequence has (above `MOST_FRAMES`)."""
        return None if self.stated_length is None or self.stated_length > MOST_FRAMES else self.stated_length


def read_sequence_info(path: Path) -> SequenceInfo:
    """Read a `seqinfo.ini`.

    Keys and the name of the section are compared without case, as configparser writes them in lower case. The text may
    be UTF-8, UTF-16 with a byte order mark or, failing these, Latin-1. Comments begin with `;` or `#`, on a line of
    their own or after a blank. Of a key that is repeated the last value holds.

    Raises:
        SourceError: if the file cannot be read, is not a sequence description, or a number in it is invalid.
    """
    values = _read_section(path)
    suffix = values.get("imext", "").lower()
    return SequenceInfo(
        name=values.get("name") or None,
        frame_rate=_frame_rate(values.get("framerate"), path),
        stated_length=_length(values.get("seqlength"), path),
        image_folder=values.get("imdir") or None,
        image_suffix=(suffix if suffix.startswith(".") else f".{suffix}") if suffix else None,
    )


def _read_section(path: Path) -> dict[str, str]:
    """Return the values of the section `[Sequence]` by their keys in lower case."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise SourceError(f"Cannot read {path}: {error.strerror or error}.") from error
    text = _decode(data)
    if len(data) > _MOST_BYTES or "\0" in text:
        raise SourceError(f"{path} is not a sequence description; it must be a short text file.")
    parser = configparser.ConfigParser(interpolation=None, strict=False, inline_comment_prefixes=(";", "#"))
    try:
        # An indented line would continue the value before it; here it is a line like the others.
        parser.read_string("\n".join(line.strip() for line in re.split("\r\n?|\n", text)))
        section = next(name for name in parser.sections() if name.strip().lower() == "sequence")
    except (configparser.Error, StopIteration) as error:
        raise SourceError(f'{path} is not a sequence description; it must begin with a line "[Sequence]".') from error
    return dict(parser[section])


def _decode(data: bytes) -> str:
    """Return the text of a file in one of the encodings that editors write."""
    if data.startswith(_UTF16_MARKS):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _frame_rate(text: str | None, path: Path) -> float | None:
    value = _positive(text, "frameRate", path)
    low, high = _FRAME_RATES
    if value is not None and not low <= value <= high:
        raise SourceError(f"{path}: frameRate must be between {low:g} and {high:g}, not {_shown(text)}.")
    return value


def _length(text: str | None, path: Path) -> int | None:
    value = _positive(text, "seqLength", path)
    if value is not None and value != int(value):
        raise SourceError(f"{path}: seqLength must be a whole number, not {value:g}.")
    return None if value is None else int(value)


def _positive(text: str | None, key: str, path: Path) -> float | None:
    """Return a finite number above 0."""
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise SourceError(f"{path}: {key} must be a number above 0, not {_shown(text)}.")
    return value


def _shown(text: str | None) -> str:
    """Return a value for a message: in quotes, control characters escaped, of bounded length."""
    text = text or ""
    return repr(text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}...")
