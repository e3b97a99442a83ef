"""The choice of a backend, and opening a model on it."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from fairmot.core.errors import ConfigError, suggestion
from fairmot.core.timing import StageClock
from fairmot.engine.base import DeformableConvolution, Engine, EngineSettings, Precision
from fairmot.engine.decode import BoxMapping
from fairmot.engine.model import ModelInfo

_log = logging.getLogger(__name__)


class Backend(NamedTuple):
    """One way to run a model.

    Attributes:
        name: what `engine=` calls it.
        unavailable_reason: returns the reason why the backend cannot run on this machine, or None if it can.
        open: opens a model; imports what the backend needs.
    """

    name: str
    unavailable_reason: Callable[[], str | None]
    open: Callable[[ModelInfo, EngineSettings], Engine]


def _without_tensorrt() -> str | None:
    if sys.platform != "linux":
        return "it needs Linux"
    missing = [package for package in ("tensorrt", "torch", "pycuda") if not importlib.util.find_spec(package)]
    if missing:
        return f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed"
    from fairmot.plugins.library import tensorrt_obstacle

    return tensorrt_obstacle()


def _open_tensorrt(model: ModelInfo, settings: EngineSettings) -> Engine:
    from fairmot.engine.trt.engine import TensorRTEngine

    return TensorRTEngine(model, settings)


def _without_onnxruntime() -> str | None:
    return None if importlib.util.find_spec("onnxruntime") else "onnxruntime is not installed"


def _open_onnxruntime(model: ModelInfo, settings: EngineSettings) -> Engine:
    from fairmot.engine.onnxruntime import OnnxRuntimeEngine

    return OnnxRuntimeEngine(model, settings)


BACKENDS = (
    Backend("tensorrt", _without_tensorrt, _open_tensorrt),
    Backend("onnxruntime", _without_onnxruntime, _open_onnxruntime),
)
"""In the order in which `auto` tries them."""


def open_engine(
    weights: Path | str | None = None,
    *,
    engine: str = "auto",
    size: tuple[int, int] | None = None,
    score_threshold: float = 0.4,
    max_detections: int = 500,
    back_projection: BoxMapping = "exact",
    threads: int | None = None,
    precision: Precision = "fp16",
    dcn: DeformableConvolution = "auto",
    batch: int = 1,
    clock: StageClock | None = None,
) -> Engine:
    """Open a model on the best backend of this machine.

    Args:
        weights: ONNX file of `fairmot export`; the bundled model if not given.
        engine: name of a backend, or `auto` for the first that runs here.
        size: input `(width, height)` in pixels; the model's own if not given.
        score_threshold: detections score strictly above this.
        max_detections: at most this many per frame.
        back_projection: `exact`, or `reference` for FairMOT's own rounding (`fairmot.engine.decode.map_boxes`).
        threads: CPU threads of the network; one per usable physical core if not given.
        precision: of the network on a GPU.
        dcn: what runs deformable convolutions on a GPU (`fairmot.engine.base.EngineSettings`).
        batch: most frames at once on a GPU.
        clock: gets the seconds of the stages (`fairmot.engine.base.EngineSettings`).

    Returns:
        The engine, to be used with `with`.

    Raises:
        ConfigError: if a setting is out of range or the backend is not available.
        ModelError: if the file cannot be used.
    """
    settings = EngineSettings(
        size=size,
        score_threshold=score_threshold,
        max_detections=max_detections,
        back_projection=back_projection,
        threads=threads,
        precision=precision,
        dcn=dcn,
        batch=batch,
        clock=clock or StageClock(),
    )
    backend, why = choose_backend(engine, BACKENDS)
    opened = backend.open(ModelInfo.read(weights), settings)
    opened.reason = f"{opened.reason} ({why})"
    _log.info("%s", opened.reason)
    return opened


def choose_backend(engine: str, backends: Sequence[Backend]) -> tuple[Backend, str]:
    """Return the backend that `engine` names or, for `auto`, the first that can run, and the reason for the choice.

    Raises:
        ConfigError: if the backend is unknown or cannot run here.
    """
    names = [backend.name for backend in backends]
    if engine != "auto" and engine not in names:
        raise ConfigError(
            f'There is no engine "{engine}": choose from auto, {", ".join(names)}.'
            f"{suggestion(engine, ['auto', *names])}"
        )
    reasons: list[str] = []
    for backend in backends:
        if engine not in ("auto", backend.name):
            continue
        reason = backend.unavailable_reason()
        if reason is None:
            return backend, _why(engine, reasons)
        reasons.append(f"{backend.name} cannot run here: {reason.rstrip('.')}")
    raise ConfigError(f"No engine can run on this machine: {'; '.join(reasons)}.")


def _why(engine: str, reasons: list[str]) -> str:
    if engine != "auto":
        return "as asked for"
    return "; ".join(reasons) or "the fastest backend that runs here"
