"""The sink that writes the annotated video, with PyAV."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from fairmot.core import Frame, Tracks
from fairmot.core.files import write_error
from fairmot.video.canvas import Canvas
from fairmot.video.drawing import Trails, draw_tracks
from fairmot.video.encoders import ENCODERS, TICKS, EncoderSettings, choose
from fairmot.video.mp4 import BUFFER_BYTES, OPTIONS, FragmentFile
from fairmot.video.planes import Layout, drawable, encodable, fitted
from fairmot.video.sink import Sink

_QUEUE_FRAMES = 4
_RATE_WINDOW = 30
_EARLY = 0.25  # of the time between two frames, by which one may come before its time


class RateMeter:
    """Frames per second over the last `_RATE_WINDOW` calls."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=_RATE_WINDOW + 1)

    def tick(self) -> float:
        """Count a frame and return the rate, 0 for the first."""
        self._times.append(time.perf_counter())
        passed = self._times[-1] - self._times[0]
        return (len(self._times) - 1) / passed if passed > 0 else 0.0


def caption(frame: Frame, tracks: Tracks, rate: float) -> str:
    """Return the line in the corner of annotated frames."""
    return f"frame {frame.index}  tracks {len(tracks)}  {rate:.1f} fps"


class FrameRateLimit:
    """A choice of frames that keeps a rate on average, by their timestamps.

    Args:
        rate: most frames per second; None for all.
    """

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._first = 0.0
        self._last: int | None = None

    def admits(self, timestamp: float) -> bool:
        """Return whether the next frame, with a time in seconds, is chosen; the first one is."""
        if self._rate is None:
            return True
        if self._last is None:
            self._first, self._last = timestamp, 0
            return True
        place = math.floor((timestamp - self._first) * self._rate + _EARLY)
        if place <= self._last:
            return False
        self._last = place
        return True


