"""Worker processes that end when their parent process ends or is interrupted."""

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
        # The terminal sends Ctrl-C to the whole process group; workers inherit that it is blocked.
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
    """Spawns processes that Ctrl-C does not reach and that end if the parent is killed."""

    Process = _Worker


class WorkerPool(ProcessPoolExecutor):
    """A pool that cancels jobs which have not begun when its `with` block is left by an exception.

    To be used by the main thread.
    """

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Submit a job; signals are deferred, since this also starts processes and threads."""
        with put_off_signals():
            return super().submit(fn, *args, **kwargs)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown(cancel_futures=kind is not None)
