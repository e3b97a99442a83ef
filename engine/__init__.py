"""Detection: pre-processing, the network on one of several backends, decoding.

`open_engine()` opens a model and returns an `Engine`.
"""

from fairmot.engine.base import Engine, EngineSettings
from fairmot.engine.decode import HeadOutputs, decode, map_boxes
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
    "decode",
    "letterbox",
    "map_boxes",
    "open_engine",
]
