"""The sink that writes the annotated video, with PyAV."""

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

from fairmot.core import Frame, OutputError, Tracks
from fairmot.core.files import write_error
from fairmot.core.records import ByteArray
from fairmot.video.color import SMPTE170M
from fairmot.video.drawing import Trails, draw_tracks
from fairmot.video.mp4 import BUFFER_BYTES, OPTIONS, FragmentFile
from fairmot.video.sink import Sink

log = logging.getLogger(__name__)

ENCODERS = ("libx264", "mpeg4")

# Fine enough for any rate and exact for the usual ones, those of 1001/30000 s too; MPEG-4 part 2 allows up to 65535.
_TICKS = 60000
_QUEUE_FRAMES = 4
_LARGEST_ASPECT_TERM = 255  # of MPEG-4 part 2; H.264 takes more
_RATE_WINDOW = 30
# `validate_parameters` in x264's encoder/encoder.c, and the 13 bits of width and height in ISO/IEC 14496-2.
_LONGEST_SIDES = {"libx264": 16384, "mpeg4": 8191}
# Without B-frames the decoding times are the presentation times, and the last frame of a video of
# varying rate is not cut off by a duration counted in decoding times.
_OPTIONS = {"libx264": {"preset": "veryfast", "crf": "23", "bf": "0"}, "mpeg4": {"qscale": "4", "bf": "0"}}
# x264 otherwise holds back ten frames to look ahead and one per thread, which are seconds where frames come slowly.
_LOW_DELAY = {"libx264": {"tune": "zerolatency"}}


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


class VideoSink(Sink):
    """H.264 video (MP4) of the frames with their tracks drawn in.

    Converting, drawing and encoding run in a thread of their own, a few frames behind. Frames keep their
    timestamps, from 0, so a varying rate stays as it was. An odd width or height is made even by
    repeating the last column or row. A video without frames leaves no file.

    The file plays at any moment (see `fairmot.video.mp4`): what a killed process or a full disk leaves lacks the
    frames that were still in the encoder and up to half a second before them.

    Args:
        path: the file; it is replaced, and folders above it are made.
        size: `(width, height)` of the frames.
        frame_rate: of the source; a hint for players and the encoder.
        encoders: FFmpeg encoders in order of preference; the first that exists is used.
        pixel_aspect: width of a pixel divided by its height, as players are to show it.
        low_delay: encode every frame at once, for a somewhat larger file: a kill then loses half a second of a live
            source at most, however slowly its frames come.
        class_names: by class id; of two or more, labels show them.

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
    ) -> None:
        self._path = Path(path)
        self._class_names = class_names
        self._size = size
        self._encoder = _first_available(encoders)
        try:
            self._file = FragmentFile(self._path)
        except OSError as error:
            raise write_error(self._path, error) from error
        try:
            self._container = av.open(self._file, "w", format="mp4", options=OPTIONS, buffer_size=BUFFER_BYTES)
            self._stream = self._add_stream(Fraction(frame_rate).limit_denominator(1001), pixel_aspect, low_delay)
        except BaseException:
            self._file.remove()
            raise
        self._meter = RateMeter()
        self._trails = Trails()
        self._first_time: float | None = None
        self._last_tick = -1
        self._closed = False
        self._failed = False
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
            OutputError: if frames could not be written and `write` has not raised that yet.
        """
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._thread.join()
        self._raise_error()

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is None:
            return
        if self._file.error is not None:
            raise write_error(self._path, self._file.error) from error
        if isinstance(error, av.FFmpegError):
            raise self._encoder_error(error) from error
        raise error

    def _encoder_error(self, error: av.FFmpegError) -> OutputError:
        width, height = self._size
        reason = (getattr(error, "strerror", None) or type(error).__name__).lower()
        longest = _LONGEST_SIDES.get(self._encoder)
        if longest is not None and max(self._size) > longest:
            reason = f"it takes at most {longest} pixels a side"
        return OutputError(
            f"{self._path}: the encoder {self._encoder} cannot take frames of {width}x{height} pixels ({reason}); "
            "leave the video out with --no-video."
        )

    def _run(self) -> None:
        """Encode until `close`; after an error continue to accept frames, so that `write` never blocks."""
        while (item := self._queue.get()) is not None:
            if self._failed:
                continue
            try:
                self._encode(*item)
            except Exception as error:  # raised again by the next write or by close
                self._fail(error)
        self._finish()

    def _fail(self, error: Exception) -> None:
        if not self._failed:
            self._error, self._failed = error, True

    def _encode(self, frame: Frame, tracks: Tracks, rate: float) -> None:
        image = frame.bgr.copy()  # the source, or another sink, may still use the frame
        self._trails.update(tracks)
        draw_tracks(image, tracks, self._trails, caption(frame, tracks, rate), self._class_names)
        encoded = self._to_yuv(image)
        if self._first_time is None:
            self._first_time = frame.timestamp
        # The encoder needs rising times, whatever the source states.
        tick = max(round((frame.timestamp - self._first_time) * _TICKS), self._last_tick + 1)
        self._last_tick = tick
        encoded.pts, encoded.time_base = tick, Fraction(1, _TICKS)
        self._container.mux(self._stream.encode(encoded))

    def _add_stream(self, rate: Fraction, pixel_aspect: Fraction, low_delay: bool) -> Any:
        """Add the stream to the container and open its encoder, which raises if it cannot take such frames."""
        options = {**_OPTIONS.get(self._encoder, {}), **(_LOW_DELAY.get(self._encoder, {}) if low_delay else {})}
        stream: Any = self._container.add_stream(self._encoder, rate=rate, options=options)
        stream.width, stream.height = (side + side % 2 for side in self._size)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, _TICKS)
        stream.codec_context.colorspace = SMPTE170M
        stream.codec_context.color_range = int(ColorRange.MPEG)
        if pixel_aspect != 1:
            shape = pixel_aspect.limit_denominator(_LARGEST_ASPECT_TERM)
            stream.sample_aspect_ratio = stream.codec_context.sample_aspect_ratio = shape
        try:
            stream.codec_context.open()
        except av.FFmpegError as error:  # after which PyAV 19 crashes if the context is asked for anything
            raise self._encoder_error(error) from error
        return stream

    def _to_yuv(self, image: ByteArray) -> av.VideoFrame:
        width, height = self._size
        if width % 2 or height % 2:
            image = np.asarray(cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE), np.uint8)
        # BT.601, limited range, five times faster than swscale (1080p: 0.9 against 4.5 ms of CPU).
        planes = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420), np.uint8)
        return av.VideoFrame.from_ndarray(planes, format="yuv420p")

    def _finish(self) -> None:
        """Flush the encoder and close the file; keep what plays of it if that fails, remove it if it is empty."""
        if self._first_time is None:
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
