"""Seeded changes of bytes and of text, as files are damaged by disks, transfers, editors and attackers."""

from __future__ import annotations

import json
import random
import re
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

INTEGERS = (
    0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 63, 64, 100, 127, 128, 255, 256, 511, 512, 1000, 1023, 1024, 4095, 4096, 16383,
    16384, 30000, 32767, 32768, 65535, 65536, 99_999_999, 2**24 - 1, 2**24, 2**30, 2**31 - 1, 2**31, 2**32 - 2,
    2**32 - 1, 2**32, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1,
)  # fmt: skip
"""Edges of integer types, of sizes and of counts."""

WORDS = (
    "", "0", "-0", "1", "-1", "2", "0.5", "1.5", "-2.5", "nan", "NaN", "inf", "-inf", ".inf", ".nan", "1e308", "1e999",
    "-1e999", "1e-320", "1e12", "65536", "99999999", "999999999", "2147483648", "9999999999999", "9223372036854775808",
    "1" + 400 * "0", "0x10", "0b1", "1_000", "+5", " 5 ", "5.", "٣", "\uff11\uff12", "²", "½", "true", "no", "null",
    "None", "~", "auto", "x", "a b", "a,b", "a;b", "1,2", "[1]", "{}", "[]", "'", '"', "`", "%s", "%n%n", "{0}",
    "$HOME", "..", ".", "a/b", "\\", "\t", "\x07", "\x1b[31mred", "\u202e", "\ufeff", "é", "名前", "🙂", "e\u0301",
    300 * "a", 5000 * "9",
)  # fmt: skip
"""Text where a number, a name or a choice belongs; no absolute path, so that nothing is written elsewhere."""

Bytes = Callable[[random.Random, bytes, Sequence[bytes]], tuple[bytes, str]]
Text = Callable[[random.Random, str], tuple[str, str]]


def mutate(rng: random.Random, data: bytes, donors: Sequence[bytes] = ()) -> tuple[bytes, list[str]]:
    """Apply one to eight changes.

    Args:
        rng: decides everything.
        data: a whole file.
        donors: other files, parts of which may get into this one.

    Returns:
        The changed bytes, which may by chance equal the old ones, and what was done.
    """
    notes = []
    for _ in range(rng.choice((1, 1, 1, 1, 1, 1, 2, 3, 4, 8))):
        data, note = rng.choice(_BYTES)(rng, data, donors)
        notes.append(note)
    return data, notes


def mutate_text(rng: random.Random, text: str) -> tuple[bytes, list[str]]:
    """Apply one to four changes of lines and fields, sometimes of bytes; see `mutate`."""
    notes = []
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        text, note = rng.choice(_TEXT)(rng, text)
        notes.append(note)
    data = text.encode("utf-8", "surrogateescape")
    if rng.random() < 0.15:
        data, more = mutate(rng, data)
        notes += more
    return data, notes


def mutate_json(rng: random.Random, value: Any) -> tuple[Any, str]:
    """Replace, remove or add one thing somewhere in a tree of dicts and lists."""
    if isinstance(value, (dict, list)) and value and rng.random() < 0.8:
        keys: Sequence[Any] = list(value) if isinstance(value, dict) else range(len(value))
        key = rng.choice(keys)
        copy: Any = value.copy()
        if rng.random() < 0.15:
            del copy[key]
            return copy, f"remove {key}"
        copy[key], note = mutate_json(rng, value[key])
        return copy, f"{key}: {note}"
    others: list[Any] = [None, True, -1, 1.5, "", [], {}, [[]], "x" * 300, rng.choice(WORDS), rng.choice(INTEGERS)]
    new = rng.choice(others)
    return new, f"becomes {json.dumps(new)[:40]}"


