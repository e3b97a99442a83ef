"""The speed of training steps: images per second, and the fraction of time spent on making batches."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Speed:
    """The speed of some steps.

    Attributes:
        images_per_second: over all processes.
        data_share: fraction of this device's time spent on making batches.
    """

    images_per_second: float
    data_share: float


class StepClock:
    """Times steps and their batches on their device: by events on a GPU, by the clock on a CPU."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._times: list[tuple[torch.cuda.Event, torch.cuda.Event] | tuple[float, float]] = []
        self._begun: torch.cuda.Event | float = 0.0

    def _now(self) -> torch.cuda.Event | float:
        if not self._on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def start(self) -> None:
        """Mark the start of making a batch."""
        self._begun = self._now()

    def drawn(self) -> None:
        """Mark the end of making the batch and the start of its step."""
        self._times.append((self._begun, self._now()))  # type: ignore[arg-type]

    def read(self, batch: int) -> Speed:
        """Return the speed since the last reading, for steps of `batch` images."""
        end = self._now()
        if self._on_gpu:
            torch.cuda.synchronize()
        waited = sum(_seconds(begun, drawn) for begun, drawn in self._times)
        total = _seconds(self._times[0][0], end)
        speed = Speed(len(self._times) * batch / total, waited / total)
        self._times = []
        return speed


def _seconds(start: torch.cuda.Event | float, end: torch.cuda.Event | float) -> float:
    if isinstance(start, float) or isinstance(end, float):
        return float(end) - float(start)  # type: ignore[arg-type]
    return float(start.elapsed_time(end)) / 1000
