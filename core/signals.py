"""Ctrl-C and SIGTERM: outside of a command's loop they end the process, inside it they end the loop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the process at once, also inside library calls; for when there is nothing to save.

    Python's own Ctrl-C would wait until such a call (opening a stream that does not answer) has returned.
    """
    with _handled_by(signal.SIG_DFL):
        yield


class _Received(BaseException):
    """A signal came."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def cleaned_up_on_signals(run: Callable[[], int]) -> int:
    """Call `run`, out of which Ctrl-C and SIGTERM lead by an exception; a second one kills.

    For when there is nothing to save, but worker processes have to end as well.

    Returns:
        The exit code that `run` returns, or 128 and the number of the signal.
    """

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        _let_kill()
        raise _Received(number)

    try:
        with _handled_by(leave):
            return run()
    except _Received as received:
        code = 128 + received.number
    return code  # by now the exception is gone, and with it the generators that it held open


@contextmanager
def put_off_signals() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait until the block ends, which an exception in its midst would leave half done."""
    arrived: list[int] = []
    with _handled_by(lambda number, frame: arrived.append(number)):
        yield
    for number in arrived[:1]:
        signal.raise_signal(number)


class StopSignals:
    """Turns the first Ctrl-C or SIGTERM inside a `with` block into a request to stop; a second one kills.

    Args:
        stop: what to do then; runs in a thread of its own, so it may wait and take locks. It has to make the
            block end, also where that waits for something. None if the block looks at `received`.

    Attributes:
        received: number of the signal that came, or None.
    """

    def __init__(self, stop: Callable[[], object] | None = None) -> None:
        self.received: int | None = None
        self._stop = stop
        self._handlers = _handled_by(self._handle)

    def __enter__(self) -> StopSignals:
        self._handlers.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._handlers.__exit__(*error)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        _let_kill()
        if self._stop is not None:
            threading.Thread(target=self._stop, name="stop", daemon=True).start()


def _let_kill() -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def _handled_by(handler: Any) -> Iterator[None]:
    """Give both signals a handler for the duration of a block."""
    before = {number: signal.signal(number, handler) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
