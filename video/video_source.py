"""Frames from video files and network streams, through PyAV."""

from __future__ import annotations

import itertools
import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import av

from fairmot.core import Frame, SourceError
from fairmot.core.limits import MAX_PIXELS
from fairmot.video import pyav
from fairmot.video.backlog import Backlog
from fairmot.video.clock import PresentationClock
from fairmot.video.completeness import Completeness
from fairmot.video.containers import decoder_options, open_file, open_url, reason_of
from fairmot.video.conversion import FrameConverter
from fairmot.video.decoder_process import SourceFormat
from fairmot.video.orientation import from_display_matrix
from fairmot.video.packets import StoredVideo
from fairmot.video.selection import choose_video_stream, frame_rate, pixel_aspect
from fairmot.video.source import Source
from fairmot.video.urls import LIVE_SCHEMES, is_url, label_of, local_path, name_of_url, scheme_of

log = logging.getLogger(__name__)

# Frames decoded ahead where headers disagree about the rate.
_RATE_FRAMES = 16
_RATE_BYTES = 256 * 2**20

_MOST_REFUSALS = 25

_most_threads: int | None = None


def limit_decoder_threads(most: int) -> None:
    """Let each video that is opened in this process from now on be decoded by so many threads at most.

    Otherwise FFmpeg takes one more than there are cores, 16 at most, which disturbs what else needs the cores. Live
    streams, whose frames are not decoded in parallel, stay as they are.
    """
    global _most_threads
    _most_threads = most


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
    resampled: frames stay as stored, and `pixel_aspect` is for showing them. Frames that change
    size later are resized to the first one's, as FFmpeg does.

    A stream is live (see `Source`) if its protocol is (rtsp and the like) or if it has no duration.
    The end of a live stream, and damage in a file, are reported by `damaged`; a stream that breaks off or does
    not answer for 10 seconds is a `SourceError`.

    Args:
        location: path of a file, or a URL of a scheme in `urls.PROTOCOLS` or `file`.
        pixel_format: with `yuv420p` 8-bit 4:2:0 planes of even size that are stored upright stay as they are; all
            other frames are BGR.
        max_pixels: most pixels of a frame (width times height).

    Raises:
        SourceError: if it cannot be opened, holds no frame that can be decoded, or its frames have more than
            `max_pixels`.
    """

    def __init__(self, location: str, *, pixel_format: SourceFormat = "bgr24", max_pixels: int = MAX_PIXELS) -> None:
        if is_url(location) and scheme_of(location) == "file":
            location = local_path(location)
        self._url = location if is_url(location) else None
        self._label = location if self._url is None else label_of(location)
        self._max_pixels = max_pixels
        self._ended_early = False
        self._errors = 0
        self._opened = time.monotonic()
        self._waited = 0.0  # seconds for the packets since the last frame
        self._refusals = 0  # packets in a row whose frame size the decoder refused
        self._container = open_file(location, max_pixels) if self._url is None else open_url(self._url, max_pixels)
        try:
            self._stream = choose_video_stream(self._container, self._label)
            live = self._url is not None and (scheme_of(self._url) in LIVE_SCHEMES or self._container.duration is None)
            self._completeness = Completeness(self._container, self._stream, None if self._url else Path(location))
            codec = self._stream.codec_context
            self._check_size(codec.width, codec.height)
            codec.options = decoder_options(max_pixels)
            # Decoding frames in parallel delays each by the number of threads.
            self._stream.thread_type = "SLICE" if live else "AUTO"
            if not live and _most_threads is not None:
                codec.thread_count = _most_threads
            decoded = self._decode()
            number, first = next(decoded, (0, None))
            if first is None:
                raise SourceError(self._no_frame_message())
            self._numbered: Iterator[tuple[int, av.VideoFrame]] = itertools.chain([(number, first)], decoded)
            rate = frame_rate(self._stream, None if live else lambda: self._first_intervals(first))
        except BaseException:
            self._container.close()
            raise
        self._sample = first if live else None
        orientation = from_display_matrix(pyav.display_matrix(first))
        self._converter = FrameConverter((first.width, first.height), orientation, planes=pixel_format == "yuv420p")
        self._has_planes = self._converter.keeps_planes(first.format.name)
        aspect = pixel_aspect(self._stream)
        known = self._completeness.stated_frames if not live else 0
        super().__init__(
            name_of_url(location) if self._url else re.split(r"[\\/]", location)[-1].rsplit(".", 1)[0],
            orientation.size(first.width, first.height),
            rate,
            numbers=range(1, known + 1) if known > 0 else None,
            is_live=live,
            pixel_aspect=1 / aspect if orientation.transposed else aspect,
        )
        if self._url is None:
            began = self._presentation_time(first)
            self.stored_video = StoredVideo(location, self._stream.index, began, max_pixels, orientation.is_upright)

    @property
    def frame_bytes(self) -> int:
        """Bytes of the pixels of a frame, if all have the format of the first."""
        return self.width * self.height * 3 // (2 if self._has_planes else 1)

    def sample(self) -> Frame:
        """Return a frame in the format of those that will come: of a live source the first one; see `Source`."""
        return super().sample() if self._sample is None else self._frame(0, 0.0, self._sample)

    def _no_frame_message(self) -> str:
        """Return the message for a stream without a frame."""
        if self._refusals:
            return self._too_large("holds no video frame that can be decoded: its frames have")
        return f"{self._label} holds no video frame that can be decoded; check that it is complete and not encrypted."

    def _too_large(self, begin: str) -> str:
        """Return the message for frames that the decoder refused without reporting their size."""
        return (
            f"{self._label} {begin} more than the {self._max_pixels:,} pixels that are accepted, or a damaged header; "
            "raise --max-pixels to read larger ones."
        )

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

    def _first_intervals(self, first: av.VideoFrame) -> list[float]:
        """Return the seconds between the first frames, which are decoded for it and kept."""
        count = max(3, min(_RATE_FRAMES, _RATE_BYTES // (2 * first.width * first.height)))
        decoded = self._numbered
        kept: list[tuple[int, av.VideoFrame]] = []
        failure: SourceError | None = None
        try:
            for each in itertools.islice(decoded, count):
                kept.append(each)
        except SourceError as error:  # raised when reading gets there
            failure = error

        def with_the_kept() -> Iterator[tuple[int, av.VideoFrame]]:
            while kept:
                yield kept.pop(0)
            if failure is not None:
                raise failure
            yield from decoded

        stamps = [self._presentation_time(frame) for _, frame in kept]
        self._numbered = with_the_kept()
        known = [stamp for stamp in stamps if stamp is not None]
        return [later - earlier for earlier, later in itertools.pairwise(known)]

    def _decode(self) -> Iterator[tuple[int, av.VideoFrame]]:
        """Yield decoded frames with their numbers until the end or the first break in the container."""
        number = 0
        codec = self._stream.codec_context
        for packet in self._read_packets():
            try:
                frames = packet.decode() if packet is not None else codec.decode(None)
            except pyav.DECODE_ERRORS as error:
                self._note_refusal(number)
                # Streams are often joined between key frames: errors before the first frame are no damage.
                if number:
                    log.debug("%s: a packet after frame %d: %s", self._label, number, reason_of(error))
                    self._errors += 1
                    number += 1
                continue
            for frame in frames:
                self._refusals = 0
                self._check_size(frame.width, frame.height)
                number += 1
                self._errors += bool(frame.is_corrupt)
                yield number, cast(av.VideoFrame, frame)
        if number and self._refusals:
            raise SourceError(self._too_large(f"has, after frame {number - self._refusals}, frames of"))

    def _note_refusal(self, number: int) -> None:
        """Check whether a packet failed because its frames are larger than `max_pixels`.

        Args:
            number: number of the last frame.

        Raises:
            SourceError: if the stream has become too large, and not only for one damaged frame.
        """
        codec = self._stream.codec_context
        self._check_size(codec.width, codec.height)  # H.264 and HEVC keep the size that they refuse
        self._refusals += codec.width == 0  # the others forget it
        if number and self._refusals > _MOST_REFUSALS:
            raise SourceError(self._too_large(f"has, after frame {number + 1 - self._refusals}, frames of"))

    def _read_packets(self) -> Iterator[Any]:
        """Yield packets, and None to flush the decoder if the container breaks off."""
        packets = self._container.demux(self._stream)
        while True:
            began = time.monotonic()
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
            self._waited += time.monotonic() - began
            self._completeness.add(packet)
            yield packet

    def _frames(self) -> Iterator[Frame]:
        clock = PresentationClock(self.frame_rate)
        backlog = Backlog(self._opened, self.frame_rate) if self.is_live else None
        self._waited = 0.0  # the first frame has been decoded
        number, moment, stamp, passed = 0, 0.0, None, None
        for number, decoded in self._numbered:
            stamp = self._presentation_time(decoded)
            moment = clock.time_of(number, stamp)
            waited, self._waited = self._waited, 0.0
            if backlog is not None and backlog.holds(number, waited):
                passed = decoded
                continue
            passed = None
            if self._wanted(number):
                yield self._frame(number, moment, decoded)
        if passed is not None and self._wanted(number):  # a stream that ended before it was read
            yield self._frame(number, moment, passed)
        self._note_damage(number, max(moment, stamp or 0.0))

    def _presentation_time(self, decoded: av.VideoFrame) -> float | None:
        """Return seconds by the clock of the stream, None if it has none."""
        # AVI has decoding times only; what FFmpeg calls presentation times jumps back at B-frames there.
        ticks = decoded.dts if self._container.format.name == "avi" and decoded.dts is not None else decoded.pts
        return None if ticks is None or not decoded.time_base else float(ticks * decoded.time_base)

    def _note_damage(self, number: int, reached: float) -> None:
        """Set `damaged`, and warn, if the source ended before its end or parts could not be decoded."""
        short, missing = self._completeness.check(reached, 1.0 / self.frame_rate)
        errors = self._errors + missing
        if self.is_live:
            self.damaged = f"The stream {self._label} ended after frame {number}."
        elif self._ended_early or short:
            self.damaged = f"{self._label} is cut off or damaged: it breaks off after frame {number}."
        elif errors:
            self.damaged = f"{self._label} is damaged; frames that are wrong or missing: {errors}."
        if self.damaged:
            log.warning("%s", self.damaged)

    def _frame(self, number: int, time: float, decoded: av.VideoFrame) -> Frame:
        """Return a decoded frame as a `Frame`."""
        size = decoded.width, decoded.height
        if size != self._converter.size:
            self._report_resize(number, self._converter.orientation.size(*size))
        try:
            return self._converter.frame(number, time, decoded, self.allocate)
        except pyav.DECODE_ERRORS as error:
            raise SourceError(
                f"{self._label} has pixels of the format {decoded.format.name}, which cannot be converted; "
                "convert it, for example to H.264."
            ) from error

    def _release(self) -> None:
        self._container.close()
