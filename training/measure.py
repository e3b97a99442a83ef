"""How fast a run trains, and what holds it up."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.profiler import ProfilerActivity, profile

if TYPE_CHECKING:
    from fairmot.training.trainer import Trainer


@dataclass(frozen=True)
class Speed:
    """The pace of some steps.

    Attributes:
        images_per_second: over all processes.
        data_share: part of this device's time that went by until batches were there.
    """

    images_per_second: float
    data_share: float


class StepClock:
    """Times steps and their batches where they run: by events on a GPU, by the clock on a CPU."""

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
        """Note that the making of a batch begins."""
        self._begun = self._now()

    def drawn(self) -> None:
        """Note that the batch is there and its step begins."""
        self._times.append((self._begun, self._now()))  # type: ignore[arg-type]

    def read(self, batch: int) -> Speed:
        """Return the pace since the last reading, for steps of `batch` pictures."""
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


def constant_batch_speed(trainer: Trainer, steps: int = 20) -> float:
    """Return images/s when every step learns from one batch in memory: the limit without any data.

    The trainer learns that batch by heart, so save it before and use it no further.
    """
    batch, targets = trainer.draw()
    trainer.learn(batch, targets)
    clock = StepClock(trainer.processes.device)
    for _ in range(steps):
        clock.start()
        clock.drawn()
        trainer.learn(batch, targets)
    return clock.read(trainer.settings.batch).images_per_second


def costliest_operations(trainer: Trainer, steps: int = 2, rows: int = 30) -> str:
    """Return a table of what steps spend their time on, making the batch included; it trains on these steps."""
    activities = [ProfilerActivity.CPU]
    if trainer.processes.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiler:
        for _ in range(steps):
            trainer.learn(*trainer.draw())
    key = "self_cuda_time_total" if len(activities) == 2 else "self_cpu_time_total"
    return str(profiler.key_averages().table(sort_by=key, row_limit=rows, max_name_column_width=90))
