"""The sink that copies the packets of a video beside a track of subtitles with boxes and ids, with PyAV."""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av

from fairmot.core import ConfigError, Frame, OutputError, Tracks
from fairmot.core.files import write_error
from fairmot.video.ass import TrackEvents
from fairmot.video.matroska import TRACK_NAME, MatroskaFile
from fairmot.video.mp4 import BUFFER_BYTES
from fairmot.video.packets import REMEDY, PacketReader, StoredVideo
from fairmot.video.sink import Sink
from fairmot.video.source import Source

log = logging.getLogger(__name__)

_OPTIONS = {
    "cluster_time_limit": "500",  # milliseconds; a cluster can be played without what follows
    "flush_packets": "1",  # a cluster is handed to the operating system when it is complete
    # Packets come in order, so none has to wait for the next one of the other streams (microseconds; 0 is no limit).
    "max_interleave_delta": "1",
}
_MILLISECOND = Fraction(1, 1000)  # the unit of time in Matroska files
_EARLY = 0.01  # milliseconds
_JITTER_SECONDS = 1.0  # a larger step back is a new clock, see `PresentationClock`
_DEFAULT = 1  # AV_DISPOSITION_DEFAULT: players show it without being asked


class CopiedSource(NamedTuple):
    """What of a source is copied: what `SubtitleSink` needs of it, for another process than that with the source.

    Attributes:
        name, size, is_live, stored_video: see `Source`.
    """

    name: str
    size: tuple[int, int]
    is_live: bool
    stored_video: StoredVideo | None

    @classmethod
    def of(cls, source: Source) -> CopiedSource:
        """Return that of a source."""
        return cls(source.name, source.size, source.is_live, source.stored_video)


