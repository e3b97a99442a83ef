"""A fleet: from its options to the exit code, for the command `fairmot fleet`."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import uuid4

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fairmot.app.fleet.cluster import connected, ray, run_on_all
from fairmot.app.fleet.inputs import find_videos
from fairmot.app.fleet.options import FleetOptions
from fairmot.app.fleet.schedule import Schedule
from fairmot.app.fleet.summary import CANCELED, Row, content_of, table_of, total_line
from fairmot.app.fleet.transfer import Output
from fairmot.app.fleet.worker import FLEET, Result, Task, remove_scratch
from fairmot.app.json_files import as_json
from fairmot.app.location import location_of
from fairmot.app.options import Options
from fairmot.app.report import RunReport
from fairmot.app.run_folder import deciding_settings
from fairmot.app.terminal import Terminal
from fairmot.core.errors import ConfigError, UserError
from fairmot.core.files import write_error
from fairmot.core.locks import Lock
from fairmot.core.options import values_of
from fairmot.core.signals import StopSignals
from fairmot.core.tracked_classes import TrackedClasses
from fairmot.engine import ModelInfo

_SUMMARY, _LOCK = "fleet.json", ".fleet.lock"
_SIGNAL_EXIT_CODE = 128  # plus the number of the signal, as shells report it
_CLEANING_SECONDS = 10.0
_SEPARATE = ("threads",)  # set by the machine, and part of the settings


@dataclass
class _Fleet:
    """A fleet under way.

    Attributes:
        options: of the command.
        tracking: of each run, the thresholds of the tracker resolved.
        model: that tracks.
        output: of the results.
        tasks: all videos.
        rows: the outcomes, by index of the video.
        terminal: for messages.
    """

    options: FleetOptions
    tracking: Options
    model: ModelInfo
    output: Output
    tasks: Sequence[Task]
    rows: dict[int, Row]
    terminal: Terminal
    started: str = ""
    seconds: float = 0.0
    workers: int = 0

    def all_rows(self) -> list[Row]:
        """Return a row per video, in the order given; those that were not tracked are canceled."""
        return [
            self.rows.get(index) or Row(task.name, task.video.location, Result(CANCELED))
            for index, task in enumerate(self.tasks)
        ]

    def write(self, status: str) -> None:
        """Write `fleet.json`."""
        configuration = {**values_of(self.options), "sources": [location_of(each) for each in self.options.sources]}
        self.output.write(
            _SUMMARY,
            content_of(self.all_rows(), status, self.started, self.seconds, self.workers, configuration),
        )


def fleet(options: FleetOptions) -> int:
    """Track every video and return the exit code, 0 if all are complete; errors are printed as one line each."""
    terminal = Terminal()
    errors: list[UserError] = []

    def report(error: UserError) -> None:
        errors.append(error)
        terminal.error(error)

    try:
        tracking = options.tracking()
        model = ModelInfo.read(tracking.engine.weights)
        tracking = replace(tracking, tracker=tracking.tracker.resolved(model.score_threshold))
        TrackedClasses.of(model.class_names, tracking.classes)  # raises for unknown ones
        videos = find_videos(options.sources, report)
        if not videos:
            return errors[0].exit_code if errors else ConfigError.exit_code
        output = Output(options.output)
        with _locked(output):
            names, runs = output.names(videos)
            output.clean(names)
            tasks = [Task(video, name, "") for video, name in zip(videos, names, strict=True)]
            under_way = _Fleet(options, tracking, model, output, tasks, {}, terminal)
            if options.resume:
                under_way.rows.update(_complete(tasks, runs, tracking, model))
            received = _track(under_way)
            rows = under_way.all_rows()
            is_complete = not errors and all(row.result.status == "complete" for row in rows)
            under_way.write("interrupted" if received else "complete" if is_complete else "incomplete")
            output.clean(names)
        terminal.table(table_of(rows))
        terminal.line(total_line(rows, under_way.seconds, under_way.workers, output.location))
        if received:
            return _SIGNAL_EXIT_CODE + received
        return 0 if is_complete else UserError.exit_code
    except UserError as error:
        terminal.error(error)
        return error.exit_code


def _complete(
    tasks: Sequence[Task], runs: Mapping[str, Mapping[str, Any]], tracking: Options, model: ModelInfo
) -> Iterator[tuple[int, Row]]:
    """Yield the index and row of each video whose results are complete with equal inputs and settings."""
    digest = hashlib.sha256(model.path.read_bytes()).hexdigest()
    wanted = _deciding(json.loads(as_json(values_of(tracking))))
    for index, task in enumerate(tasks):
        run = runs.get(task.name, {})
        try:
            report = RunReport.from_run(run)
            is_same = run[FLEET] == task.video.identity and run["model"]["sha256"] == digest
            is_same = is_same and _deciding(run["configuration"]) == wanted
        except (KeyError, TypeError, AttributeError, ConfigError):  # of another version, or not ours
            continue
        if is_same and report.status == "complete":
            result = Result(report.status, frames=report.frames, identities=report.identities, rate=report.rate)
            yield index, Row(task.name, task.video.location, result, found=True)


def _deciding(configuration: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in deciding_settings(configuration).items() if key not in _SEPARATE}


def _track(under_way: _Fleet) -> int | None:
    """Track what is not complete yet; return the number of the signal that ended it, if one did."""
    options, terminal, output = under_way.options, under_way.terminal, under_way.output
    under_way.started = datetime.now().astimezone().isoformat(timespec="seconds")
    left = [index for index in range(len(under_way.tasks)) if index not in under_way.rows]
    under_way.write("running")  # now it is known whether the output can be written
    if not left:
        return None
    identifier = uuid4().hex[:12]
    with connected(options.address), _cleaned(identifier, options.address), StopSignals() as signals:
        weights = None
        if options.engine.weights is not None:
            weights = ray.put(under_way.model.path.read_bytes())
        with _progress(len(left)) as advance:

            def report(number: int, result: Result, retries: int) -> None:
                index = left[number]
                task = under_way.tasks[index]
                if result.status == "complete" and not output.has(task.name):
                    message = (
                        f"{task.name}: {result.host} has written the results where this machine does not see them; "
                        "choose an --output that all machines share."
                    )
                    result = replace(result, status="failed", message=message)
                under_way.rows[index] = Row(task.name, task.video.location, result, retries)
                if result.message is not None:
                    terminal.error(UserError(result.message))
                advance(result)

            schedule = Schedule(
                [under_way.tasks[index] for index in left],
                (options.workers_per_gpu, options.cpus_per_worker),
                under_way.tracking,
                (options.output if output.folder is None else str(output.folder), identifier, weights),
                report,
                terminal.warning,
            )
            began = time.perf_counter()
            try:
                schedule.run(lambda: signals.received is not None)
            finally:
                under_way.seconds = time.perf_counter() - began
                under_way.workers = sum(schedule.ready.values())
        for engine, count in schedule.ready.items():
            terminal.line(f"{count} {'worker' if count == 1 else 'workers'}: {engine}")
    return signals.received


@contextmanager
def _cleaned(identifier: str, address: str | None) -> Iterator[None]:
    """Remove the temporary files of workers in the end, those of killed ones too."""
    try:
        yield
    finally:
        if address is not None:
            run_on_all(remove_scratch, identifier, _CLEANING_SECONDS)
        else:
            ray.shutdown()  # so that nobody writes any more
            remove_scratch(identifier)


@contextmanager
def _locked(output: Output) -> Iterator[None]:
    """Keep other fleets out of an output on this machine's file system; object stores know no locks.

    Raises:
        OutputError: if another fleet is at work there, or the folder cannot be made.
    """
    if output.folder is None:
        yield
        return
    lock = Lock(output.folder / _LOCK)
    try:
        output.folder.mkdir(parents=True, exist_ok=True)
        locked = lock.acquire()
    except OSError as error:
        raise write_error(output.folder, error) from error
    if not locked:
        raise UserError(
            f"Another fleet writes to {output.folder}; wait until it has ended, or choose another --output."
        )
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _progress(count: int) -> Iterator[Callable[[Result], None]]:
    """Show a progress bar of videos if standard error is a terminal; yields a function that counts one."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda result: None
        return
    columns = (
        TextColumn("videos"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[frames]} frames"),
        TimeElapsedColumn(),
    )
    frames = 0
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("videos", total=count, frames=0)

        def advance(result: Result) -> None:
            nonlocal frames
            frames += result.frames
            bar.update(task, advance=1, frames=frames)

        yield advance
