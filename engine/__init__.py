"""Detection: pre-processing, the network on one of several backends, decoding.

`open_engine()` opens a model and returns an `Engine`.
"""

from typing import TYPE_CHECKING

from fairmot.core.lazy import lazy_names

if TYPE_CHECKING:
    from fairmot.engine.base import Engine
    from fairmot.engine.decode import HeadOutputs, map_boxes
    from fairmot.engine.factory import open_engine
    from fairmot.engine.letterbox import Letterbox
    from fairmot.engine.model import BUNDLED_WEIGHTS, ModelInfo
    from fairmot.engine.settings import EngineSettings
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "BUNDLED_WEIGHTS": "fairmot.engine.model",
            "Engine": "fairmot.engine.base",
            "EngineSettings": "fairmot.engine.settings",
            "HeadOutputs": "fairmot.engine.decode",
            "Letterbox": "fairmot.engine.letterbox",
            "ModelInfo": "fairmot.engine.model",
            "map_boxes": "fairmot.engine.decode",
            "open_engine": "fairmot.engine.factory",
        },
    )

__all__ = [
    "BUNDLED_WEIGHTS",
    "Engine",
    "EngineSettings",
    "HeadOutputs",
    "Letterbox",
    "ModelInfo",
    "map_boxes",
    "open_engine",
]