class VideoSink(Sink):
    """H.264 video (MP4) of the frames with their tracks drawn in.

    Drawing and encoding run in a thread each, a few frames behind. Frames keep their
    timestamps, from 0, so a varying rate stays as it was. An odd width or height is made even by
    repeating the last column or row. A video without frames leaves no file.

    Frames in planes (`yuv420p`, `nv12`) are drawn into as they are, and the video has the matrix and the range of the
    first one, where the encoder can state them. BGR becomes BT.601 in limited range.

    The file plays at any moment (see `fairmot.video.mp4`): what a killed process or a full disk leaves lacks the
    frames that were still in the encoder and up to half a second before them.

    Args:
        path: the file; it is replaced, and folders above it are made.
        size: `(width, height)` of the frames.
        frame_rate: of the source; a hint for players and the encoder.
        encoders: FFmpeg encoders in order of preference; the first that works here is used.
        pixel_aspect: width of a pixel divided by its height, as players are to show it.
        low_delay: encode every frame at once, for a somewhat larger file: a kill then loses half a second of a live
            source at most, however slowly its frames come.
        class_names: by class id; of two or more, labels show them.
        max_size: `(width, height)` into which larger frames are scaled down, with their proportions.
        max_frame_rate: most frames per second of timestamps; others are left out.
        in_place: whether the pixels of frames that are written, in planes, may be drawn into and read until they are
            encoded, instead of a copy; they are let go as soon as that is done. At most seven frames are held.

    Raises:
        OutputError: if the file cannot be made, there is no encoder, or it cannot take frames of this size.
    """

    def __init__(
        self,
        path: Path | str,
        size: tuple[int, int],
        frame_rate: float,
        encoders: Sequence[str] = ENCODERS,
        *,
        pixel_aspect: Fraction = Fraction(1),
        low_delay: bool = False,
        class_names: Sequence[str] = (),
        max_size: tuple[int, int] | None = None,
        max_frame_rate: float | None = None,
        in_place: bool = False,
    ) -> None:
        self._path = Path(path)
        self._class_names = class_names
        self._in_place = in_place
        self._limit = FrameRateLimit(max_frame_rate)
        self._size = fitted(size, max_size)
        self._scale = np.ones(4, np.float32)
        if self._size[0] < size[0] or self._size[1] < size[1]:
            self._scale = np.tile(np.array(self._size, np.float32) / np.array(size, np.float32), 2)
        rate = Fraction(min(frame_rate, max_frame_rate or frame_rate)).limit_denominator(1001)
        name = choose(encoders, self._size)
        self._settings = EncoderSettings(name, self._size, rate, pixel_aspect, low_delay)
        try:
            self._settings.check()
        except av.FFmpegError as error:
            raise self._settings.explained(error, self._path) from error
        try:
            self._file = FragmentFile(self._path)
        except OSError as error:
            raise write_error(self._path, error) from error
        try:
            self._container = av.open(self._file, "w", format="mp4", options=OPTIONS, buffer_size=BUFFER_BYTES)
        except BaseException:
            self._file.remove()
            raise
        self._stream: Any = None  # from the first frame on
        self._layout: Layout
        self._meter = RateMeter()
        self._trails = Trails()
        self._first_time = 0.0
        self._last_tick = -1
        self._closed = False
        self._failed = False
        self._error: Exception | None = None
        self._tracked: queue.Queue[tuple[Frame, Tracks, float] | None] = queue.Queue(_QUEUE_FRAMES)
        self._drawn: queue.Queue[Frame | None] = queue.Queue(1)
        self._threads = [
            threading.Thread(target=self._draw_all, name="video-sink", daemon=True),
            threading.Thread(target=self._encode_all, name="video-sink-encoder", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Queue a frame, waiting for room.

        Raises:
            OutputError: if an earlier frame could not be written.
        """
        self._raise_error()
        self._tracked.put((frame, tracks, self._meter.tick()))

    def close(self) -> None:
        """Encode what is queued and finish the file.

        Raises:
            OutputError: if frames could not be written and `write` has not raised that yet.
        """
        if self._closed:
            return
        self._closed = True
        self._tracked.put(None)
        for thread in self._threads:
            thread.join()
        self._raise_error()

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is None:
            return
        if self._file.error is not None:
            raise write_error(self._path, self._file.error) from error
        if isinstance(error, av.FFmpegError):
            raise self._settings.explained(error, self._path) from error
        raise error

    def _fail(self, error: Exception) -> None:
        """Keep an error, which is raised by the next `write` or by `close`."""
        if not self._failed:
            self._error, self._failed = error, True

    # After an error both threads continue to accept frames, so that `write` never blocks. They hold no frame while
    # they wait for the next one.

    def _draw_all(self) -> None:
        while (item := self._tracked.get()) is not None:
            if not self._failed:
                try:
                    self._draw(*item)
                except Exception as error:
                    self._fail(error)
            del item
        self._drawn.put(None)

    def _encode_all(self) -> None:
        failed = False
        while (frame := self._drawn.get()) is not None:
            if not failed:
                try:
                    self._encode(frame)
                except Exception as error:
                    self._fail(error)
                    failed = True
            del frame
        self._finish()

    def _draw(self, frame: Frame, tracks: Tracks, rate: float) -> None:
        text = caption(frame, tracks, rate)
        tracks = replace(tracks, tlwh=tracks.tlwh * self._scale)
        self._trails.update(tracks)
        if not self._limit.admits(frame.timestamp):
            return
        planes = drawable(frame, self._size, in_place=self._in_place)
        draw_tracks(Canvas.of_planes(planes), tracks, self._trails, text, self._class_names)
        self._drawn.put(planes)

    def _encode(self, frame: Frame) -> None:
        if self._stream is None:
            self._add_stream(frame)
            self._first_time = frame.timestamp
        # x264 copies planes at once; other encoders may hold on to them.
        encoded = encodable(frame, self._layout, shared=self._settings.name == "libx264")
        # The encoder needs rising times, whatever the source states.
        tick = max(round((frame.timestamp - self._first_time) * TICKS), self._last_tick + 1)
        self._last_tick = tick
        encoded.pts, encoded.time_base = tick, Fraction(1, TICKS)
        self._container.mux(self._stream.encode(encoded))

    def _add_stream(self, frame: Frame) -> None:
        """Add the stream to the container and open its encoder, for frames like the first one."""
        settings = self._settings
        stream: Any = self._container.add_stream(settings.name, rate=settings.frame_rate)
        self._layout = settings.layout(Layout.of(frame))
        settings.apply(stream.codec_context, self._layout)
        stream.time_base = stream.codec_context.time_base
        if settings.pixel_aspect != 1:
            stream.sample_aspect_ratio = stream.codec_context.sample_aspect_ratio
        stream.codec_context.open()
        self._stream = stream

    def _finish(self) -> None:
        """Flush the encoder and close the file; keep what plays of it if that fails, remove it if it is empty."""
        if self._stream is None:
            self._file.remove()
            return
        try:
            if self._file.error is None:
                self._container.mux(self._stream.encode(None))
        except Exception as error:
            self._fail(error)
        try:
            self._container.close()  # writes the index, also after an error that was not the file's
            self._file.finish()
        except Exception as error:
            self._fail(error)
            self._file.cut()
