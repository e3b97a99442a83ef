"""Wall-clock time per stage of the pipeline."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class StageClock:
    """The wall-clock seconds by stage name, added up; safe to use from several threads.

    Example:
        clock = StageClock()
        with clock("letterbox"):
            ...
        clock.milliseconds(per=frame_count)  # {"letterbox": 1.8}
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time the body of a `with` block and add it to `stage`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - start)

    def add(self, stage: str, seconds: float) -> None:
        """Add `seconds` that were measured elsewhere to `stage`."""
        with self._lock:
            self._seconds[stage] = self._seconds.get(stage, 0.0) + seconds

    def __reduce__(self) -> tuple[type[StageClock], tuple[()]]:
        """Let a clock arrive in another process as a new one, since its time is its own there."""
        return StageClock, ()

    def milliseconds(self, per: int = 1) -> dict[str, float]:
        """Return milliseconds by stage, divided by `per` (a frame count), in order of first use."""
        with self._lock:
            return {stage: 1000.0 * total / max(per, 1) for stage, total in self._seconds.items()}
