"""What every package shares: the three records, the error that users see, the stage clock."""

from core.errors import ConfigError, EngineError, ModelError, OutputError, SourceError, UserError
from core.records import Detections, Frame, Track, Tracks, TrackState
from core.timing import StageClock

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
