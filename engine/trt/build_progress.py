"""Shows how a TensorRT build gets on: the time that has passed and, from TensorRT 9 on, its phases."""

from __future__ import annotations

import logging
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

_log = logging.getLogger(__name__)


class BuildProgress:
    """A context manager around a build; on a terminal a bar on stderr, elsewhere one line in the log.

    Args:
        title: what is being built.
        shown: whether to show anything on the terminal.
    """

    def __init__(self, title: str, shown: bool = True) -> None:
        console = Console(stderr=True)
        self._title = title
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not (shown and console.is_terminal),
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> BuildProgress:
        _log.info("%s: building, once per machine and model; this takes one to five minutes", self._title)
        self._bars.start()
        self._bars.add_task(self._title, total=None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def watch(self, config: Any) -> None:
        """Follow TensorRT's own phases, where this TensorRT reports them."""
        import tensorrt as trt

        if not hasattr(trt, "IProgressMonitor"):
            return
        progress = self

        class Monitor(trt.IProgressMonitor):  # type: ignore[misc] # untyped
            def __init__(self) -> None:
                trt.IProgressMonitor.__init__(self)

            def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
                progress.start_phase(phase_name, num_steps)

            def step_complete(self, phase_name: str, step: int) -> bool:
                progress.advance_phase(phase_name, step)
                return True

            def phase_finish(self, phase_name: str) -> None:
                progress.finish_phase(phase_name)

        config.progress_monitor = self._monitor = Monitor()

    def start_phase(self, name: str, steps: int) -> None:
        """Show one more bar."""
        self._tasks[name] = self._bars.add_task(f"  {name}", total=steps)

    def advance_phase(self, name: str, step: int) -> None:
        """Move the bar of a phase; `step` counts from 0."""
        if name in self._tasks:
            self._bars.update(self._tasks[name], completed=step + 1)

    def finish_phase(self, name: str) -> None:
        """Take the bar of a phase away."""
        if name in self._tasks:
            self._bars.remove_task(self._tasks.pop(name))
