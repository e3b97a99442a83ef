"""Worker processes that Ctrl-C does not reach."""

from __future__ import annotations

import signal
from multiprocessing.context import SpawnContext, SpawnProcess


class _Worker(SpawnProcess):
    """Inherits that Ctrl-C is blocked: the terminal sends it to the whole group, but the parent ends its workers."""

    def start(self) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class WorkerContext(SpawnContext):
    """Starts processes afresh and shields them from Ctrl-C."""

    Process = _Worker
