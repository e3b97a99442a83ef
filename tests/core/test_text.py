"""Text from outside that is printed: escaped, on one line, without secrets."""

from __future__ import annotations

import os

import pytest

from fairmot.core.failures import OUT_OF_MEMORY
from fairmot.core.text import one_line, printable, reason_of, without_credentials, without_secrets


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


def test_a_url_and_text_that_contains_it_lose_the_same() -> None:
    for url in ("rtsp://u:p@ss/word@host/cam", "http://h:80/a@b/c", "HTTP://u@h/token=1/x?y#z", "udp://@1.2.3.4:5"):
        assert without_secrets(f"no answer from {url}, sorry") == f"no answer from {without_credentials(url)}, sorry"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("[Errno 5] I/O error: 'rtsp://me:secret@host/a?token=b'", "[Errno 5] I/O error: 'rtsp://host/a'"),
        ("http://u@h:80/x?y=1 and https://k:v@h", "http://h:80/x and https://h"),
        ("a?b, c@d, what?", "a?b, c@d, what?"),
        (
            "open('rtsp://u:p@s/secret@host/cam'), or (http://h:80/a.mp4).",
            "open('rtsp://host/cam'), or (http://h:80/a.mp4).",
        ),
        ("rtsp://h/user=a&password=secret, gone", "rtsp://h/, gone"),
        ("a rtsp://u:secret\nb http://h#secret c", "a rtsp://u\nb http://h c"),
        ('f"{scheme}://{host}{path}"', 'f"{scheme}://{host}{path}"'),
    ],
)
def test_urls_lose_what_grants_access(text: str, left: str) -> None:
    assert without_secrets(text) == left


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (" a\n\tb. ", "a b."),
        ("\x1b]0;x\x07", "\\x1b]0;x\\x07"),
        ("\u202e\ud800", "\\u202e\\ud800"),
        (1.5, "1.5"),
        ("y" * 80, "y" * 80),
        ("y" * 1_000_000, "y" * 80 + "..."),
    ],
)
def test_values_on_one_line(value: object, line: str) -> None:
    assert one_line(value) == line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (" a\n\tb. ", "a b"),
        ("\x1b]0;x\x07", "\\x1b]0;x\\x07"),
        ("Zürich 東京", "Zürich 東京"),
        ("\u202e\ud800", "\\u202e\\ud800"),
        (ValueError("x"), "x"),
        (OSError("rtsp://me:secret@host/a: refused."), "rtsp://host/a: refused"),
        ("y" * 1000, "y" * 300 + "..."),
    ],
)
def test_errors_of_libraries_on_one_line(error: object, line: str) -> None:
    assert reason_of(error) == line


@pytest.mark.parametrize(
    "message",
    [
        "CUDA out of memory. Tried to allocate 2 GiB",
        "1: [x.cpp] Error Code 1: Cuda Runtime (out of memory)",
        "OutOfMemoryError",
        "std::bad_alloc",
        "Failed to allocate memory for requested buffer of size 99",
        "Unable to allocate 8 PiB for an array",
        "[Errno 12] Cannot allocate memory",
        "(-4:Insufficient memory) Failed to allocate 9 bytes",
        "Requested amount of GPU memory (9 bytes) could not be allocated",
        "There is not enough free memory",
        "_ArrayMemoryError",
    ],
)
def test_messages_of_failed_allocations(message: str) -> None:
    assert OUT_OF_MEMORY.search(message)


@pytest.mark.parametrize("message", ["an illegal memory access was encountered", "the memory is not contiguous", "bad"])
def test_messages_of_other_failures(message: str) -> None:
    assert not OUT_OF_MEMORY.search(message)
