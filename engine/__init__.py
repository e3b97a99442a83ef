"""From pixels to detections: pre-processing, the network on one of several backends, decoding.

`open_engine()` is the way in; `Engine` is what it returns.
"""

from fairmot.engine.base import Engine, EngineSettings
from fairmot.engine.decode import HeadOutputs, back_project, decode
from fairmot.engine.factory import open_engine
from fairmot.engine.letterbox import Letterbox, letterbox
from fairmot.engine.model import BUNDLED_WEIGHTS, ModelInfo

__all__ = [
    "BUNDLED_WEIGHTS",
    "Engine",
    "EngineSettings",
    "HeadOutputs",
    "Letterbox",
    "ModelInfo",
    "back_project",
    "decode",
    "letterbox",
    "open_engine",
]
