"""What every package shares: the three records, the error that users see, the stage clock."""

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
