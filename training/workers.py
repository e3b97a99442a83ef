"""Worker processes that end when the process that started them ends or is interrupted."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing.context import SpawnContext, SpawnProcess
from types import TracebackType
from typing import Any, TypeVar

from fairmot.core.signals import put_off_signals

T = TypeVar("T")


class _Worker(SpawnProcess):
    def start(self) -> None:
        # The terminal sends Ctrl-C to the whole group; workers inherit that it is blocked and leave it to the parent.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def run(self) -> None:
        threading.Thread(target=_end_with_parent, daemon=True).start()
        super().run()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


class WorkerContext(SpawnContext):
    """Starts processes afresh that Ctrl-C does not reach and that end if the parent is killed."""

    Process = _Worker


class WorkerPool(ProcessPoolExecutor):
    """As a context, does not wait for what has not begun if it is left by an exception or a generator is closed.

    To be used by the main thread.
    """

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Start what is missing of processes and threads too, so no signal's exception may come in between."""
        with put_off_signals():
            return super().submit(fn, *args, **kwargs)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown(cancel_futures=kind is not None)
