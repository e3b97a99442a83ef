"""From pixels to detections: pre-processing, the network on one of several backends, decoding.

`open_engine()` is the way in; `Engine` is what it returns.
"""

from engine.base import Engine, EngineSettings
from engine.decode import HeadOutputs, back_project, decode
from engine.factory import open_engine
from engine.letterbox import Letterbox, letterbox
from engine.model import BUNDLED_WEIGHTS, ModelInfo

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
