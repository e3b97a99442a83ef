"""The choice of the layers for deformable convolutions, by the plugins that this machine has or can build."""

from __future__ import annotations

import logging

from fairmot.core.errors import ConfigError, UserError
from fairmot.core.trust import private_cache
from fairmot.engine.graph.prepare import Dcn
from fairmot.engine.settings import DeformableConvolution
from fairmot.engine.trt.cache import locked
from fairmot.plugins import build, library

_log = logging.getLogger(__name__)


def choose_dcn(wanted: DeformableConvolution) -> Dcn:
    """Return what runs deformable convolutions; builds our plugins if they are wanted and not built yet.

    Raises:
        ConfigError: if `plugin` is wanted expressly and cannot be used.
    """
    if wanted in ("native", "nvidia"):
        return wanted
    if library.unavailable_reason() is None:
        return "plugin"
    try:
        with locked(private_cache("plugins") / "build"):
            if library.unavailable_reason() is not None:  # else another process has just built them
                _log.info("Building the TensorRT plugins, which is done once and takes about a minute.")
                build.build(report=lambda line: _log.debug("%s", line))
        return "plugin"
    except UserError as error:
        if wanted == "plugin":
            raise ConfigError(f"The TensorRT plugins cannot be used: {error}") from error
        _log.warning(
            "The TensorRT plugins cannot be built, so the network runs on native layers, which is slower: %s", error
        )
        return "native"
