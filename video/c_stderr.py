"""Collection of what C libraries print to standard error.

libjpeg and libpng, inside OpenCV, report damage in no other way. They print through the variable `stderr` of the C
library, which points to another stream for a moment here. The file descriptor and `sys.stderr` are not touched, so
what Python prints meanwhile in other threads is not affected.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()


class _Stream:
    """A C stream in memory; it is never closed, as another thread may have just fetched the pointer to it."""

    def __init__(self) -> None:
        self._c = ctypes.CDLL(None)
        # In other C libraries the variable is constant, and writing to it ends the process.
        self._c.gnu_get_libc_version  # noqa: B018 - raises AttributeError where there is none
        self._variable = ctypes.c_void_p.in_dll(self._c, "stderr")
        self._text, self._length = ctypes.c_void_p(), ctypes.c_size_t()
        self._c.open_memstream.restype = ctypes.c_void_p
        self._file = ctypes.c_void_p(self._c.open_memstream(ctypes.byref(self._text), ctypes.byref(self._length)))
        if not self._file:
            raise OSError("open_memstream")
        self._before: int | None = None

    def begin(self) -> None:
        """Let C code print into the stream."""
        self._before = self._variable.value
        self._variable.value = self._file.value

    def end(self) -> list[str]:
        """Let C code print to standard error again; return the lines that it has printed, and forget them."""
        self._variable.value = self._before
        self._c.fflush(self._file)
        text = ctypes.string_at(self._text, self._length.value) if self._length.value else b""
        self._c.rewind(self._file)
        self._c.fflush(self._file)
        return text.decode("utf-8", "replace").splitlines()


@functools.cache
def _stream() -> _Stream | None:
    try:
        return _Stream()
    except (AttributeError, OSError, TypeError, ValueError):
        return None


def can_collect_stderr() -> bool:
    """Return whether `collected_stderr` collects anything here."""
    return _stream() is not None


@contextmanager
def collected_stderr() -> Iterator[list[str]]:
    """Collect the lines that C code prints to standard error inside; one thread at a time.

    Yields:
        A list that holds the lines after the end of the block; where the C library is not glibc it stays empty, and
        the lines are shown.
    """
    lines: list[str] = []
    with _lock:
        stream = _stream()
        if stream is None:
            yield lines
            return
        stream.begin()
        try:
            yield lines
        finally:
            lines += stream.end()
