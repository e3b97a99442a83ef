"""Shared by every package: the three records, the errors for users, the stage clock."""

from typing import TYPE_CHECKING

from fairmot.core.lazy import lazy_names

if TYPE_CHECKING:
    from fairmot.core.errors import ConfigError, EngineError, ModelError, OutputError, SourceError, UserError
    from fairmot.core.records import Detections, Frame, Track, Tracks, TrackState
    from fairmot.core.timing import StageClock
else:
    _ERRORS = ("ConfigError", "EngineError", "ModelError", "OutputError", "SourceError", "UserError")
    _RECORDS = ("Detections", "Frame", "Track", "TrackState", "Tracks")
    __getattr__, __dir__ = lazy_names(
        __name__,
        dict.fromkeys(_ERRORS, "fairmot.core.errors")
        | dict.fromkeys(_RECORDS, "fairmot.core.records")
        | {"StageClock": "fairmot.core.timing"},
    )

__all__ = [
    "ConfigError",
    "Detections",
    "EngineError",
    "Frame",
    "ModelError",
    "OutputError",
    "SourceError",
    "StageClock",
    "Track",
    "TrackState",
    "Tracks",
    "UserError",
]
