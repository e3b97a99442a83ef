"""TensorRT as the rest of `engine` sees it: imported once, its messages logged, plugins loaded, plans opened."""

from __future__ import annotations

import logging
from typing import Any

import tensorrt as trt

from fairmot.core.errors import ModelError
from fairmot.engine.cuda.gpu import Gpu
from fairmot.engine.trt.plan import BuildSettings, Host, Plan
from fairmot.plugins import library

_log = logging.getLogger(__name__)

STRONGLY_TYPED = int(trt.__version__.split(".")[0]) >= 10
"""Whether the types in a graph decide the precision; before, they are stated layer by layer (`trt_weak_types`)."""

HALF_IMAGES = trt.TensorFormat.HWC8 if STRONGLY_TYPED else trt.TensorFormat.CHW4
"""Format of float16 images. Four channels, which the first convolution reads, are for INT8 only from version 10 on."""


class TensorRTLogger(trt.ILogger):  # type: ignore[misc] # untyped
    """Passes TensorRT's messages to `logging` and keeps the errors, for messages to the user.

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


def deserialise(plan: Plan, logger: Any = None) -> Any:
    """Do what `fairmot.engine.trt.plan.load_engine` says."""
    difference = plan.mismatch(this_host(plan.settings))
    if difference is not None:
        raise ModelError(f"The plan cannot run here: {difference}; build it again with `fairmot build`.")
    logger = logger or TensorRTLogger()
    if plan.settings.dcn == "nvidia":
        trt.init_libnvinfer_plugins(logger, "")
    engine = trt.Runtime(logger).deserialize_cuda_engine(plan.engine)
    if engine is None:
        errors = getattr(logger, "errors", None) or ["see TensorRT's messages above"]
        raise ModelError(
            f"TensorRT {trt.__version__} refuses the plan ({errors[-1].rstrip('.')}): build it again with "
            "`fairmot build`."
        )
    return engine
