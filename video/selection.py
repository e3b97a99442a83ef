"""Selection of the video stream of a container, its frame rate and its pixel aspect."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import av

from fairmot.core import SourceError
from fairmot.video import pyav

DEFAULT_FRAME_RATE = 30.0

# libavformat/avformat.h
_DEFAULT = 1 << 0
_NEVER_SHOWN = (
    1 << 10  # AV_DISPOSITION_ATTACHED_PIC: cover art
    | 1 << 11  # AV_DISPOSITION_TIMED_THUMBNAILS
    | 1 << 19  # AV_DISPOSITION_DEPENDENT: tiles of an image, enhancement layers
    | 1 << 20  # AV_DISPOSITION_STILL_IMAGE
)
_ENCRYPTED_TAGS = {"encv", "drmi"}  # sample entries of ISO/IEC 23001-7 and of FairPlay

_HIGHEST_STATED_RATE = 240.0  # beyond it rates in headers are clock rates (1000, 90000), unless frames confirm them
_HIGHEST_MEASURED_RATE = 1000.0
_AGREEMENT = 1.1
_NEARNESS = 1.5

_MOST_ELONGATED = 16  # beyond it a sample aspect ratio is taken for damage


def choose_video_stream(container: av.container.InputContainer, label: str) -> Any:
    """Return the video stream that players show: of those marked as default, else of all, the largest.

    Cover art, thumbnails and text shown as images do not count.

    Args:
        container: the open container.
        label: its name for messages.

    Raises:
        SourceError: if there is no video, or none that can be decoded.
    """
    is_text = container.format.name == "tty"
    videos = [stream for stream in container.streams.video if not (is_text or pyav.disposition(stream) & _NEVER_SHOWN)]
    if not videos:
        raise SourceError(f"{label} holds no video{_contents(container, is_text)}; give a video file.")
    encrypted = f"{label} is encrypted (DRM) and cannot be decoded; give a copy without encryption."
    decodable = [stream for stream in videos if stream.codec_context is not None]
    if not decodable:
        codec = pyav.codec_description(container, videos[0].index)
        if any(tag in codec for tag in _ENCRYPTED_TAGS):
            raise SourceError(encrypted)
        raise SourceError(
            f"{label} cannot be decoded: the codec {codec} is not supported by the FFmpeg of PyAV {av.__version__}; "
            "convert it, for example to H.264."
        )

    def precedence(stream: Any) -> tuple[bool, int]:
        return bool(pyav.disposition(stream) & _DEFAULT), stream.codec_context.width * stream.codec_context.height

    stream = max(decodable, key=precedence)  # the first of equals
    if stream.codec_context.codec_tag in _ENCRYPTED_TAGS or "enc_key_id" in stream.metadata:
        raise SourceError(encrypted)
    return stream


def _contents(container: av.container.InputContainer, is_text: bool) -> str:
    """Return the content of a container without video, as the end of a clause."""
    kinds = {stream.type for stream in container.streams}
    if is_text:
        return ": it is a text file"
    if "audio" in kinds:
        return ", only sound"
    if "video" in kinds:
        return ", only a still image"
    return ", only subtitles" if "subtitle" in kinds else ""


def frame_rate(stream: Any, intervals: Callable[[], Sequence[float]] | None) -> float:
    """Return the frames per second of a video stream, for what is counted in frames.

    It is the container's average where FFmpeg's guess agrees with it. One long pause spoils the average, and jitter
    spoils the guess; where they disagree, the median interval between the first frames decides.

    Args:
        stream: the stream.
        intervals: returns the seconds between successive frames from the first on; None where none can be had in time.
    """
    average, guess, base = (
        pyav.fraction(rate) for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate)
    )
    rates = [float(rate) for rate in (average, guess, base) if rate is not None]
    plausible = [rate for rate in rates if rate <= _HIGHEST_STATED_RATE]
    agree = average is not None and guess is not None and _within(float(average), float(guess), _AGREEMENT)
    if intervals is not None and not (agree and plausible):
        rising = [interval for interval in intervals() if interval > 0]
        measured = 1.0 / statistics.median(rising) if rising else 0.0
        if 0 < measured <= _HIGHEST_MEASURED_RATE:
            return next((rate for rate in rates if _within(rate, measured, _NEARNESS)), measured)
    return plausible[0] if plausible else DEFAULT_FRAME_RATE


def _within(rate: float, other: float, factor: float) -> bool:
    return max(rate, other) <= factor * min(rate, other)


def pixel_aspect(stream: Any) -> Fraction:
    """Return width over height of a stored pixel; 1 where it is unknown or implausible.

    The container's statement takes precedence over the codec's, as in FFmpeg's `av_guess_sample_aspect_ratio`.
    """
    ratio = pyav.fraction(stream.sample_aspect_ratio) or pyav.fraction(stream.codec_context.sample_aspect_ratio)
    if ratio is None or not Fraction(1, _MOST_ELONGATED) <= ratio <= _MOST_ELONGATED:
        return Fraction(1)
    return ratio
