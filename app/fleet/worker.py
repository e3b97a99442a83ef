"""A worker of a fleet: one open engine, which tracks one video after the other."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fairmot.app.fleet.inputs import Video
from fairmot.app.fleet.transfer import Output, download, local_path
from fairmot.app.json_files import read_json, write_json
from fairmot.app.options import Options
from fairmot.app.report import RunReport
from fairmot.app.run_folder import RUN
from fairmot.app.session import Session
from fairmot.app.terminal import Terminal
from fairmot.core import StageClock
from fairmot.core.failures import explained
from fairmot.core.text import without_secrets
from fairmot.engine import Engine, ModelInfo, open_engine

FLEET = "fleet"  # the key in `run.json` with the identity of the video

PUBLISHED = ("complete", "damaged")
"""The states in which a run leaves results for the output: whole, or as far as the video could be read."""


@dataclass(frozen=True)
class Task:
    """A video to track.

    Attributes:
        video: what to track.
        name: of its folder in the output.
        attempt: distinguishes this attempt from every other one of any fleet.
    """

    video: Video
    name: str
    attempt: str


@dataclass(frozen=True)
class Ready:
    """The answer of a worker that has opened its engine.

    Attributes:
        host: name of its machine.
        engine: name of the backend, and why it was chosen.
        error: in one line, if the engine cannot be opened.
    """

    host: str
    engine: str = ""
    error: str | None = None


@dataclass(frozen=True)
class Result:
    """The outcome of a task.

    Attributes:
        status: of the run, see `RunReport`; `failed` too where there was no run.
        broke_off: whether the run broke off for a reason other than the video, which another worker may not meet.
        message: what went wrong, in one line.
        frames: number of frames that were tracked.
        identities: number of identities reported.
        rate: frames per second of the run, without transfers.
        host: name of the machine.
    """

    status: str
    broke_off: bool = False
    message: str | None = None
    frames: int = 0
    identities: int = 0
    rate: float = 0.0
    host: str = ""


def scratch_folder(fleet: str) -> Path:
    """Return the folder for temporary files of a fleet on this machine."""
    return Path(tempfile.gettempdir()) / f"fairmot-fleet-{fleet}"


def remove_scratch(fleet: str) -> None:
    """Remove what workers of a fleet that were killed left on this machine."""
    shutil.rmtree(scratch_folder(fleet), ignore_errors=True)


class Worker:
    """Tracks videos with the same engine.

    Args:
        options: of each run.
        output: URI of the output.
        fleet: identifier of the fleet.
        weights: content of the ONNX file that the options name, which need not be on this machine; None for the
            bundled model.
    """

    def __init__(self, options: Options, output: str, fleet: str, weights: bytes | None) -> None:
        self._options = options
        self._output = output
        self._fleet = fleet
        self._weights = weights
        self._clock = StageClock()
        self._engine: Engine | None = None

    def ready(self) -> Ready:
        """Open the engine; errors are returned."""
        host = socket.gethostname()
        settings = self._options.engine
        try:
            if self._weights is not None:
                path = scratch_folder(self._fleet) / f"model-{os.getpid()}" / Path(str(settings.weights)).name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self._weights)  # every report reads it again
                settings = replace(settings, weights=path)
            model = ModelInfo.read(settings.weights)
            least = self._options.tracker.minimum_score
            self._engine = open_engine(settings, clock=self._clock, score_threshold=least, model=model)
        except Exception as error:
            return Ready(host, error=without_secrets(str(explained(error))))
        return Ready(host, f"{self._engine.name} ({self._engine.reason})")

    def track(self, task: Task) -> Result:
        """Track a video and publish its results; errors are returned."""
        host = socket.gethostname()
        with self._scratch(task.attempt) as folder:
            source = local_path(task.video, folder / "video")
            try:
                return self._track(task, folder, source, host)
            except Exception as error:
                message = str(explained(error, subject=source)).replace(source, task.video.location)
                return Result("failed", message=without_secrets(message), host=host)

    def _track(self, task: Task, folder: Path, source: str, host: str) -> Result:
        assert self._engine is not None  # `ready` comes first
        download(task.video, folder / "video")
        results = folder / "results"
        options = replace(self._options, sources=(source,), output=str(results))
        Session(options, self._engine, self._clock, Terminal()).track(source)
        (written,) = results.glob(f"*/{RUN}")
        run = read_json(written)
        report = RunReport.from_run(run)
        if report.status in PUBLISHED:
            write_json(written, _published(run, task, self._output, self._options))
            Output(self._output).publish(written.parent, task.name, task.attempt)
        message = None
        if report.message is not None:
            message = f"{task.video.location}: {report.message.replace(source, task.video.location)}"
        return Result(
            report.status,
            broke_off=report.status not in PUBLISHED,
            message=message,
            frames=report.frames,
            identities=report.identities,
            rate=report.rate,
            host=host,
        )

    @contextmanager
    def _scratch(self, name: str) -> Iterator[Path]:
        folder = scratch_folder(self._fleet) / name
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _published(run: Mapping[str, Any], task: Task, output: str, options: Options) -> dict[str, Any]:
    """Return the content of `run.json` in which the video and the output stand in place of temporary files."""
    weights = options.engine.weights
    changed = {"sources": [task.video.location], "output": Output(output).location}
    return {
        **run,
        "location": task.video.location,
        "model": {**run["model"], "path": run["model"]["path"] if weights is None else str(weights)},
        "configuration": {**run["configuration"], **changed},
        FLEET: task.video.identity,
    }
