"""Shared by every package: the three records, the errors for users, the stage clock."""

from fairmot.core.errors import ConfigError, EngineError, ModelError, OutputError, SourceError, UserError
from fairmot.core.records import Detections, Frame, Track, Tracks, TrackState
from fairmot.core.timing import StageClock

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
