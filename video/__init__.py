"""Frames in (file, folder, MOT sequence, camera, stream) and results out (video, MOT text, JSON lines, window)."""

from video.drawing import Trails, draw_tracks
from video.sink import JSONLSink, MOTSink, Sink
from video.source import Source
from video.sources import expand_sources, open_source
from video.video_sink import VideoSink
from video.window import WindowSink

__all__ = [
    "JSONLSink",
    "MOTSink",
    "Sink",
    "Source",
    "Trails",
    "VideoSink",
    "WindowSink",
    "draw_tracks",
    "expand_sources",
    "open_source",
]
