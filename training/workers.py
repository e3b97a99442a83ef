"""Worker processes that end when the process that started them ends or is interrupted."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import SpawnContext, SpawnProcess
from types import TracebackType


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
    """As a context, does not wait for what has not begun if it is left by an exception or a generator is closed."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown(cancel_futures=kind is not None)
