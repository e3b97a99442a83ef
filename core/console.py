"""Output of commands: streams that cannot fail, errors as one line, log messages without control characters."""

from __future__ import annotations

import errno
import io
import logging
import os
import select
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fairmot.core.failures import explained
from fairmot.core.text import printable, without_secrets

_TRACEBACK = "FAIRMOT_TRACEBACK"


class LineFormatter(logging.Formatter):
    """Log messages as one line each, safe for a terminal or a log."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as text; only a traceback has further lines."""
        record.message = printable(record.getMessage())
        record.levelname = record.levelname.lower()  # as errors are printed
        text = self.formatMessage(record)
        if record.exc_info and record.exc_info[0] is not None:
            text += "\n" + _printable_lines(self.formatException(record.exc_info))
        return text


def log_to_stderr(level: int, pattern: str = "%(message)s") -> None:
    """Print log messages from this level on; does nothing where logging was set up before."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter(pattern))
    logging.basicConfig(level=level, handlers=[handler])


def print_error(error: BaseException) -> None:
    """Print an error as one line on standard error, with its traceback if the environment asks for that."""
    print(f"error: {printable(error)}", file=sys.stderr)
    if tracebacks_wanted():
        print(printable_traceback(error), file=sys.stderr)


def print_warning(text: str) -> None:
    """Print a warning as one line on standard error."""
    print(f"warning: {printable(text)}", file=sys.stderr)


def tracebacks_wanted() -> bool:
    """Tell whether the environment asks for tracebacks, for a report of a bug."""
    return os.environ.get(_TRACEBACK, "") not in ("", "0")


def printable_traceback(error: BaseException) -> str:
    """Return the traceback of an error and of its causes, without secrets, for a terminal."""
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return _printable_lines(without_secrets(text).rstrip("\n"))


def exit_code_of(command: Callable[[], int]) -> int:
    """Call a command and return its exit code; whatever it raises is printed as one line."""
    with standard_streams() as streams:
        try:
            code = command()
        except Exception as error:
            failure = explained(error)
            print_error(failure)
            code = failure.exit_code
        return streams.exit_code(code)


class _Stream(io.RawIOBase):
    """A standard stream of this process; what cannot be written is dropped, and the first error is kept.

    A reader that has gone (`| head`) or a full disk must not break off a run whose results are files.

    Attributes:
        failure: the first, or None.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.failure: OSError | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: object) -> int:
        content = bytes(data)  # type: ignore[call-overload]
        while self.failure is None:
            try:
                return os.write(self._descriptor, content)
            except BlockingIOError:  # a pipe that another process has made so
                select.select([], [self._descriptor], [])
            except OSError as error:
                self.failure = error
        return len(content)


class Streams:
    """Standard output and standard error while a command runs."""

    def __init__(self) -> None:
        self._output: _Stream | None = None

    def take_over(self) -> None:
        """Replace the streams of this process where they are its own; in others only change what is not encodable."""
        _open_closed()
        for name in ("stdout", "stderr"):
            stream, own = getattr(sys, name), getattr(sys, f"__{name}__")
            if stream is None:
                setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - as long as the process
            elif os.name == "posix" and stream is own and isinstance(stream, io.TextIOWrapper):
                setattr(sys, name, self._tolerant(stream, name))
            elif isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")

    def exit_code(self, code: int) -> int:
        """Return the exit code of a command that ends with `code`, and say if its output could not be written."""
        for stream in (sys.stdout, sys.stderr):
            if not stream.closed:
                stream.flush()
        failure = self._output.failure if self._output is not None else None
        if failure is None or failure.errno == errno.EPIPE:
            return code
        print(f"error: standard output cannot be written ({(failure.strerror or '').lower()}).", file=sys.stderr)
        return code or 1

    def _tolerant(self, stream: io.TextIOWrapper, name: str) -> io.TextIOWrapper:
        stream.flush()
        raw = _Stream(stream.fileno())
        if name == "stdout":
            self._output = raw
        return io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding=stream.encoding,
            errors="backslashreplace",
            line_buffering=stream.line_buffering or name == "stderr",
        )


@contextmanager
def standard_streams() -> Iterator[Streams]:
    """Let nothing that is printed inside raise: no letter that the encoding lacks, no reader that has gone."""
    before = sys.stdout, sys.stderr
    streams = Streams()
    streams.take_over()
    try:
        yield streams
    finally:
        for stream, old in zip((sys.stdout, sys.stderr), before, strict=True):
            if stream is not old and old is not None:
                stream.flush()
        sys.stdout, sys.stderr = before[0] or sys.stdout, before[1] or sys.stderr


def _open_closed() -> None:
    """Open what the process was started without, or the next file that is opened would be its standard output."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _printable_lines(text: str) -> str:
    return "\n".join(map(printable, text.split("\n")))
