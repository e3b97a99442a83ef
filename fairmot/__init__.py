"""FairMOT in production form: people or other objects in a video become tracks with identities.

This is the public API; what a name needs is imported when it is first used.

Example:
    with fairmot.open_source("video.mp4") as source, fairmot.open_engine() as engine:
        tracker = fairmot.FairMOTTracker(source.frame_rate, class_names=engine.model.class_names)
        for frame, tracks in fairmot.track_frames(source, engine, tracker):
            print(frame.index, tracks.ids, tracks.tlwh)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

_CHECKOUT = Path(__file__).resolve().parents[1]
if (_CHECKOUT / "run_track.py").is_file():  # not installed: each folder X of the checkout is fairmot.X
    __path__.append(str(_CHECKOUT))

if TYPE_CHECKING:
    from fairmot.app.pipeline import track_frames
    from fairmot.core.errors import ConfigError, EngineError, ModelError, OutputError, SourceError, UserError
    from fairmot.core.records import Detections, Frame, Track, Tracks, TrackState
    from fairmot.core.timing import StageClock
    from fairmot.core.version import __version__
    from fairmot.engine.base import Engine
    from fairmot.engine.factory import open_engine
    from fairmot.engine.settings import EngineSettings
    from fairmot.tracker.fairmot import FairMOTTracker
    from fairmot.tracker.settings import TrackerSettings
    from fairmot.video.sink import CSVSink, JSONLSink, MOTSink, Sink
    from fairmot.video.source import Source
    from fairmot.video.sources import open_source
    from fairmot.video.video_sink import VideoSink
    from fairmot.video.window import WindowSink
else:
    from fairmot.core.lazy import lazy_names

    _NAMES = {
        "fairmot.app.pipeline": ("track_frames",),
        "fairmot.core.errors": (
            "ConfigError",
            "EngineError",
            "ModelError",
            "OutputError",
            "SourceError",
            "UserError",
        ),
        "fairmot.core.records": ("Detections", "Frame", "Track", "TrackState", "Tracks"),
        "fairmot.core.timing": ("StageClock",),
        "fairmot.core.version": ("__version__",),
        "fairmot.engine.base": ("Engine",),
        "fairmot.engine.factory": ("open_engine",),
        "fairmot.engine.settings": ("EngineSettings",),
        "fairmot.tracker.fairmot": ("FairMOTTracker",),
        "fairmot.tracker.settings": ("TrackerSettings",),
        "fairmot.video.sink": ("CSVSink", "JSONLSink", "MOTSink", "Sink"),
        "fairmot.video.source": ("Source",),
        "fairmot.video.sources": ("open_source",),
        "fairmot.video.video_sink": ("VideoSink",),
        "fairmot.video.window": ("WindowSink",),
    }
    __getattr__, __dir__ = lazy_names(__name__, {name: module for module, names in _NAMES.items() for name in names})

__all__ = [
    "CSVSink",
    "ConfigError",
    "Detections",
    "Engine",
    "EngineError",
    "EngineSettings",
    "FairMOTTracker",
    "Frame",
    "JSONLSink",
    "MOTSink",
    "ModelError",
    "OutputError",
    "Sink",
    "Source",
    "SourceError",
    "StageClock",
    "Track",
    "TrackState",
    "TrackerSettings",
    "Tracks",
    "UserError",
    "VideoSink",
    "WindowSink",
    "__version__",
    "open_engine",
    "open_source",
    "track_frames",
]
