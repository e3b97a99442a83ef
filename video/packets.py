"""The packets of a video file, to be copied as they are."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, cast

import av

from fairmot.core import ConfigError
from fairmot.video.containers import open_file
from fairmot.video.selection import pixel_aspect

REMEDY = "leave out --overlay subtitles, or leave out the video with --no-video"


@dataclass(frozen=True)
class StoredVideo:
    """The video stream of a file from which frames are decoded.

    Attributes:
        path: of the file.
        stream_index: of the stream.
        first_time: presentation time of frame 1 in seconds, by the clock of the stream, which is time 0 of the frames;
            None if the file states none.
        max_pixels: most pixels of a frame.
        is_upright: whether the video is shown as it is stored, neither turned nor mirrored.
    """

    path: str
    stream_index: int
    first_time: float | None
    max_pixels: int
    is_upright: bool = True


class PacketReader:
    """Reads the packets of a video stream and of all sound beside it, in the order in which they are stored.

    Args:
        video: the stream.

    Attributes:
        video_stream: the stream of the input.
        streams: it and those of the sound that Matroska can hold.
        display_aspect: width over height of the video as it is stored and shown; None if its pixels are square.

    Raises:
        ConfigError: if Matroska cannot hold the video, or its packets have no times.
        SourceError: if the file cannot be opened any more.
    """

    def __init__(self, video: StoredVideo) -> None:
        self._path = video.path
        self._container = open_file(video.path, video.max_pixels)
        try:
            self.video_stream = cast(Any, self._container.streams[video.stream_index])
            self._check(video)
            sound = [stream for stream in self._container.streams.audio if _codec(stream) in _matroska_codecs()]
            self.streams: list[Any] = [self.video_stream, *sound]
            aspect, size = pixel_aspect(self.video_stream), self.video_stream.codec_context
            self.display_aspect = None if aspect == 1 else aspect * Fraction(size.width, size.height)
        except BaseException:
            self._container.close()
            raise

    def _check(self, video: StoredVideo) -> None:
        codec = _codec(self.video_stream)
        if codec not in _matroska_codecs():
            raise ConfigError(f"{self._path}: Matroska files cannot hold {codec} video as it is; {REMEDY}.")
        has_times = video.first_time is not None
        if self._container.format.name == "avi":  # which states the order of decoding alone
            has_times = has_times and not self.video_stream.codec_context.has_b_frames
        if not has_times:
            raise ConfigError(f"{self._path} does not state when each frame is shown; {REMEDY}.")

    def packets(self) -> Iterator[Any]:
        """Yield packets with data, up to the end of the file or to where it cannot be read any more."""
        try:
            for packet in self._container.demux(self.streams):
                if packet.size:
                    yield packet
        except av.FFmpegError:  # the source of the frames, which reads the same, reports the damage
            return

    def close(self) -> None:
        """Close the file."""
        self._container.close()


@lru_cache(maxsize=1)
def _matroska_codecs() -> frozenset[str]:
    """Return the names of the codecs, and of their decoders, whose packets FFmpeg's Matroska files can hold."""
    with av.open(io.BytesIO(), "w", format="matroska") as container:
        return frozenset(container.supported_codecs)


def _codec(stream: Any) -> str:
    """Return the name of the decoder of a stream, none if there is none."""
    return "" if stream.codec_context is None else str(stream.codec_context.name)