def mend_png(data: bytes) -> bytes:
    """Make the checksums of PNG chunks right again, so that a change gets past them."""
    out, at = bytearray(data), 8
    while at + 12 <= len(out):
        length = int.from_bytes(out[at : at + 4], "big")
        end = at + 8 + length
        if end + 4 > len(out):
            break
        out[end : end + 4] = zlib.crc32(out[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(out)


def _position(rng: random.Random, data: bytes) -> int:
    """Choose a place: anywhere, in the header, behind a four-letter name as containers have them, near the end."""
    size = max(len(data), 1)
    way = rng.random()
    if way < 0.35:
        return rng.randrange(size)
    if way < 0.65:
        return rng.randrange(min(size, rng.choice((16, 64, 512))))
    names = [match.end() for match in re.finditer(rb"[A-Za-z][A-Za-z0-9 ]{3}", data[:100_000])] if way < 0.9 else []
    if names:
        return min(rng.choice(names) + rng.choice((0, 0, 4, 8, 12, 16, 20)), size - 1)
    return size - 1 - rng.randrange(min(size, 64))


def _block(rng: random.Random, data: bytes) -> tuple[int, int]:
    start = _position(rng, data)
    return start, min(start + rng.choice((1, 2, 4, 8, 16, 64, 256, 1024, 4096)), len(data))


def _flip(rng: random.Random, data: bytes, donors: Sequence[bytes]) -> tuple[bytes, str]:
    out = bytearray(data)
    places = [_position(rng, data) for _ in range(rng.choice((1, 1, 2, 4, 16)))] if data else []
    for place in places:
        out[place] ^= 1 << rng.randrange(8) if rng.random() < 0.5 else rng.randrange(1, 256)
    return bytes(out), f"flip bits at {places}"


def _integer(rng: random.Random, data: bytes, donors: Sequence[bytes]) -> tuple[bytes, str]:
    width, value = rng.choice((1, 2, 4, 4, 4, 8)), rng.choice(INTEGERS)
    order: Any = rng.choice(("little", "big"))
    place = _position(rng, data)
    field = (value % 2 ** (8 * width)).to_bytes(width, order)
    return data[:place] + field + data[place + width :], f"{order} {8 * width} bit {value} at {place}"


def _float(rng: random.Random, data: bytes, donors: Sequence[bytes]) -> tuple[bytes, str]:
    value = rng.choice((0.0, -1.0, 1e-30, 1e30, float("nan"), float("inf")))
    form = rng.choice(("<f", ">f", "<d", ">d"))
    place = _position(rng, data)
    field = struct.pack(form, value)
    return data[:place] + field + data[place + len(field) :], f"{form} {value} at {place}"


def truncate(rng: random.Random, data: bytes, donors: Sequence[bytes] = ()) -> tuple[bytes, str]:
    """Cut the end off."""
    way = rng.random()
    size = rng.randrange(len(data) + 1) if way < 0.7 else _position(rng, data) if way < 0.9 else max(len(data) - 1, 0)
    return data[:size], f"truncate to {size} of {len(data)}"


def _insert(rng: random.Random, data: bytes, donors: Sequence[bytes]) -> tuple[bytes, str]:
    place, size = _position(rng, data), rng.choice((1, 2, 3, 4, 16, 188, 512))
    fill = rng.choice((bytes(size), b"\xff" * size, rng.randbytes(size), data[place : place + size]))
    return data[:place] + fill + data[place:], f"insert {len(fill)} at {place}"


def _remove(rng: random.Random, data: bytes, donors: Sequence[bytes]) -> tuple[bytes, str]:
    start, end = _block(rng, data)
    return data[:start] + data[end:], f"remove {start}:{end}"


def _duplicate(rng: random.Random, data: bytes, donors: Sequence[bytes]) -> tuple[bytes, str]:
    start, end = _block(rng, data)
    count = rng.choice((1, 1, 2, 30))
    return data[:end] + count * data[start:end] + data[end:], f"repeat {start}:{end} {count} times"


def _zero(rng: random.Random, data: bytes, donors: Sequence[bytes]) -> tuple[bytes, str]:
    start, end = _block(rng, data)
    return data[:start] + bytes(end - start) + data[end:], f"zero {start}:{end}"


def _swap(rng: random.Random, data: bytes, donors: Sequence[bytes]) -> tuple[bytes, str]:
    (a, b), (c, d) = sorted((_block(rng, data), _block(rng, data)))
    if b > c:
        return data, "swap nothing"
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:], f"swap {a}:{b} and {c}:{d}"


def _splice(rng: random.Random, data: bytes, donors: Sequence[bytes]) -> tuple[bytes, str]:
    donor = rng.choice(list(donors) or [data])
    mine, theirs = _position(rng, data), _position(rng, donor)
    if rng.random() < 0.5:
        return donor[:theirs] + data[mine:], f"begin as another file to {theirs}, go on from {mine}"
    return data[:mine] + donor[theirs:], f"go on as another file from {theirs} at {mine}"


def _append(rng: random.Random, data: bytes, donors: Sequence[bytes]) -> tuple[bytes, str]:
    tail = rng.choice((bytes(64), rng.randbytes(rng.choice((1, 100, 3000))), data, rng.choice(list(donors) or [data])))
    return data + tail, f"append {len(tail)}"


_BYTES: tuple[Bytes, ...] = (
    _flip, _flip, _flip, _integer, _integer, _integer, _float, truncate, truncate, _insert, _remove, _duplicate, _zero,
    _swap, _splice, _append,
)  # fmt: skip


def _field(rng: random.Random, text: str) -> tuple[str, str]:
    """Replace a number or a word."""
    fields = [match.span() for match in re.finditer(r"[^\s,;:=&?\[\]{}]+", text)]
    if not fields:
        return text + rng.choice(WORDS), "append a word"
    start, end = rng.choice(fields)
    word = rng.choice(WORDS)
    return text[:start] + word + text[end:], f"{text[start:end][:40]!r} becomes {word[:40]!r}"


def _lines(rng: random.Random, text: str) -> tuple[str, str]:
    lines = text.splitlines(keepends=True) or ["\n"]
    at = rng.randrange(len(lines))
    way = rng.choice(("remove", "repeat", "swap", "cut", "insert", "flood"))
    if way == "remove":
        del lines[at]
    elif way == "repeat":
        lines.insert(at, lines[at])
    elif way == "swap":
        other = rng.randrange(len(lines))
        lines[at], lines[other] = lines[other], lines[at]
    elif way == "cut":
        lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)]
    elif way == "insert":
        lines.insert(at, rng.choice(("\n", "#\n", ",,,,,,\n", "\x00\n", "---\n", "-\n", "[\n", "\ufeff\n", "x\r")))
    else:
        lines.insert(at, 3000 * lines[at])
    return "".join(lines), f"{way} line {at + 1}"


def _separator(rng: random.Random, text: str) -> tuple[str, str]:
    old, new = rng.choice(((",", " "), (",", "\t"), (",", ";"), (",", ",,"), (":", "="), ("=", ":"), ("\n", "\r")))
    return text.replace(old, new), f"{old!r} becomes {new!r} everywhere"


def _raw(rng: random.Random, text: str) -> tuple[str, str]:
    place = rng.randrange(len(text) + 1)
    piece = rng.choice(("\x00", "\udcff", "\udcfe\udcff", "\x1b[2J", "\r", "\x85", "\u2028", "\ufeff", "\udce9"))
    return text[:place] + piece + text[place:], f"insert {piece!r} at {place}"


_TEXT: tuple[Text, ...] = (_field, _field, _field, _field, _lines, _lines, _separator, _raw)
