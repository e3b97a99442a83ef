"""Worker processes: Python processes of this project, started without fork, that end with their parent.

`multiprocessing` is not used for them: its workers import the main script of the user again, and its helper processes
survive a killed parent. A worker here is a fresh interpreter that runs one function and talks over a socket pair; when
either process ends, however it ends, the other reads the end of the channel.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.connection import Connection, Pipe
from typing import Any

from fairmot.core.logs import logs_to

_BOOT = (
    "import sys; sys.path[:] = {path!r}; from fairmot.core.processes import _serve; _serve({target!r}, {descriptors!r})"
)
_GRACE_SECONDS = 5.0
_IGNORED_SIGNALS = (signal.SIGINT, signal.SIGTERM)

CAN_SHARE_MEMORY = hasattr(os, "memfd_create")
"""Whether the system has memory without a name that processes can share: Linux."""

PARENT_GONE = (EOFError, BrokenPipeError, ConnectionResetError)
"""What a channel raises when the process at its other end has ended or closed it."""


class Channel:
    """One end of a two-way channel of messages between a process and its worker.

    Any thread may send; one at a time may receive. Messages are pickled, so they come from this project's own processes
    alone.

    Args:
        connection: over a socket pair.
    """

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self._readable = select.poll()  # `Connection.poll` makes a new one each time
        self._readable.register(connection.fileno(), select.POLLIN)

    def send(self, *message: Any) -> None:
        """Send a message, waiting for room; raises one of `PARENT_GONE` if nobody can receive it any more."""
        data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        with self._sending:
            self._connection.send_bytes(data)

    def receive(self) -> tuple[Any, ...]:
        """Wait for the next message; raises one of `PARENT_GONE` if there will be none."""
        message: tuple[Any, ...] = pickle.loads(self._connection.recv_bytes())
        return message

    def poll(self, seconds: float = 0.0) -> bool:
        """Return whether `receive` would return, or raise, at once, after waiting up to `seconds` for that."""
        return bool(self._readable.poll(1000 * seconds))

    def fileno(self) -> int:
        """Return the descriptor, for `multiprocessing.connection.wait`."""
        return self._connection.fileno()

    def shut_down(self) -> None:
        """End the channel in both directions, from any thread: `receive` raises at both ends, also where it waits."""
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self.fileno())) as end:
            end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close this end; does nothing the second time."""
        self._connection.close()


class WorkerProcess:
    """A process that runs one function of this project: `function(channel, *descriptors)`.

    Ctrl-C and SIGTERM, which terminals and service managers send to all processes of a group, are ignored in it: its
    parent decides when it ends. When the parent closes the channel or is gone, what the function reads from it raises
    one of `PARENT_GONE`, which ends the process silently.

    Args:
        target: `module:function`.
        descriptors: of open files that the function gets too; the caller may close its own afterwards.
        environment: variables that differ from those of this process.

    Attributes:
        channel: to the function.
        pid: of the process.

    Raises:
        OSError: if the process cannot be started.
    """

    def __init__(
        self, target: str, *, descriptors: Sequence[int] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        ours, theirs = Pipe()
        passed = (theirs.fileno(), *descriptors)
        code = _BOOT.format(path=[os.path.abspath(each) for each in sys.path], target=target, descriptors=passed)
        try:
            with _held_back_signals():  # the process inherits that, and lifts it when it ignores them
                self._process = subprocess.Popen(
                    [sys.executable, "-c", code],
                    stdin=subprocess.DEVNULL,
                    pass_fds=passed,
                    env={**os.environ, **(environment or {})},
                )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self.channel = Channel(ours)
        self.pid = self._process.pid

    def end(self, grace: float = _GRACE_SECONDS) -> int:
        """Close the channel, wait for the process, and kill it if it is still there after `grace` seconds.

        Returns:
            The exit code, the negative number of the signal if one ended it.
        """
        self.channel.close()
        try:
            return self._process.wait(grace)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def interrupt(self, number: int = signal.SIGTERM) -> None:
        """Send a signal; for functions that handle it."""
        with contextlib.suppress(OSError):
            self._process.send_signal(number)

    def exit_code(self) -> int | None:
        """Return the exit code as `end` does; None while the process runs."""
        return self._process.poll()


@contextmanager
def _held_back_signals() -> Iterator[None]:
    """Keep Ctrl-C and SIGTERM from this thread inside a `with` block; they come after it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _IGNORED_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def how_it_ended(exit_code: int) -> str:
    """Return how a process ended, for a message: `was killed by SIGKILL`, `ended with exit code 1`."""
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    try:
        return f"was killed by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"was killed by signal {-exit_code}"


class _RemoteTracebackError(Exception):
    """The traceback of an exception in another process, as the cause of the exception here."""

    def __init__(self, text: str) -> None:
        super().__init__(f"\n{text}")


def portable(error: Exception) -> tuple[Exception, str]:
    """Return an exception as it can be sent, and its traceback as text; for `arrived`.

    An exception that cannot be pickled, or not be made again from that, becomes a RuntimeError of the same text.
    """
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    return error, text


def arrived(error: Exception, text: str) -> Exception:
    """Return an exception that came from another process, ready to be raised.

    Args:
        error: of `portable`, as is `text`.
        text: traceback there.
    """
    error.__cause__ = _RemoteTracebackError(text)
    return error


def forwarded_logs(channel: Channel) -> AbstractContextManager[None]:
    """Send what the packages of the project log to the parent, as `("log", name, level, text)`; for `log_here`."""
    return logs_to(_Forwarder(channel))


def log_here(name: str, level: int, text: str) -> None:
    """Log what a worker has forwarded."""
    logging.getLogger(name).log(level, "%s", text)


class _Forwarder(logging.Handler):
    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(*PARENT_GONE, OSError):
            self._channel.send("log", record.name, record.levelno, record.getMessage())


def _serve(target: str, descriptors: Sequence[int]) -> None:
    """Run a function in this process, which is a worker."""
    for number in _IGNORED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _IGNORED_SIGNALS)
    module, _, name = target.partition(":")
    channel = Channel(Connection(descriptors[0]))
    with contextlib.suppress(*PARENT_GONE):
        getattr(importlib.import_module(module), name)(channel, *descriptors[1:])
