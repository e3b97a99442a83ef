"""The process of a job: it opens an engine of its own and tracks the sources that its parent hands out.

Messages from the parent: `("track", spec, options)`, `("claim", names)`, `("stop", signal)` and `("end",)`. Messages to
it: `("ready",)` or `("unready", error, traceback)` once, `("name", name)` before a folder is claimed and
`("folder", path)` after it, what `RemoteTerminal` sends, and for each source `("done", outcome)` or
`("failed", error, traceback)`.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from queue import SimpleQueue
from typing import Any

from fairmot.app.folders import ResultFolders
from fairmot.app.options import Options
from fairmot.app.run_folder import RunFolder
from fairmot.app.session import Session
from fairmot.app.terminal import PacedCount, Terminal
from fairmot.core import Frame, StageClock, Tracks
from fairmot.core.failures import explained
from fairmot.core.processes import PARENT_GONE, Channel, portable
from fairmot.core.text import without_secrets
from fairmot.engine import EngineSettings, open_engine
from fairmot.video.video_source import limit_decoder_threads

_PROGRESS_SECONDS = 0.1
_END_SECONDS = 8.0  # for a run to end after it was asked to; then the process ends without it


def serve(channel: Channel) -> None:
    """Track sources until the parent sends no more; runs in a worker process.

    The first message is `(options, settings)`: of the command, and of the engine.
    """
    options, settings = channel.receive()
    terminal, stopper = RemoteTerminal(channel), Stopper()
    orders = _Orders(channel, stopper)
    with terminal.logs(), suppress(*PARENT_GONE):
        _serve(options, settings, orders, terminal, stopper)
    # Python is not taken down where a thread may still wait for a stream that is silent, see `fairmot.cli.main.leave`.
    os._exit(0)


def _serve(
    options: Options, settings: EngineSettings, orders: _Orders, terminal: RemoteTerminal, stopper: Stopper
) -> None:
    clock, least = StageClock(), options.tracker.minimum_score
    if settings.threads is not None:  # the share of this process in the cores
        limit_decoder_threads(settings.threads)
    try:
        engine = open_engine(settings, clock=clock, score_threshold=least)
    except Exception as error:
        orders.channel.send("unready", *portable(explained(error)))
        return
    folders = FoldersInTurn.of(options)
    folders.orders = orders
    with engine:
        session = Session(options, engine, clock, terminal, folders=folders, until_stopped=stopper)
        orders.channel.send("ready")
        for spec in orders.specs():
            try:
                outcome = session.track(spec)
            except Exception as error:
                orders.channel.send("failed", *portable(explained(error, subject=without_secrets(spec))))
            else:
                orders.channel.send("done", outcome)


class Stopper:
    """Stops the run of this process as `StopSignals` does, for requests that come as messages.

    Where no run is there to be stopped, a request ends the process: nothing is lost then.

    Attributes:
        received: number of the signal that the parent has got, or None.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._stop: Callable[[], object] | None = None
        self._is_idle = False
        self._lock = threading.Lock()

    @contextmanager
    def __call__(self, stop: Callable[[], object]) -> Iterator[Stopper]:
        """Call `stop`, in a thread, if a request comes inside the `with` block."""
        with self._lock:
            self._stop = stop
        try:
            yield self
        finally:
            with self._lock:
                self._stop = None

    @contextmanager
    def idle(self) -> Iterator[None]:
        """Let requests pass inside the `with` block, which waits for the next message of the parent."""
        with self._lock:
            self._is_idle = True
        try:
            yield
        finally:
            with self._lock:
                self._is_idle = False

    def request(self, number: int) -> None:
        """Stop the run because of this signal; the second request ends the process."""
        with self._lock:
            if self.received is not None or (self._stop is None and not self._is_idle):
                os._exit(1)
            self.received = number
            if self._stop is not None:
                threading.Thread(target=self._stop, name="stop", daemon=True).start()
        threading.Thread(target=_leave_late, name="leave", daemon=True).start()


def _leave_late() -> None:
    time.sleep(_END_SECONDS)
    os._exit(1)


class _Orders:
    """What the parent sends, read by a thread, so that requests to stop are noticed at any time."""

    def __init__(self, channel: Channel, stopper: Stopper) -> None:
        self.channel = channel
        self._stopper = stopper
        self._specs: SimpleQueue[str | None] = SimpleQueue()
        self._claims: SimpleQueue[set[str]] = SimpleQueue()
        threading.Thread(target=self._read, name="orders", daemon=True).start()

    def specs(self) -> Iterator[str]:
        """Yield the sources to track, as they come."""
        while True:
            with self._stopper.idle():
                spec = self._specs.get()
            if spec is None or self._stopper.received is not None:
                return
            yield spec

    def wait_for_turn(self, name: str) -> set[str]:
        """Wait until a source of this name may claim its folder; return the names that others have."""
        self.channel.send("name", name)
        return self._claims.get()

    def _read(self) -> None:
        try:
            while True:
                kind, *content = self.channel.receive()
                if kind == "track":
                    self._specs.put(content[0])
                elif kind == "claim":
                    self._claims.put(content[0])
                elif kind == "stop":
                    self._stopper.request(content[0])
                    self._specs.put(None)
                else:  # the end
                    self._specs.put(None)
        except PARENT_GONE:
            self._stopper.request(signal.SIGHUP)
            self._specs.put(None)


class FoldersInTurn(ResultFolders):
    """Result folders of several processes: each waits for its turn, so that names are those of one process.

    Attributes:
        orders: of the parent, which knows the turns.
    """

    orders: _Orders

    def claim(self, name: str, location: str, *, is_live: bool = False) -> RunFolder:
        """Return the folder of a source when those before it have theirs; see `ResultFolders`."""
        self.taken |= self.orders.wait_for_turn(name)
        folder = super().claim(name, location, is_live=is_live)
        self.orders.channel.send("folder", str(folder.path))
        return folder


class RemoteTerminal(Terminal):
    """Sends what is printed to the parent; once that is gone, nothing is printed.

    Args:
        channel: to the parent.
    """

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def line(self, text: str) -> None:
        """Send a line of results."""
        self._send("line", text)

    def error(self, error: BaseException) -> None:
        """Send an error."""
        assert isinstance(error, Exception)
        self._send("error", *portable(error))

    def warning(self, text: object, label: str = "warning") -> None:
        """Send a warning."""
        self._send("warning", str(text), label)

    @contextmanager
    def progress(self, name: str, frame_count: int | None) -> Iterator[Callable[[Frame, Tracks], None]]:
        """Send the progress now and then; see `Terminal`."""
        self._send("begin", name, frame_count)
        count = PacedCount(partial(self._send, "frames"), _PROGRESS_SECONDS)
        yield count
        self._send("frames", count.frames, 0)

    def _send(self, *message: Any) -> None:
        with suppress(*PARENT_GONE, OSError):
            self._channel.send(*message)