class SubtitleSink(Sink):
    """A Matroska file with the packets of a video file as they are, and the tracks as subtitles (ASS) that are on.

    Nothing is decoded or encoded. Times stay those of the source; sound is copied where Matroska can hold it. Each
    frame's tracks are shown until the next frame that was written. The video is copied from the start of the file to
    the end of the last frame that was written, and further as far as that is needed to decode it; a video without
    frames leaves no file.

    The file plays at any moment: what a killed process or a full disk leaves lacks up to half a second.

    Args:
        path: the file; it is replaced, and folders above it are made.
        source: what to copy; frames that are written are its own.
        frame_rate: of the frames that are written; the last one is shown for its inverse.
        class_names: by class id; of two or more, labels show them.

    Raises:
        ConfigError: if the packets of the source cannot be copied, see `check_copyable`.
        OutputError: if the file cannot be made.
        SourceError: if the source cannot be opened again.
    """

    def __init__(
        self,
        path: Path | str,
        source: Source | CopiedSource,
        frame_rate: float,
        *,
        class_names: Sequence[str] = (),
    ) -> None:
        self._path = Path(path)
        video = _stored_video(source)
        self._events = TrackEvents(source.size, class_names)
        self._zero = video.first_time or 0.0
        self._interval = 1.0 / frame_rate
        self._reader = PacketReader(video)
        try:
            self._file = MatroskaFile(self._path, self._reader.display_aspect)
        except OSError as error:
            self._reader.close()
            raise write_error(self._path, error) from error
        try:
            self._container = av.open(self._file, "w", format="matroska", options=_OPTIONS, buffer_size=BUFFER_BYTES)
            self._streams = {stream.index: self._add_copy(stream) for stream in self._reader.streams}
            if self._reader.display_aspect is not None:
                self._streams[video.stream_index].metadata["title"] = TRACK_NAME
            self._subtitles = self._add_subtitles()
        except BaseException:
            self._reader.close()
            self._file.remove()
            raise
        if not video.is_upright:
            log.warning(
                "%s is stored turned or mirrored; players that show the video of Matroska files as it is stored, as "
                "VLC 3 and mpv 0.35 do, show the boxes beside it; leave out --overlay subtitles for those.",
                video.path,
            )
        self._packets = self._reader.packets()
        self._last_dts: dict[int, int] = {}  # by stream
        self._next: Any = next(self._packets, None)
        self._shown: tuple[int, str] | None = None  # the event that lasts: its begin in milliseconds, its text
        self._count = 0
        self._end: float | None = None  # of the last frame, in seconds
        self._closed = False
        self._failed = False

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Show tracks from the time of this frame on, and copy the packets before it.

        Raises:
            OutputError: if the file cannot be written.
        """
        time = self._zero + frame.timestamp
        text = self._events.text(tracks) if len(tracks) else ""
        self._end_event(time)
        self._shown = (_milliseconds(time), text) if text else None
        while self._next is not None and (self._is_sound(self._next) or _time_of(self._next) < time):
            self._copy(self._next)
            self._next = next(self._packets, None)
        self._end = time + self._interval

    def close(self) -> None:
        """Copy the packets up to the end of the last frame and finish the file.

        Raises:
            OutputError: if the file cannot be written and `write` has not raised that.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if self._end is None:
                self._file.remove()
            elif self._failed:
                self._keep()
            else:
                self._complete(self._end)
        finally:
            self._reader.close()

    def _complete(self, end: float) -> None:
        try:
            self._end_event(end)
            self._copy_rest(end)
            try:
                self._container.close()
                self._file.finish()
            except (av.FFmpegError, OSError) as error:
                self._raise(error)
        except BaseException:
            self._keep()
            raise

    def _copy_rest(self, end: float) -> None:
        """Copy the packets up to `end`; the rest of the sound too if no frame follows."""
        sound: list[Any] = []
        while self._next is not None:
            is_before = _time_of(self._next) < end
            if is_before:
                self._copy(self._next)
            elif self._is_sound(self._next):
                sound.append(self._next)
            else:
                return
            self._next = next(self._packets, None)
        for packet in sound:
            self._copy(packet)

    def _is_sound(self, packet: Any) -> bool:
        return bool(packet.stream_index != self._reader.video_stream.index)

    def _keep(self) -> None:
        """Close the file as it is after an error."""
        with suppress(av.FFmpegError, OSError):
            self._container.close()
        self._file.keep()

    def _end_event(self, time: float) -> None:
        """Write the event that lasts until `time`, in seconds."""
        if self._shown is None:
            return
        begin, text = self._shown
        self._shown = None
        packet = av.Packet(f"{self._count},0,Default,,0,0,0,,{text}".encode())
        self._count += 1
        packet.stream, packet.time_base = self._subtitles, _MILLISECOND
        packet.pts = packet.dts = begin
        packet.duration = max(1, _milliseconds(time) - begin)
        packet.is_keyframe = True
        self._mux(packet)

    def _copy(self, packet: Any) -> None:
        index, dts = packet.stream_index, packet.dts
        if dts is not None:
            last = self._last_dts.get(index, dts)
            if (last - dts) * packet.time_base > _JITTER_SECONDS:
                raise self._copy_error("its times start again, as where files were joined")
            # Matroska files have presentation times alone, but the muxer wants decoding times that do not fall.
            packet.dts = self._last_dts[index] = max(dts, last)
            packet.pts = max(packet.dts, dts if packet.pts is None else packet.pts)
        elif packet.pts is None:  # as at the start of a recording that begins within a frame
            return
        packet.stream = self._streams[index]
        self._mux(packet)

    def _mux(self, packet: Any) -> None:
        try:
            self._container.mux_one(packet)
        except (av.FFmpegError, OSError, ValueError) as error:
            self._raise(error)

    def _raise(self, error: Exception) -> None:
        if self._file.error is not None:
            self._failed = True
            raise write_error(self._path, self._file.error) from error
        raise self._copy_error((getattr(error, "strerror", None) or type(error).__name__).lower()) from error

    def _copy_error(self, reason: str) -> OutputError:
        self._failed = True
        return OutputError(f"{self._path}: the video of the source cannot be copied ({reason}); {REMEDY}.")

    def _add_copy(self, stream: Any) -> Any:
        # `opaque` is needed for codecs without an encoder, and for decoders of another name than the encoder.
        copied: Any = self._container.add_stream_from_template(stream, opaque=True)
        if "language" in stream.metadata:
            copied.metadata["language"] = stream.metadata["language"]
        return copied

    def _add_subtitles(self) -> Any:
        with av.open(io.BytesIO(self._events.header.encode()), format="ass") as script:
            stream: Any = self._container.add_stream_from_template(script.streams.subtitles[0])
        stream.metadata["title"] = "tracks"
        stream.disposition = _DEFAULT
        return stream


def check_copyable(source: Source) -> None:
    """Check that the packets of a source can be copied into a Matroska file.

    Raises:
        ConfigError: if not: it is no video file, Matroska cannot hold its codec, or it states no times.
        SourceError: if the file cannot be opened any more.
    """
    PacketReader(_stored_video(source)).close()


def _stored_video(source: Source | CopiedSource) -> StoredVideo:
    if source.stored_video is None:
        kind = "live" if source.is_live else "no video file"
        raise ConfigError(f"{source.name} is {kind}, so there are no packets to copy; {REMEDY}.")
    return source.stored_video


def _milliseconds(time: float) -> int:
    """Return a time as the Matroska muxer rounds it, or a millisecond before: never after the frame of this time."""
    return math.floor(1000 * time + 0.5 - _EARLY)


def _time_of(packet: Any) -> float:
    """Return the decoding time of a packet in seconds, which rises from packet to packet of a stream."""
    return -math.inf if packet.dts is None else float(packet.dts * packet.time_base)
