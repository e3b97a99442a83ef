"""Frames from anything FFmpeg reads: video files and network streams, through PyAV."""

from __future__ import annotations

import itertools
import logging
import math
import re
import struct
from collections.abc import Iterable, Iterator
from typing import Any, Literal, cast
from urllib.parse import urlsplit, urlunsplit

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from core import Frame, SourceError
from core.limits import MAX_PIXELS
from core.records import ByteArray
from video.color import color_space
from video.source import Source

log = logging.getLogger(__name__)

SourceFormat = Literal["bgr24", "yuv420p"]

DEFAULT_FRAME_RATE = 30.0

_TIMEOUT_SECONDS = 10.0
_CLOCK_RESET_SECONDS = 1.0  # a larger step back is a new clock (joined files, wrap-around), not jitter
_PLANAR = {"yuv420p": "yuv420p", "yuvj420p": "yuv420p", "nv12": "nv12"}
_QUARTER_TURNS = {1: cv2.ROTATE_90_COUNTERCLOCKWISE, 2: cv2.ROTATE_180, 3: cv2.ROTATE_90_CLOCKWISE}
_LIVE_SCHEMES = {"rtmp", "rtmps", "rtp", "rtsp", "rtsps", "srt", "tcp", "udp"}


class VideoSource(Source):
    """A video file or a network stream.

    Frame 1 is the first frame that can be decoded, time 0 its presentation time. Numbers count the
    frames that come out of the decoder, as other programs count them; a frame lost to damage keeps
    its number. `start` decodes and drops what comes before: seeking would be faster, but its frame
    numbers are a guess. The frame rate is the container's average, else FFmpeg's guess, else its base
    rate, else 30. The number of frames is what the container states (mp4, mov, avi), else unknown.

    Display rotation by quarter turns is undone, so `width` and `height` are those seen on a screen.
    Frames that change size later are resized to the first one's, as FFmpeg does.

    A stream is live (see `Source`) if its protocol is (rtsp and the like) or if it has no duration.
    The end of a live stream, and damage in a file, are told by `damaged`; a stream that breaks off or does
    not answer for 10 seconds is a `SourceError`.

    Args:
        location: path of a file, or a URL.
        pixel_format: `yuv420p` hands over 8-bit 4:2:0 planes of even size that need no rotation as
            they are; all other frames are BGR.
        max_pixels: most pixels of a frame.

    Raises:
        SourceError: if it cannot be opened or holds no frame that can be decoded.
    """

    def __init__(self, location: str, *, pixel_format: SourceFormat = "bgr24", max_pixels: int = MAX_PIXELS) -> None:
        self._max_pixels = max_pixels
        self._is_url = is_url(location)
        self._label = without_credentials(location) if self._is_url else location
        self._planes_wanted = pixel_format == "yuv420p"
        self._reformatter = VideoReformatter()
        self._ended_early = False
        self._errors = 0
        self._packets = 0
        self._container = self._open(location)
        try:
            self._stream = self._video_stream()
            scheme = urlsplit(location).scheme if self._is_url else "file"
            live = scheme in _LIVE_SCHEMES or (self._is_url and scheme != "file" and self._container.duration is None)
            # Decoding frames in parallel delays each by the number of threads.
            self._stream.thread_type = "SLICE" if live else "AUTO"
            pictures = self._pictures()
            number, first = next(pictures, (0, None))
            if first is None:
                raise SourceError(f"{self._label} holds no video frame that can be decoded; check that it is complete.")
        except BaseException:
            self._container.close()
            raise
        self._numbered_pictures = itertools.chain([(number, first)], pictures)
        self._coded_size = first.width, first.height
        self._turns = _quarter_turns(first)
        known = self._stream.frames if not live else 0
        super().__init__(
            _name_of(location) if self._is_url else re.split(r"[\\/]", location)[-1].rsplit(".", 1)[0],
            (first.height, first.width) if self._turns % 2 else (first.width, first.height),
            float(self._rate()),
            numbers=range(1, known + 1) if known > 0 else None,
            is_live=live,
        )

    def _open(self, location: str) -> av.container.InputContainer:
        """Open the container; FFmpeg's own messages stay off the terminal (PyAV discards them by default)."""
        options = {"rtsp_transport": "tcp"} if location.startswith("rtsp") else {}
        try:
            if self._is_url:
                return av.open(location, options=options, timeout=(_TIMEOUT_SECONDS, _TIMEOUT_SECONDS))
            # The prefix keeps a file name with a colon from being read as a protocol.
            return av.open(f"file:{location}")
        except av.FFmpegError as error:
            if self._is_url:
                raise SourceError(f"The stream {self._label} cannot be opened: {_reason(error)}.") from error
            if isinstance(error, PermissionError):
                raise SourceError(f"{location} cannot be read: {_reason(error)}.") from error
            raise SourceError(
                f"{location} is not a video that can be read, or is cut off: {_reason(error)}."
            ) from error

    def _video_stream(self) -> Any:
        """Return the first real video stream; cover pictures of audio files and text are none."""
        for stream in self._container.streams.video:
            picture = int(getattr(stream, "disposition", 0)) & 0x0400  # AV_DISPOSITION_ATTACHED_PIC
            if not picture and self._container.format.name != "tty":
                return stream
        raise SourceError(f"{self._label} holds no video; give a video file.")

    def _rate(self) -> float:
        stream = self._stream
        for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
            if rate:
                return float(rate)
        return DEFAULT_FRAME_RATE

    def _pictures(self) -> Iterator[tuple[int, av.VideoFrame]]:
        """Yield decoded pictures with their numbers until the end or the first break in the container."""
        number = 0
        for packet in self._read_packets():
            try:
                pictures = packet.decode() if packet is not None else self._stream.codec_context.decode(None)
            except av.FFmpegError as error:
                # Streams are often joined between key frames: errors before the first picture are no damage.
                if number:
                    log.debug("%s: a packet after frame %d: %s", self._label, number, error)
                    self._errors += 1
                    number += 1
                continue
            for picture in pictures:
                number += 1
                self._errors += bool(picture.is_corrupt)
                yield number, cast(av.VideoFrame, picture)

    def _read_packets(self) -> Iterator[Any]:
        """Yield packets, and None to flush the decoder if the container breaks off."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError as error:
                if self._is_url:
                    raise SourceError(f"The stream {self._label} broke off: {_reason(error)}.") from error
                self._ended_early = True
                yield None
                return
            if packet is None:
                return
            self._packets += packet.size > 0
            yield packet

    def _frames(self) -> Iterator[Frame]:
        number, time = 0, 0.0
        zero: float | None = None
        for number, picture in self._numbered_pictures:
            last_time = time
            stamp = self._presentation_time(picture)
            if stamp is None:
                time = (number - 1) / self.frame_rate
            else:
                zero = stamp if zero is None else zero
                time = stamp - zero
            if number > 1 and time <= last_time:
                step = last_time + 1.0 / self.frame_rate - time
                time += step
                if zero is not None and step > _CLOCK_RESET_SECONDS:
                    zero -= step
            if self._wanted(number):
                yield self._frame(number, time, picture)
        self._note_damage(number, time)

    def _presentation_time(self, picture: av.VideoFrame) -> float | None:
        """Return seconds by the clock of the stream, if it gives any."""
        # AVI knows decoding times only; what FFmpeg calls presentation times jumps back at B-frames there.
        ticks = picture.dts if self._container.format.name == "avi" and picture.dts is not None else picture.pts
        return None if ticks is None or picture.time_base is None else float(ticks * picture.time_base)

    def _note_damage(self, number: int, time: float) -> None:
        """Set `damaged`, and warn, if the source ended before its end or parts could not be decoded."""
        if self.is_live:
            self.damaged = f"The stream {self._label} ended after frame {number}."
        elif self._ended_early or self._is_short(time):
            self.damaged = f"{self._label} is cut off or damaged: it breaks off after frame {number}."
        elif self._errors:
            self.damaged = f"{self._label} is damaged; frames that are wrong or missing: {self._errors}."
        if self.damaged:
            log.warning("%s", self.damaged)

    def _is_short(self, time: float) -> bool:
        """Tell whether fewer packets came, or time passed, than the container states (with some slack)."""
        stated = self._stream.frames
        if stated > 0:
            return bool(self._packets < stated - max(2, stated // 100))
        match = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", self._stream.metadata.get("DURATION", ""))  # Matroska
        if match is None:
            return False
        hours, minutes, seconds = map(float, match.groups())
        duration = 3600 * hours + 60 * minutes + seconds
        slack = max(1.0, 0.01 * duration, 5 / self.frame_rate)
        return bool(time + slack < duration)

    def _frame(self, number: int, time: float, picture: av.VideoFrame) -> Frame:
        """Convert a decoded picture, or hand its planes over as they are."""
        size = picture.width, picture.height
        space = color_space(int(picture.colorspace), self._coded_size)
        full_range = int(picture.color_range) == 2 or picture.format.name.startswith("yuvj")
        width, height = self._coded_size
        planar = _PLANAR.get(picture.format.name)
        as_planes = self._planes_wanted and planar is not None and not self._turns and not (width % 2 or height % 2)
        if size != self._coded_size:
            shown = size if not self._turns % 2 else (size[1], size[0])
            self._report_resize(number, shown)
        if size != self._coded_size or not as_planes:
            # Swscale knows by itself that gray and palettes are full range.
            yuv = not picture.format.is_rgb and not picture.format.has_palette and len(picture.format.components) >= 3
            source_range = ColorRange.JPEG if full_range else ColorRange.MPEG
            picture = self._reformatter.reformat(
                picture,
                width,
                height,
                picture.format.name if as_planes else "bgr24",
                src_colorspace=Colorspace[space] if yuv else None,
                dst_colorspace=Colorspace[space] if yuv and as_planes else None,
                src_color_range=source_range if yuv else None,
                dst_color_range=source_range if as_planes else ColorRange.JPEG,
            )
        if as_planes:
            pixels = _copy_planes(picture, self.allocate((height * 3 // 2, width)))
            return Frame(number, time, pixels, cast(Any, planar), space, full_range)
        pixels = cast(ByteArray, picture.to_ndarray())
        if self._turns:
            pixels = np.asarray(cv2.rotate(pixels, _QUARTER_TURNS[self._turns]), np.uint8)
        return Frame(number, time, pixels)

    def _release(self) -> None:
        self._container.close()


def _copy_planes(picture: av.VideoFrame, out: ByteArray) -> ByteArray:
    """Copy the planes of a picture one after the other into `out`, without the padding of their lines; return it."""
    flat = out.reshape(-1)
    start = 0
    for plane in picture.planes:
        lines = np.frombuffer(cast(Any, plane), np.uint8).reshape(plane.height, plane.line_size)
        width = plane.width * (2 if picture.format.name == "nv12" and start else 1)  # U and V in turn
        end = start + plane.height * width
        flat[start:end].reshape(plane.height, width)[...] = lines[:, :width]
        start = end
    return out


def _quarter_turns(picture: av.VideoFrame) -> int:
    """Return the quarter turns counter-clockwise that show a picture upright, by its display matrix.

    As FFmpeg's `av_display_rotation_get`; PyAV's own `VideoFrame.rotation` is missing in 14.0.
    """
    side_data = cast(Iterable[Any], picture.side_data)  # PyAV's stubs take it for a mapping of names
    data = next((bytes(item) for item in side_data if item.type.name == "DISPLAYMATRIX"), None)
    if data is None or len(data) < 36:
        return 0
    matrix = struct.unpack("=9i", data[:36])
    scale_x, scale_y = math.hypot(matrix[0], matrix[3]) or 1.0, math.hypot(matrix[1], matrix[4]) or 1.0
    return -round(math.atan2(matrix[1] / scale_y, matrix[0] / scale_x) / (math.pi / 2)) % 4


def is_url(text: str) -> bool:
    """Tell whether `text` starts with a URL scheme (a Windows drive letter is none)."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) is not None


def without_credentials(url: str) -> str:
    """Return a URL for messages, without user name, password and query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _name_of(url: str) -> str:
    """Return the last part of the path without its ending, or the host."""
    parts = urlsplit(url)
    last = parts.path.rstrip("/").rpartition("/")[2].rpartition(".")
    return last[0] or last[2] or parts.hostname or "stream"


def _reason(error: av.FFmpegError) -> str:
    """Return FFmpeg's reason as part of a sentence."""
    if isinstance(error, av.error.ExitError):  # how the interrupt callback of PyAV's timeouts ends a read
        return f"no answer within {_TIMEOUT_SECONDS:g} seconds"
    return (error.strerror or type(error).__name__).rstrip(".").lower()
