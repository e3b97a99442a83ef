"""The annotated video, written with PyAV."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange

from core import Frame, OutputError, Tracks
from core.records import ByteArray
from video.color import SMPTE170M
from video.drawing import Trails, draw_tracks
from video.sink import Sink, create_file, write_error

log = logging.getLogger(__name__)

ENCODERS = ("libx264", "mpeg4")

# Fine enough for any rate and exact for the usual ones, those of 1001/30000 s too; MPEG-4 part 2 allows up to 65535.
_TICKS = 60000
_QUEUE_FRAMES = 4
_RATE_WINDOW = 30
# Without B-frames the decoding times are the presentation times, and the last frame of a video of
# varying rate is not cut off by a duration counted in decoding times.
_OPTIONS = {"libx264": {"preset": "veryfast", "crf": "23", "bf": "0"}, "mpeg4": {"qscale": "4", "bf": "0"}}


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
    """Return the line shown in the corner of annotated pictures."""
    return f"frame {frame.index}  tracks {len(tracks)}  {rate:.1f} fps"


class VideoSink(Sink):
    """H.264 video (MP4) of the frames with their tracks drawn in.

    Converting, drawing and encoding run in a thread of their own, a few frames behind. Frames keep their
    timestamps, from 0, so a varying rate stays as it was. An odd width or height is made even by
    repeating the last column or row. A video without frames leaves no file.

    Args:
        path: the file; it is replaced, and folders above it are made.
        size: `(width, height)` of the frames.
        frame_rate: of the source; a hint for players and the encoder.
        encoders: FFmpeg encoders in order of preference; the first that exists is used.

    Raises:
        OutputError: if the file cannot be made or there is no encoder.
    """

    def __init__(
        self, path: Path | str, size: tuple[int, int], frame_rate: float, encoders: Sequence[str] = ENCODERS
    ) -> None:
        self._path = Path(path)
        self._size = size
        self._rate = Fraction(frame_rate).limit_denominator(1001)
        self._encoder = _first_available(encoders)
        create_file(self._path)
        self._meter = RateMeter()
        self._trails = Trails()
        self._container: av.container.OutputContainer | None = None
        self._stream: Any = None
        self._first_time = 0.0
        self._last_tick = -1
        self._closed = False
        self._error: Exception | None = None
        self._queue: queue.Queue[tuple[Frame, Tracks, float] | None] = queue.Queue(_QUEUE_FRAMES)
        self._thread = threading.Thread(target=self._run, name="video-sink", daemon=True)
        self._thread.start()

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Queue a frame, waiting for room.

        Raises:
            OutputError: if an earlier frame could not be written.
        """
        self._raise_error()
        self._queue.put((frame, tracks, self._meter.tick()))

    def close(self) -> None:
        """Encode what is queued and finish the file.

        Raises:
            OutputError: if frames could not be written and `write` has not said so yet.
        """
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._thread.join()
        self._raise_error()

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if isinstance(error, OSError | av.FFmpegError):
            raise write_error(self._path, error) from error
        if error is not None:
            raise error

    def _run(self) -> None:
        """Encode until `close`; after an error go on taking frames, so that `write` never blocks."""
        failed = False
        while (item := self._queue.get()) is not None:
            if failed:
                continue
            try:
                self._encode(*item)
            except Exception as error:  # raised again by the next write or by close
                self._error, failed = error, True
        try:
            self._finish(failed)
        except Exception as error:
            self._error = self._error if failed else error

    def _encode(self, frame: Frame, tracks: Tracks, rate: float) -> None:
        if self._container is None:
            self._open(frame)
        image = frame.bgr.copy()  # the source, or another sink, may still use the frame
        self._trails.update(tracks)
        draw_tracks(image, tracks, self._trails, caption(frame, tracks, rate))
        picture = self._to_yuv(image)
        # The encoder needs rising times, whatever the source says.
        tick = max(round((frame.timestamp - self._first_time) * _TICKS), self._last_tick + 1)
        self._last_tick = tick
        picture.pts, picture.time_base = tick, Fraction(1, _TICKS)
        self._mux(picture)

    def _open(self, frame: Frame) -> None:
        """Open the container with the first frame, so that no frames means no video."""
        self._first_time = frame.timestamp
        self._container = av.open(f"file:{self._path}", "w", format="mp4")
        stream: Any = self._container.add_stream(
            self._encoder, rate=self._rate, options=_OPTIONS.get(self._encoder, {})
        )
        stream.width, stream.height = (side + side % 2 for side in self._size)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, _TICKS)
        stream.codec_context.colorspace = SMPTE170M
        stream.codec_context.color_range = int(ColorRange.MPEG)
        self._stream = stream

    def _to_yuv(self, image: ByteArray) -> av.VideoFrame:
        width, height = self._size
        if width % 2 or height % 2:
            image = np.asarray(cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE), np.uint8)
        # BT.601, limited range, five times faster than swscale (1080p: 0.9 against 4.5 ms of CPU).
        planes = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420), np.uint8)
        return av.VideoFrame.from_ndarray(planes, format="yuv420p")

    def _mux(self, picture: av.VideoFrame | None) -> None:
        """Encode a picture, or flush the encoder with None, and write what comes out."""
        if self._container is not None:
            self._container.mux(self._stream.encode(picture))

    def _finish(self, failed: bool) -> None:
        """Flush the encoder and close the file; remove it if nothing was written."""
        if self._container is None:
            self._path.unlink(missing_ok=True)
            return
        try:
            if not failed:
                self._mux(None)
        finally:
            self._container.close()


def _first_available(encoders: Sequence[str]) -> str:
    """Return the first encoder that FFmpeg has here, with a warning if it is not the preferred one."""
    for name in encoders:
        try:
            av.Codec(name, "w")
        except ValueError:  # PyAV's UnknownCodecError
            continue
        if name != encoders[0]:
            log.warning("FFmpeg lacks the encoder %s here; the video is written with %s.", encoders[0], name)
        return name
    raise OutputError(f"FFmpeg has none of the encoders {', '.join(encoders)}; install the av wheel from PyPI.")
