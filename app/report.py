"""The report of a run: its result, what decided it, and the versions of the software."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import cv2

from fairmot.app.json_files import as_json
from fairmot.app.location import location_of
from fairmot.app.options import Options
from fairmot.core.options import values_of
from fairmot.core.version import PROJECT, installed_versions, project_version
from fairmot.engine import Engine
from fairmot.video import Source

_PACKAGES = ("av", "lap", "numpy", "onnx", "onnxruntime", "pycuda", "scipy", "tensorrt", "torch")


@dataclass(frozen=True)
class RunReport:
    """The result of tracking one source, for `run.json`.

    Attributes:
        location: of the source, see `location_of`.
        started: local time, ISO 8601.
        status: `running`, then `complete`, `stopped` (from the window), `interrupted` (by a signal), `damaged` (the
            source ended early or in part) or `failed` (the run broke off, or results could not be written).
        message: what went wrong, in one line.
        traceback: of an unexpected exception, for a bug report.
        frames: number of frames that were tracked.
        first_frame, last_frame: their numbers in the source.
        identities: number of identities reported.
        wall_seconds: from the first frame asked for until all files were closed.
        milliseconds: per frame, by stage. `read`, `write` and `wait` are what the loop spent and waited; decoding,
            encoding and the work of a GPU (`gpu`) run beside it. Where a process tracks, so do `track` and its share of
            `write`, and `exchange` is what the loop spent on sending detections and waiting for tracks.
        latency_ms: of a live source, from the arrival of a frame to its written result: `median` and `p95`, the 95th
            percentile.
        dropped: of a live source, frames between the first and the last that were not tracked.
    """

    location: str
    started: str
    status: str = "running"
    message: str | None = None
    traceback: str | None = None
    frames: int = 0
    first_frame: int | None = None
    last_frame: int | None = None
    identities: int = 0
    wall_seconds: float = 0.0
    milliseconds: dict[str, float] = field(default_factory=dict)
    latency_ms: dict[str, float] | None = None
    dropped: int | None = None

    @classmethod
    def from_run(cls, run: Mapping[str, Any]) -> RunReport:
        """Return the report in the content of a `run.json`.

        Raises:
            TypeError: if something that every report has is missing.
        """
        return cls(**{each.name: run[each.name] for each in fields(cls) if each.name in run})

    @property
    def rate(self) -> float:
        """Frames per second over the whole run."""
        return self.frames / self.wall_seconds if self.wall_seconds else 0.0

    def to_run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the content of `run.json`.

        Args:
            inputs: of the run, see `inputs_of`.
        """
        result = asdict(self)
        for name in ("traceback", "latency_ms", "dropped"):
            if result[name] is None:
                del result[name]
        return {**result, "frames_per_second": self.rate, **inputs, "versions": versions()}

    def summary(self, name: str, folder: Path) -> str:
        """Return the line that ends a run."""
        stages = ", ".join(f"{stage} {value:.1f}" for stage, value in self.milliseconds.items())
        return (
            f"{name}: {self.frames} frames, {self.identities} identities, {self.rate:.1f} frames/s "
            f"(ms per frame: {stages}){self._delay()} -> {folder}"
        )

    def _delay(self) -> str:
        """Return what the summary says of a live source."""
        if self.latency_ms is None:
            return ""
        median, p95 = self.latency_ms["median"], self.latency_ms["p95"]
        return f", delay {median:.0f} ms, 95 % below {p95:.0f} ms, {self.dropped} frames dropped"


def inputs_of(options: Options, source: Source, engine: Engine) -> dict[str, Any]:
    """Return what decides the results of a run, as `run.json` holds it."""
    digest = hashlib.sha256(engine.model.path.read_bytes()).hexdigest()
    inputs = {
        "source": {
            "name": source.name,
            "width": source.width,
            "height": source.height,
            "frame_rate": source.frame_rate,
            "frame_count": source.frame_count,
            "is_live": source.is_live,
        },
        "engine": {"name": engine.name, "reason": engine.reason, "input_size": engine.size},
        "model": {**asdict(engine.model), "path": str(engine.model.path), "sha256": digest},
        "configuration": {**values_of(options), "sources": [location_of(source) for source in options.sources]},
    }
    content: dict[str, Any] = json.loads(as_json(inputs))  # so that it equals what is read again
    return content


def versions() -> dict[str, str | None]:
    """Return the versions of the project, Python and the packages that decide the results; None if not installed."""
    return {
        PROJECT: project_version(),
        "python": platform.python_version(),
        "opencv": cv2.__version__,
        **installed_versions(_PACKAGES),
    }
