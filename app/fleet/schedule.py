"""The schedule of a fleet: which worker tracks which video, and what becomes of those whose worker is lost."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from fairmot.app.fleet.cluster import Slot, find_slots, ray, start_actor
from fairmot.app.fleet.worker import Ready, Result, Task, Worker
from fairmot.app.options import Options
from fairmot.core.errors import EngineError
from fairmot.core.text import reason_of

_MOST_LOSSES = 3  # workers that one video may lose before it is given up; it may be what kills them
_MOST_BREAKS = 1  # runs that may break off for a reason other than the video
_MOST_STARTS = 3  # workers in a row that may end before they are ready, per machine
_POLL_SECONDS = 0.25  # how long a signal may wait
_LOOK_SECONDS = 2.0  # between two looks at the machines of the cluster
_PATIENCE_SECONDS = 60.0  # without any worker, until that is reported


@dataclass
class _Hired:
    """A worker: its slot and actor, the answer that is awaited, and the index of the video that it tracks."""

    slot: Slot
    actor: Any
    reference: Any
    video: int | None = None


class Schedule:
    """Lets workers on all machines of a cluster track videos, each worker one at a time.

    Workers are started on machines that join later too. A video whose worker is lost goes to the end of the queue.

    Args:
        tasks: the videos, with empty attempts.
        slots: arguments of `find_slots`.
        hire: arguments of `Worker` after the options.
        options: of each run.
        report: is given the index, result and retries of each video that is done.
        warn: is given a warning.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        slots: tuple[int, int],
        options: Options,
        hire: tuple[Any, ...],
        report: Callable[[int, Result, int], object],
        warn: Callable[[str], object],
    ) -> None:
        self._tasks = tasks
        self._slots = slots
        self._options = options
        self._hire = hire
        self._report = report
        self._warn = warn
        self._queue = deque(range(len(tasks)))
        self._losses: Counter[int] = Counter()
        self._breaks: Counter[int] = Counter()
        self._hired: list[_Hired] = []
        self._starting: list[_Hired] = []
        self._false_starts: Counter[str] = Counter()
        self._last_error = ""
        self._looked = float("-inf")
        self._began = time.monotonic()
        self._is_patient = True
        self.ready: dict[str, int] = {}  # workers that were ready, by engine

    def run(self, is_stopped: Callable[[], bool]) -> None:
        """Track all videos, or until it is stopped; then no worker is left.

        Raises:
            EngineError: if no worker can start on any machine.
        """
        try:
            while not is_stopped() and (self._queue or any(each.video is not None for each in self._hired)):
                self._start_workers()
                self._assign()
                self._collect()
        finally:
            for each in [*self._hired, *self._starting]:
                ray.kill(each.actor)

    def _start_workers(self) -> None:
        """Start workers in the free slots, no more than there are videos that wait."""
        if time.monotonic() - self._looked < _LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        taken = {(each.slot.node, each.slot.number) for each in [*self._hired, *self._starting]}
        slots = find_slots(*self._slots)
        good = [slot for slot in slots if self._false_starts[slot.node] < _MOST_STARTS]
        if not good and not taken:
            reason = self._last_error or "the cluster has no machine with a GPU or CPU cores for workers"
            raise EngineError(f"No worker can start: {reason.rstrip('.')}.")
        free = [slot for slot in good if (slot.node, slot.number) not in taken]
        idle = sum(each.video is None for each in self._hired) + len(self._starting)
        for slot in sorted(free, key=lambda slot: slot.number)[: max(len(self._queue) - idle, 0)]:
            options = self._options
            if not slot.gpus and options.engine.threads is None:
                options = replace(options, engine=replace(options.engine, threads=max(int(slot.cpus), 1)))
            actor = start_actor(Worker, slot, options, *self._hire)
            self._starting.append(_Hired(slot, actor, actor.ready.remote()))
        if self._is_patient and not self._hired and time.monotonic() - self._began > _PATIENCE_SECONDS:
            self._is_patient = False
            self._warn("No worker is ready yet: the cluster may be busy, or a TensorRT engine is being built.")

    def _assign(self) -> None:
        for each in self._hired:
            if each.video is None and self._queue:
                each.video = self._queue.popleft()
                task = replace(self._tasks[each.video], attempt=uuid4().hex[:12])
                each.reference = each.actor.track.remote(task)

    def _collect(self) -> None:
        """Wait a moment for answers, and act on those that have come."""
        waiting = {each.reference: each for each in [*self._starting, *self._hired] if each.reference is not None}
        if not waiting:
            time.sleep(_POLL_SECONDS)
            return
        done, _ = ray.wait([*waiting], timeout=_POLL_SECONDS)
        for reference in done:
            each = waiting[reference]
            each.reference = None
            try:
                answer = ray.get(reference)
            except ray.exceptions.RayError as error:
                self._lost(each, reason_of(str(error).strip().partition("\n")[0]))
                continue
            if isinstance(answer, Ready):
                self._on_ready(each, answer)
            else:
                self._on_result(each, answer)

    def _on_ready(self, each: _Hired, answer: Ready) -> None:
        if answer.error is not None:
            self._false_starts[each.slot.node] = _MOST_STARTS
            self._last_error = answer.error
            self._warn(f"{answer.host}: no worker, {answer.error}")
            self._dismiss(each)
            return
        self._false_starts[each.slot.node] = 0
        self._starting.remove(each)
        self._hired.append(each)
        self.ready[answer.engine] = self.ready.get(answer.engine, 0) + 1

    def _on_result(self, each: _Hired, result: Result) -> None:
        video, each.video = each.video, None
        assert video is not None
        if result.broke_off:
            self._dismiss(each)  # its engine may have failed for good
            self._breaks[video] += 1
            if self._breaks[video] <= _MOST_BREAKS:
                self._warn(f"{result.message or self._tasks[video].video.location}; it is tracked once more.")
                self._queue.append(video)
                return
        self._report(video, result, self._retries(video, last_failed=result.broke_off))

    def _lost(self, each: _Hired, reason: str) -> None:
        """Give the video of a worker that has ended to another."""
        video = each.video
        self._dismiss(each)
        if video is None:
            self._false_starts[each.slot.node] += 1
            self._last_error = f"the workers on {each.slot.host} end before they are ready ({reason})"
            return
        self._losses[video] += 1
        name = self._tasks[video].name
        if self._losses[video] <= _MOST_LOSSES:
            self._warn(f"{name}: its worker on {each.slot.host} is lost ({reason}); another one tracks it.")
            self._queue.append(video)
            return
        message = f"{self._tasks[video].video.location}: {self._losses[video]} workers were lost over it ({reason})."
        self._report(video, Result("failed", message=message), self._retries(video, last_failed=True))

    def _dismiss(self, each: _Hired) -> None:
        ray.kill(each.actor)
        (self._starting if each in self._starting else self._hired).remove(each)
        self._looked = float("-inf")

    def _retries(self, video: int, *, last_failed: bool) -> int:
        return self._losses[video] + self._breaks[video] - last_failed
