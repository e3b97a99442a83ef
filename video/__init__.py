"""Frames in (file, folder, sequence, camera, URL) and results out (video, text, JSON lines, CSV, window)."""

from fairmot.video.drawing import Trails, draw_tracks
from fairmot.video.sink import CSVSink, JSONLSink, MOTSink, Sink
from fairmot.video.source import Source
from fairmot.video.sources import expand_sources, open_source
from fairmot.video.subtitle_sink import SubtitleSink
from fairmot.video.video_sink import VideoSink
from fairmot.video.window import WindowSink

__all__ = [
    "CSVSink",
    "JSONLSink",
    "MOTSink",
    "Sink",
    "Source",
    "SubtitleSink",
    "Trails",
    "VideoSink",
    "WindowSink",
    "draw_tracks",
    "expand_sources",
    "open_source",
]
