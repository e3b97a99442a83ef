"""The choice of a backend, and opening a model on it."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from fairmot.core.errors import ConfigError, suggestion
from fairmot.core.timing import StageClock
from fairmot.engine.base import Engine
from fairmot.engine.model import ModelInfo
from fairmot.engine.settings import EngineSettings

_log = logging.getLogger(__name__)


class Backend(NamedTuple):
    """One way to run a model.

    Attributes:
        name: the value of `EngineSettings.backend`.
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
    from fairmot.plugins.library import tensorrt_unavailable_reason

    return tensorrt_unavailable_reason()


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
    settings: EngineSettings | None = None,
    *,
    clock: StageClock | None = None,
    score_threshold: float | None = None,
    model: ModelInfo | None = None,
) -> Engine:
    """Open a model on the best backend of this machine.

    Args:
        settings: which model and backend, and how; the bundled model with all defaults if not given.
        clock: in place of that of the settings.
        score_threshold: in place of that of the settings.
        model: what `ModelInfo.read` returned for the weights of the settings, to spare reading them again.

    Returns:
        The engine, to be used with `with`.

    Raises:
        ConfigError: if a setting is out of range or the backend is not available.
        ModelError: if the file cannot be used.
    """
    settings = settings or EngineSettings()
    if clock is not None:
        settings = replace(settings, clock=clock)
    if score_threshold is not None:
        settings = replace(settings, score_threshold=score_threshold)
    backend, why = choose_backend(settings.backend, BACKENDS)
    opened = backend.open(model or ModelInfo.read(settings.weights), settings)
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
