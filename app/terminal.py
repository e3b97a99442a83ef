"""Output of a run on the terminal: lines of results, log messages and the progress bar."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from fairmot.core import Frame, Tracks
from fairmot.core.console import printable_traceback, tracebacks_wanted
from fairmot.core.logs import logs_to
from fairmot.core.text import printable

_SHOWN_SECONDS = 0.05  # Rich draws ten times a second, and every update takes the lock that drawing holds
_TABLE_WIDTH = 140  # where the output is no terminal and lines may be as long as they need


class Terminal:
    """Results go to standard output, warnings, errors and the progress bar to standard error.

    Control characters of names and messages are shown, not sent.
    """

    def __init__(self) -> None:
        self._out = Console(width=None if sys.stdout.isatty() else _TABLE_WIDTH)
        self._err = Console(stderr=True)

    def line(self, text: str) -> None:
        """Print a line of results."""
        self._out.print(printable(text), markup=False, highlight=False, soft_wrap=True)

    def table(self, table: Table) -> None:
        """Print a table."""
        self._out.print(table)

    def error(self, error: BaseException) -> None:
        """Print an error, with its traceback if the environment asks for that."""
        self._note("error", str(error), "bold red")
        if tracebacks_wanted():
            self._err.print(printable_traceback(error), markup=False, highlight=False, soft_wrap=True)

    def warning(self, text: object, label: str = "warning") -> None:
        """Print a warning."""
        self._note(label, str(text), "yellow")

    def _note(self, label: str, text: str, style: str) -> None:
        self._err.print(Text.assemble((f"{label}: ", style), printable(text)), highlight=False, soft_wrap=True)

    def logs(self) -> AbstractContextManager[None]:
        """Print what the packages of the project log: information as results, warnings on standard error."""
        return logs_to(_LogHandler(self))

    @contextmanager
    def progress(self, name: str, frame_count: int | None) -> Iterator[Callable[[Frame, Tracks], None]]:
        """Show a progress bar if standard error is a terminal; yields a function that counts a frame.

        Args:
            name: of the source.
            frame_count: number of frames, if it is known.
        """
        if not self._err.is_terminal:  # a disabled bar of Rich 13 and 14 prints an empty line
            yield lambda frame, tracks: None
            return
        with self._bars() as bars:
            task = bars.add_task(printable(name), total=frame_count, tracks=0)
            yield PacedCount(lambda frames, tracks: bars.update(task, completed=frames, tracks=tracks), _SHOWN_SECONDS)

    @contextmanager
    def progress_of_many(self) -> Iterator[ManyProgress]:
        """Show a progress bar for each source that is running, if standard error is a terminal."""
        if not self._err.is_terminal:
            yield ManyProgress(None)
            return
        with self._bars() as bars:
            yield ManyProgress(bars)

    def _bars(self) -> Progress:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            _RateColumn(),
            TextColumn("{task.fields[tracks]} tracks"),
            TimeRemainingColumn(),
        )
        # Results must reach a file or a pipe also while the bars are shown.
        return Progress(*columns, console=self._err, transient=True, redirect_stdout=sys.stdout.isatty())


class PacedCount:
    """A count of frames that is shown at most every so many seconds.

    Args:
        show: receives the number of frames so far, and of the tracks in the last one.
        seconds: see above.

    Attributes:
        frames: counted so far.
    """

    def __init__(self, show: Callable[[int, int], object], seconds: float) -> None:
        self.frames = 0
        self._show = show
        self._seconds = seconds
        self._shown = -math.inf

    def __call__(self, frame: Frame, tracks: Tracks) -> None:
        """Count a frame."""
        self.frames += 1
        now = time.monotonic()
        if now - self._shown >= self._seconds:
            self._shown = now
            self._show(self.frames, len(tracks))


class ManyProgress:
    """The progress of several sources, a line for each.

    Args:
        bars: shown; None shows nothing.
    """

    def __init__(self, bars: Progress | None) -> None:
        self._bars = bars
        self._tasks: dict[int, TaskID] = {}

    def begin(self, number: int, name: str, frame_count: int | None) -> None:
        """Show a line for a source; `number` stands for it."""
        if self._bars is not None:
            self._tasks[number] = self._bars.add_task(printable(name), total=frame_count, tracks=0)

    def update(self, number: int, frames: int, tracks: int) -> None:
        """Show how many frames were tracked, and the number of tracks in the last one."""
        if self._bars is not None:
            self._bars.update(self._tasks[number], completed=frames, tracks=tracks)

    def end(self, number: int) -> None:
        """Remove the line of a source; does nothing if it has none."""
        if self._bars is not None and number in self._tasks:
            self._bars.remove_task(self._tasks.pop(number))


class _RateColumn(ProgressColumn):
    """Frames per second over the last half minute."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0.0:.1f} frames/s")


class _LogHandler(logging.Handler):
    def __init__(self, terminal: Terminal) -> None:
        super().__init__()
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.levelno < logging.WARNING:
            self._terminal.line(text)
        else:
            self._terminal.warning(text, record.levelname.lower())
