"""Which plan a TensorRT engine runs: from the cache or built now, with our plugins if they can be had."""

from __future__ import annotations

import logging

from fairmot.core.errors import ModelError
from fairmot.engine.cuda.gpu import Gpu
from fairmot.engine.model import ModelInfo
from fairmot.engine.settings import EngineSettings
from fairmot.engine.trt.builder import build_plan, cached_plan
from fairmot.engine.trt.dcn_choice import choose_dcn
from fairmot.engine.trt.network import TensorRTNetwork
from fairmot.engine.trt.plan import BuildSettings, Plan

_log = logging.getLogger(__name__)

_DESCRIPTIONS = {
    "plugin": "with this project's plugins",
    "native": "with native layers for deformable convolutions",
    "nvidia": "with NVIDIA's plugin for deformable convolutions",
}


def open_network(model: ModelInfo, settings: EngineSettings, gpu: Gpu) -> tuple[TensorRTNetwork, str]:
    """Return a model ready to run, built if the cache has no plan for this machine, and a few words about it.

    Raises:
        ConfigError: if what is asked for cannot be had here.
        ModelError: if TensorRT cannot build or load the model.
    """
    dcn = choose_dcn(settings.dcn)
    batches = (1,) if settings.batch == 1 else (1, settings.batch)
    building = BuildSettings(settings.size or model.size, batches, settings.precision, dcn)
    path = cached_plan(model, building)
    try:
        network = TensorRTNetwork(Plan.read(path), gpu)
    except ModelError as error:
        _log.warning("The cached plan cannot be used and is built again: %s", error)
        network = TensorRTNetwork(Plan.read(build_plan(model, building, path)), gpu)
    return network, _DESCRIPTIONS[dcn]
