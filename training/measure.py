"""Measurements of a training run: its speed without data loading, and its most expensive operations."""

from __future__ import annotations

from torch.profiler import ProfilerActivity, profile

from fairmot.training.step_clock import StepClock
from fairmot.training.trainer import Trainer


def constant_batch_speed(trainer: Trainer, steps: int = 20) -> float:
    """Return images/s when every step repeats one batch in memory: the upper limit without data loading.

    The trainer overfits that batch: save before, and do not train further.
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
    """Return a profile of steps by operation, batch creation included; the steps train the network."""
    activities = [ProfilerActivity.CPU]
    if trainer.processes.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiler:
        for _ in range(steps):
            trainer.learn(*trainer.draw())
    key = "self_cuda_time_total" if len(activities) == 2 else "self_cpu_time_total"
    return str(profiler.key_averages().table(sort_by=key, row_limit=rows, max_name_column_width=90))
