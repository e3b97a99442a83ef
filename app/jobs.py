"""Several sources at the same time: worker processes, each with its own engine, and all that they print.

The workers run `fairmot.app.job_worker`, where the messages are described.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Literal, cast

from fairmot.app.job_plan import Gpu, JobPlan, LiveGate
from fairmot.app.job_sources import JobsResult, TrackedSource
from fairmot.app.lost_run import report_lost
from fairmot.app.options import Options
from fairmot.app.session import Outcome
from fairmot.app.terminal import ManyProgress, Terminal
from fairmot.core import UserError
from fairmot.core.failures import explained
from fairmot.core.processes import PARENT_GONE, WorkerProcess, arrived, how_it_ended
from fairmot.core.signals import StopSignals
from fairmot.core.text import without_secrets

_SIGNAL_EXIT_CODE = 128  # plus the number of the signal, as shells report it
_TICK_SECONDS = 0.1
_STOP_SECONDS = 9.0  # for the runs to end after a signal; a worker gives up a second earlier
# How long a source waits with its name for one before it that does not answer.
_LIVE_TURN_SECONDS, _FILE_TURN_SECONDS = 3.0, 30.0
_TARGET = "fairmot.app.job_worker:serve"
_ENVIRONMENT = {"TERM": "dumb"}  # progress bars of a worker, as of a TensorRT build, would disturb those of its parent


@dataclass
class _Worker:
    """A worker process.

    Attributes:
        process: it.
        gpu: that it uses; None leaves the choice to CUDA.
        state: `opening` its engine, `ready`, or `leaving`.
        source: that it tracks.
        claims: since when its source waits for its turn to claim a folder; None if it does not.
        began: when it got the source.
    """

    process: WorkerProcess
    gpu: Gpu | None
    state: Literal["opening", "ready", "leaving"] = "opening"
    source: TrackedSource | None = None
    claims: float | None = None
    began: float = 0.0

    def send(self, *message: Any) -> None:
        """Send a message; that the process is gone is noticed when reading."""
        with suppress(*PARENT_GONE):
            self.process.channel.send(*message)


def track_in_jobs(options: Options, specs: Sequence[str], plan: JobPlan, terminal: Terminal) -> JobsResult:
    """Track several sources at the same time; what happens is printed as it is for one after the other.

    Args:
        options: of the command.
        specs: the sources.
        plan: for them.
        terminal: for messages.
    """
    with StopSignals() as signals, terminal.progress_of_many() as progress:
        jobs = _Jobs(options, specs, plan, terminal, progress)
        try:
            jobs.run(signals)
        finally:
            jobs.kill()
    return jobs.result(signals.received)


@dataclass
class _Openings:
    """How opening the engines went.

    Attributes:
        errors: that are not printed yet.
        failed: whether opening one has failed, so no further one is tried.
        printed: what the workers printed meanwhile, which is the same for all.
    """

    errors: list[UserError] = field(default_factory=list)
    failed: bool = False
    printed: set[Any] = field(default_factory=set)


class _Jobs:
    """The sources, the workers, and who does what."""

    def __init__(
        self, options: Options, specs: Sequence[str], plan: JobPlan, terminal: Terminal, progress: ManyProgress
    ) -> None:
        # Jobs beside each other keep all cores busy without further processes.
        self._options = replace(options, pipeline="threads") if options.pipeline == "auto" else options
        self._plan = plan
        self._terminal = terminal
        self._progress = progress
        self._sources = [TrackedSource(spec, number, number in plan.live) for number, spec in enumerate(specs)]
        # Live sources first: they do not wait for files, neither to start nor for the name of their folder.
        self._order = sorted(self._sources, key=lambda source: not source.is_live)
        self._waiting = list(self._order)
        self._workers: list[_Worker] = []
        self._openings = _Openings()
        self._gate = LiveGate()
        self._stops_at: float | None = None
        self._most_workers = 0
        self._began = self._ended = 0.0

    def run(self, signals: StopSignals) -> None:
        """Track all sources; returns when no worker is left."""
        while True:
            self._start_workers()
            self._judge_openings()
            if not self._workers:
                return
            by_file = {worker.process.channel.fileno(): worker for worker in self._workers}
            for file in wait(list(by_file), _TICK_SECONDS):
                self._read(by_file[cast(int, file)])
            if signals.received is not None and self._stops_at is None:
                self._stop(signals.received)
            if self._stops_at is not None and time.monotonic() > self._stops_at:
                self.kill()
                return
            self._grant_claims()
            self._hand_out()

    def kill(self) -> None:
        """End the workers that are left."""
        for worker in self._workers:
            worker.process.interrupt(signal.SIGKILL)
        for worker in list(self._workers):
            self._lost(worker)

    def result(self, received: int | None) -> JobsResult:
        """Return the result.

        Args:
            received: number of the signal that ended the jobs, if one did.
        """
        exit_codes = (source.exit_code for source in self._sources)
        code = next(filter(None, exit_codes), 0) if received is None else _SIGNAL_EXIT_CODE + received
        seconds = max(0.0, self._ended - self._began)
        return JobsResult(self._sources, code, received is not None, self._most_workers, seconds)

    def _allowed(self) -> list[TrackedSource]:
        """Return the sources that may be handed out now."""
        live = [source for source in self._waiting if source.is_live]
        running = sum(worker.source is not None and not worker.source.is_live for worker in self._workers)
        return live + [source for source in self._waiting if not source.is_live][: self._plan.files - running]

    def _start_workers(self) -> None:
        """Start as many workers as there are sources for them."""
        if self._openings.failed and self._workers:
            return
        free = sum(worker.source is None for worker in self._workers)
        for _ in range(len(self._allowed()) - free):
            gpus = self._plan.gpus
            gpu = min(gpus, key=lambda each: sum(worker.gpu is each for worker in self._workers)) if gpus else None
            environment = {**_ENVIRONMENT, **(gpu.environment if gpu is not None else {})}
            try:
                worker = _Worker(WorkerProcess(_TARGET, environment=environment), gpu)
            except OSError as error:
                self._not_opened(UserError(f"No further process can be started ({error.strerror})."))
                return
            self._workers.append(worker)
            worker.send(self._options, self._plan.engine)
        self._most_workers = max(self._most_workers, len(self._workers))

    def _hand_out(self) -> None:
        """Give sources to workers without one; send those home for whom there is none."""
        states = [worker.state for worker in self._workers]
        takes_live = self._gate.is_open(states.count("opening"), states.count("ready"), time.monotonic())
        for worker in self._workers:
            if worker.state != "ready" or worker.source is not None:
                continue
            allowed = self._allowed()
            if not allowed:
                worker.state = "leaving"
                worker.send("end")
                continue
            source = next((source for source in allowed if takes_live or not source.is_live), None)
            if source is None:
                return
            worker.source, worker.began = source, time.monotonic()
            self._began = self._began or worker.began
            self._waiting.remove(worker.source)
            worker.send("track", worker.source.spec)

    def _grant_claims(self) -> None:
        """Let sources claim their folders in order, so that their names do not depend on who is first."""
        for worker in self._workers:
            if worker.claims is None or worker.source is None:
                continue
            longest = _LIVE_TURN_SECONDS if worker.source.is_live else _FILE_TURN_SECONDS
            if time.monotonic() - worker.claims > longest or not self._must_wait(worker.source):
                worker.claims = None
                worker.send("claim", {each.folder.name.casefold() for each in self._sources if each.folder is not None})

    def _must_wait(self, source: TrackedSource) -> bool:
        """Return whether a source before this one could still claim the same name.

        Files are opened in a moment, so they simply keep their order; live sources may take long to answer.
        """
        before = self._order[: self._order.index(source)]
        return any(
            not (other.is_live and other.family != source.family)
            for other in before
            if other.folder is None and not other.is_settled
        )

    def _read(self, worker: _Worker) -> None:
        """Read a message of a worker, or its end."""
        try:
            kind, *content = worker.process.channel.receive()
        except (*PARENT_GONE, OSError):
            self._lost(worker)
            return
        if worker.state == "opening" and kind in ("line", "warning"):
            if (kind, *content) in self._openings.printed:
                return
            self._openings.printed.add((kind, *content))
        if kind == "line":
            self._terminal.line(*content)
        elif kind == "warning":
            self._terminal.warning(*content)
        elif kind == "error":
            self._terminal.error(arrived(*content))
        elif kind == "ready":
            worker.state = "ready"
        elif kind == "unready":
            worker.state = "leaving"
            self._not_opened(explained(arrived(*content)))
        elif worker.source is not None:
            self._note(worker, worker.source, kind, content)

    def _note(self, worker: _Worker, source: TrackedSource, kind: str, content: list[Any]) -> None:
        """Note what a worker says of its source."""
        if kind == "name":
            source.name, worker.claims = content[0], time.monotonic()
        elif kind == "folder":
            source.folder = Path(content[0])
        elif kind == "begin":
            self._progress.begin(source.number, *content)
        elif kind == "frames":
            source.frames = content[0]
            self._progress.update(source.number, *content)
        elif kind == "failed":
            self._fail(source, explained(arrived(*content)))
            self._settle(worker, source)
        elif kind == "done":
            outcome: Outcome = content[0]
            source.outcome, source.frames, source.exit_code = outcome, outcome.frames, outcome.exit_code
            if outcome.ends:
                self._waiting.clear()
            self._settle(worker, source)

    def _settle(self, worker: _Worker, source: TrackedSource) -> None:
        source.is_settled = True
        worker.source, worker.claims = None, None
        self._progress.end(source.number)
        self._ended = time.monotonic()

    def _fail(self, source: TrackedSource, error: UserError) -> None:
        self._terminal.error(error)
        source.exit_code = error.exit_code

    def _not_opened(self, error: UserError) -> None:
        self._openings.failed = True
        self._openings.errors.append(error)

    def _judge_openings(self) -> None:
        """Go on with those workers that could open their engine; without any, end with what kept them from it."""
        openings = self._openings
        if not openings.errors or any(worker.state == "opening" for worker in self._workers):
            return
        errors = {str(error): error for error in openings.errors}.values()
        openings.errors = []
        ready = sum(worker.state == "ready" for worker in self._workers)
        if ready:
            for error in errors:
                self._terminal.warning(f"A process for further jobs cannot work, {ready} go on: {error}")
            return
        for error in errors:
            self._terminal.error(error)
            for source in self._waiting:
                source.exit_code = source.exit_code or error.exit_code
        self._waiting.clear()

    def _stop(self, number: int) -> None:
        """Ask all runs to stop, and end the workers that have nothing to save."""
        self._stops_at = time.monotonic() + _STOP_SECONDS
        self._waiting.clear()
        for worker in self._workers:
            if worker.source is None or worker.source.folder is None:
                worker.process.interrupt(signal.SIGKILL)
            else:
                worker.send("stop", number)

    def _lost(self, worker: _Worker) -> None:
        """Note the end of a process, and of the source that it has not finished."""
        self._workers.remove(worker)
        how = how_it_ended(worker.process.end())
        source = worker.source
        if source is not None:
            if source.folder is not None:
                self._report_lost(source, source.folder, how, time.monotonic() - worker.began)
            elif self._stops_at is None:
                shown = without_secrets(source.spec)
                self._fail(source, UserError(f"{shown}: its process {how} before anything was tracked."))
            self._settle(worker, source)
        elif worker.state == "opening" and self._stops_at is None:
            self._not_opened(UserError(f"A process for a job {how} before it could open the engine."))

    def _report_lost(self, source: TrackedSource, folder: Path, how: str, seconds: float) -> None:
        error = UserError(f"{source.name}: its process {how}; what was tracked is kept in {folder}.")
        try:
            if report_lost(folder, str(error), seconds) or self._stops_at is None:
                self._fail(source, error)
        except Exception as failure:
            self._fail(source, error)
            self._terminal.error(explained(failure, subject=source.name or ""))
