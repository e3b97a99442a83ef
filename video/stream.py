"""Frames from anything FFmpeg reads: video files and network streams, through PyAV."""

from __future__ import annotations

import errno
import itertools
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, cast

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from core import Frame, SourceError
from core.limits import MAX_PIXELS
from core.records import ByteArray
from video import pyav
from video.clock import PresentationClock
from video.color import color_space
from video.containers import open_file, open_url, reason_of
from video.orientation import from_display_matrix
from video.selection import choose_video_stream, frame_rate, pixel_aspect
from video.source import Source
from video.structure import is_cut
from video.urls import LIVE_SCHEMES, is_url, local_path, name_of_url, scheme_of, without_credentials

log = logging.getLogger(__name__)

SourceFormat = Literal["bgr24", "yuv420p"]

_PLANAR = {"yuv420p": "yuv420p", "yuvj420p": "yuv420p", "nv12": "nv12"}

# Frames decoded ahead where headers disagree about the rate.
_RATE_FRAMES = 16
_RATE_BYTES = 256 * 2**20


class VideoSource(Source):
    """A video file or a network stream.

    Frame 1 is the first frame that can be decoded, time 0 its presentation time. Numbers count the
    frames that come out of the decoder, as other programs count them; a frame lost to damage keeps
    its number. `start` decodes and drops what comes before: seeking would be faster, but its frame
    numbers are a guess. The number of frames is what the container states (mp4, mov, avi), else unknown.

    Timestamps rise from frame to frame and are the container's: a pause in a recording is as long in them
    as it was. `frame_rate` (see `selection.frame_rate`) is for what is counted in frames.

    Of several video streams the one is read that players show (see `selection.choose_video_stream`).
    The display matrix (rotation by quarter turns and mirroring, also from the EXIF data of JPEG frames) is
    applied, so `width` and `height` are those seen on a screen. Pixels that are not square are not
    resampled: frames stay as stored, and `pixel_aspect` tells how wide to show them. Frames that change
    size later are resized to the first one's, as FFmpeg does.

    A stream is live (see `Source`) if its protocol is (rtsp and the like) or if it has no duration.
    The end of a live stream, and damage in a file, are told by `damaged`; a stream that breaks off or does
    not answer for 10 seconds is a `SourceError`.

    Args:
        location: path of a file, or a URL of a scheme in `urls.PROTOCOLS` or `file`.
        pixel_format: `yuv420p` hands over 8-bit 4:2:0 planes of even size that are stored upright as
            they are; all other frames are BGR.
        max_pixels: most pixels of a frame (width times height).

    Raises:
        SourceError: if it cannot be opened, holds no frame that can be decoded, or its frames have more than
            `max_pixels`.
    """

    def __init__(self, location: str, *, pixel_format: SourceFormat = "bgr24", max_pixels: int = MAX_PIXELS) -> None:
        if is_url(location) and scheme_of(location) == "file":
            location = local_path(location)
        self._url = location if is_url(location) else None
        self._path = None if self._url else Path(location)
        self._label = location if self._url is None else without_credentials(location)
        self._planes_wanted = pixel_format == "yuv420p"
        self._max_pixels = max_pixels
        self._reformatter = VideoReformatter()
        self._ended_early = False
        self._errors = 0
        self._packets = 0
        self._partial = False  # whether the last packet came in part
        self._refused = False  # whether the decoder has refused a frame size
        self._container = open_file(location, max_pixels) if self._url is None else open_url(self._url, max_pixels)
        try:
            self._stream = choose_video_stream(self._container, self._label)
            live = self._url is not None and (scheme_of(self._url) in LIVE_SCHEMES or self._container.duration is None)
            codec = self._stream.codec_context
            self._check_size(codec.width, codec.height)
            codec.options = {"max_pixels": self._container.options["max_pixels"]}
            # Decoding frames in parallel delays each by the number of threads.
            self._stream.thread_type = "SLICE" if live else "AUTO"
            pictures = self._pictures()
            number, first = next(pictures, (0, None))
            if first is None:
                raise SourceError(self._why_no_frame())
            self._numbered_pictures: Iterator[tuple[int, av.VideoFrame]] = itertools.chain([(number, first)], pictures)
            rate = frame_rate(self._stream, None if live else lambda: self._first_intervals(first))
        except BaseException:
            self._container.close()
            raise
        self._coded_size = first.width, first.height
        self._orientation = from_display_matrix(pyav.display_matrix(first))
        aspect = pixel_aspect(self._stream)
        known = self._known_frames() if not live else 0
        super().__init__(
            name_of_url(location) if self._url else re.split(r"[\\/]", location)[-1].rsplit(".", 1)[0],
            self._orientation.size(first.width, first.height),
            rate,
            numbers=range(1, known + 1) if known > 0 else None,
            is_live=live,
            pixel_aspect=1 / aspect if self._orientation.transposed else aspect,
        )

    def _why_no_frame(self) -> str:
        """Return a sentence that says why there is no frame."""
        if self._refused:
            return (
                f"{self._label} holds no video frame that can be decoded: its frames have more than "
                f"{self._max_pixels:,} pixels (--max-pixels), or their header is damaged."
            )
        return f"{self._label} holds no video frame that can be decoded; check that it is complete and not encrypted."

    def _check_size(self, width: int, height: int) -> None:
        """Refuse frames with more pixels than are accepted.

        Raises:
            SourceError: if this size has more.
        """
        if width * height > self._max_pixels:
            raise SourceError(
                f"{self._label} has frames of {width}x{height} pixels, more than the {self._max_pixels:,} that are "
                "accepted; raise --max-pixels to read it."
            )

    def _known_frames(self) -> int:
        """Return the number of frames that the container states, 0 if it states none."""
        stated = int(self._stream.frames)
        if stated and self._container.format.name == "avi":  # it counts dropped frames too
            return min(stated, pyav.packets_in_index(self._stream) or stated)
        return stated

    def _first_intervals(self, first: av.VideoFrame) -> list[float]:
        """Return the seconds between the first frames, which are decoded for it and kept."""
        count = max(3, min(_RATE_FRAMES, _RATE_BYTES // (2 * first.width * first.height)))
        pictures = self._numbered_pictures
        kept: list[tuple[int, av.VideoFrame]] = []
        failure: SourceError | None = None
        try:
            kept.extend(itertools.islice(pictures, count))
        except SourceError as error:  # told when reading gets there
            failure = error

        def with_the_kept() -> Iterator[tuple[int, av.VideoFrame]]:
            while kept:
                yield kept.pop(0)
            if failure is not None:
                raise failure
            yield from pictures

        stamps = [self._presentation_time(picture) for _, picture in kept]
        self._numbered_pictures = with_the_kept()
        known = [stamp for stamp in stamps if stamp is not None]
        return [later - earlier for earlier, later in itertools.pairwise(known)]

    def _pictures(self) -> Iterator[tuple[int, av.VideoFrame]]:
        """Yield decoded pictures with their numbers until the end or the first break in the container."""
        number = 0
        codec = self._stream.codec_context
        for packet in self._read_packets():
            width = codec.width
            try:
                pictures = packet.decode() if packet is not None else codec.decode(None)
            except av.FFmpegError as error:
                self._note_refusal(width, error)
                # Streams are often joined between key frames: errors before the first picture are no damage.
                if number:
                    log.debug("%s: a packet after frame %d: %s", self._label, number, reason_of(error))
                    self._errors += 1
                    number += 1
                continue
            for picture in pictures:
                self._check_size(picture.width, picture.height)
                number += 1
                self._errors += bool(picture.is_corrupt)
                yield number, cast(av.VideoFrame, picture)

    def _note_refusal(self, width: int, error: av.FFmpegError) -> None:
        """See whether a packet failed because its frames are larger than `max_pixels`.

        Args:
            width: what the decoder took the width for before the packet.
            error: the failure.

        Raises:
            SourceError: if a stream has become too large.
        """
        codec = self._stream.codec_context
        self._check_size(codec.width, codec.height)  # H.264 and HEVC keep the size that they refuse
        # The others set it to 0, which it also is before the first frame of a stream without headers.
        self._refused |= codec.width == 0 and error.errno == errno.EINVAL
        if self._refused and width:
            raise SourceError(
                f"{self._label} has frames of more than the {self._max_pixels:,} pixels that are accepted, or is "
                "damaged; raise --max-pixels to read it."
            )

    def _read_packets(self) -> Iterator[Any]:
        """Yield packets, and None to flush the decoder if the container breaks off."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError as error:
                if self._url is not None:  # the error's text holds the URL with the password
                    raise SourceError(f"The stream {self._label} broke off: {reason_of(error)}.") from None
                self._ended_early = True
                yield None
                return
            if packet is None:
                return
            if packet.size > 0:
                self._packets += 1
                self._partial = packet.is_corrupt
            yield packet

    def _frames(self) -> Iterator[Frame]:
        clock = PresentationClock(self.frame_rate)
        number, time, stamp = 0, 0.0, None
        for number, picture in self._numbered_pictures:
            stamp = self._presentation_time(picture)
            time = clock.time_of(number, stamp)
            if self._wanted(number):
                yield self._frame(number, time, picture)
        self._note_damage(number, max(time, stamp or 0.0))

    def _presentation_time(self, picture: av.VideoFrame) -> float | None:
        """Return seconds by the clock of the stream, if it gives any."""
        # AVI knows decoding times only; what FFmpeg calls presentation times jumps back at B-frames there.
        ticks = picture.dts if self._container.format.name == "avi" and picture.dts is not None else picture.pts
        return None if ticks is None or not picture.time_base else float(ticks * picture.time_base)

    def _note_damage(self, number: int, reached: float) -> None:
        """Set `damaged`, and warn, if the source ended before its end or parts could not be decoded."""
        if self.is_live:
            self.damaged = f"The stream {self._label} ended after frame {number}."
        elif self._ended_early or self._is_short(reached):
            self.damaged = f"{self._label} is cut off or damaged: it breaks off after frame {number}."
        elif self._errors:
            self.damaged = f"{self._label} is damaged; frames that are wrong or missing: {self._errors}."
        if self.damaged:
            log.warning("%s", self.damaged)

    def _is_short(self, reached: float) -> bool:
        """Tell whether the source ended before its end, by its structure, its packets and its duration together.

        Args:
            reached: time of the last frame.
        """
        cut = None if self._path is None else is_cut(self._path)
        if cut is False:
            indexed = pyav.packets_in_index(self._stream) if self._container.format.name == "avi" else None
            missing = (indexed or 0) - self._packets
            self._errors += missing if missing > max(2, self._packets // 100) else 0
            return False
        if cut and self._partial:
            return True
        stated = self._stream.frames
        if stated > 0 and self._packets >= stated - (0 if cut else max(2, stated // 100)):
            return False
        duration = self._duration(any_kind=bool(cut) or stated > 0)
        if duration is None:
            return bool(cut) or stated > 0
        interval = 1.0 / self.frame_rate
        return reached + (1.5 * interval if cut else max(1.0, 0.01 * duration, 5 * interval)) < duration

    def _duration(self, *, any_kind: bool) -> float | None:
        """Return the duration that the stream states, in seconds; with `any_kind` also what FFmpeg makes of it."""
        match = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", self._stream.metadata.get("DURATION", ""))  # Matroska
        if match is not None:
            hours, minutes, seconds = map(float, match.groups())
            return 3600 * hours + 60 * minutes + seconds
        if not any_kind:
            return None
        if self._stream.duration is not None and self._stream.time_base:
            return float(self._stream.duration * self._stream.time_base)
        return None if self._container.duration is None else self._container.duration / av.time_base

    def _frame(self, number: int, time: float, picture: av.VideoFrame) -> Frame:
        """Convert a decoded picture, or hand its planes over as they are."""
        size = picture.width, picture.height
        space = color_space(int(picture.colorspace), self._coded_size)
        full_range = int(picture.color_range) == 2 or picture.format.name.startswith("yuvj")
        width, height = self._coded_size
        planar = _PLANAR.get(picture.format.name)
        as_planes = (
            self._planes_wanted
            and planar is not None
            and self._orientation.is_upright
            and not (width % 2 or height % 2)
        )
        if size != self._coded_size:
            self._report_resize(number, self._orientation.size(*size))
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
        return Frame(number, time, self._orientation.apply(cast(ByteArray, picture.to_ndarray())))

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
