"""TensorRT's runtime: its messages logged, plugins loaded, plans deserialized."""

from __future__ import annotations

import logging
from typing import Any

import tensorrt as trt

from fairmot.core.errors import ModelError
from fairmot.engine.cuda.gpu import Gpu
from fairmot.engine.trt.errors import load_failure
from fairmot.engine.trt.plan import BuildSettings, Host, Plan
from fairmot.plugins import library

_log = logging.getLogger(__name__)


class TensorRTLogger(trt.ILogger):  # type: ignore[misc] # untyped
    """A logger that passes TensorRT's messages to `logging` and keeps the errors for user errors.

    Attributes:
        errors: texts of the errors so far.
    """

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.errors: list[str] = []

    def log(self, severity: Any, msg: str) -> None:
        """Take a message; called by TensorRT."""
        if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
            self.errors.append(" ".join(msg.split()))
            _log.debug("TensorRT error: %s", msg)
        elif severity == trt.ILogger.Severity.WARNING:
            _log.debug("TensorRT warning: %s", msg)


def this_host(settings: BuildSettings) -> Host:
    """Describe this machine for engines of these settings; loads the plugin library if they need it.

    Raises:
        ConfigError: if there is no usable GPU, or the plugin library is missing or does not fit.
    """
    gpu = Gpu.open()
    plugins = library.load(trt).plan_version if settings.uses_plugins else None
    return Host(gpu.name, gpu.compute_capability, trt.__version__, plugins)


def load_engine(plan: Plan, logger: TensorRTLogger | None = None) -> Any:
    """Deserialize a plan into a `tensorrt.ICudaEngine`, its plugins loaded.

    Args:
        plan: built on this machine.
        logger: gets TensorRT's messages; a new one if not given.

    Raises:
        ConfigError: if there is no usable GPU, or the plugin library is missing or does not fit.
        ModelError: if the plan was built elsewhere or TensorRT refuses it.
    """
    difference = plan.mismatch(this_host(plan.settings))
    if difference is not None:
        raise ModelError(f"The plan cannot run here: {difference}; build it again with `fairmot build`.")
    logger = logger or TensorRTLogger()
    if plan.settings.dcn == "nvidia":
        trt.init_libnvinfer_plugins(logger, "")
    engine = trt.Runtime(logger).deserialize_cuda_engine(plan.engine)
    if engine is None:
        raise load_failure(trt.__version__, logger.errors)
    return engine
