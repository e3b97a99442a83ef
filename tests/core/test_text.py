"""What comes from outside and is printed: escaped, and without secrets."""

from __future__ import annotations

import os

import pytest

from fairmot.core.text import printable, without_secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain name.mp4", "plain name.mp4"),
        ("café 映像 👨\u200d👩", "café 映像 👨\u200d👩"),
        ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e"),
        ("a\x1b[31mb", r"a\x1b[31mb"),
        ("a\nerror: b\r\tc", r"a\nerror: b\r\tc"),
        ("bell\a, back\b, delete\x7f, null\0", r"bell\x07, back\x08, delete\x7f, null\x00"),
        ("C1 \x9b31m \x85", r"C1 \x9b31m \x85"),
        ("gpj\u202eexe, \u2066, \u200f, \ufeff", r"gpj\u202eexe, \u2066, \u200f, \ufeff"),
        ("lines \u2028 \u2029", r"lines \u2028 \u2029"),
        ("tag \U000e0041", r"tag \U000e0041"),
        (os.fsdecode(b"latin \xe9"), r"latin \udce9"),
        (ValueError("of\nan error"), r"of\nan error"),
    ],
)
def test_nothing_that_moves_the_cursor_is_left(text: object, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("[Errno 5] I/O error: 'rtsp://me:secret@host/a?token=b'", "[Errno 5] I/O error: 'rtsp://host/a'"),
        ("http://u@h:80/x?y=1 and https://k:v@h", "http://h:80/x and https://h"),
        ("a?b, c@d, what?", "a?b, c@d, what?"),
    ],
)
def test_urls_lose_what_grants_access(text: str, left: str) -> None:
    assert without_secrets(text) == left
