"""FFmpeg's encoders for the annotated video: which are used, and with which settings."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av

from fairmot.core import OutputError
from fairmot.video.color import code_of, color_space
from fairmot.video.planes import Layout

log = logging.getLogger(__name__)

HARDWARE = ("h264_nvenc", "h264_videotoolbox", "h264_qsv")
ENCODERS = (*HARDWARE, "libx264", "mpeg4")
"""In order of preference."""

# Fine enough for any rate and exact for the usual ones, those of 1001/30000 s too; MPEG-4 part 2 allows up to 65535.
TICKS = 60000
"""Units of the time base in a second."""

_LARGEST_ASPECT_TERM = 255  # of MPEG-4 part 2; H.264 takes more
# `validate_parameters` in x264's encoder/encoder.c, and the 13 bits of width and height in ISO/IEC 14496-2.
_LONGEST_SIDES = {"libx264": 16384, "mpeg4": 8191}
_LAMBDA = 118  # FF_QP2LAMBDA of FFmpeg's libavutil/avutil.h: the unit of global_quality
# Without B-frames the decoding times are the presentation times, and the last frame of a video of
# varying rate is not cut off by a duration counted in decoding times.
# x264's preset and quality by measurement (benchmarks/video_encoding.md); the others at their own constant quality,
# where 250 frames between key frames are x264's default.
_OPTIONS = {
    "libx264": {"preset": "superfast", "crf": "24", "bf": "0"},
    "mpeg4": {"flags": "+qscale", "global_quality": str(4 * _LAMBDA), "bf": "0"},
    "h264_nvenc": {"preset": "p4", "rc": "vbr", "cq": "23", "bf": "0", "g": "250"},
    "h264_videotoolbox": {"flags": "+qscale", "global_quality": str(65 * _LAMBDA), "bf": "0", "g": "250"},
    "h264_qsv": {"preset": "faster", "global_quality": "23", "bf": "0", "g": "250"},
}
# x264 otherwise holds back one frame per thread, which are seconds where frames come slowly.
_LOW_DELAY = {
    "libx264": {"tune": "zerolatency"},
    "h264_nvenc": {"zerolatency": "1", "delay": "0"},
    "h264_videotoolbox": {"realtime": "1"},
    "h264_qsv": {"async_depth": "1"},
}
_UNSPECIFIED = 2  # MatrixCoefficients of ITU-T H.273
_MOST_THREADS = 12  # of x264: each holds back a frame, and these are enough for a few hundred frames/s of 1080p
_PROBE_FRAMES = 3


@dataclass(frozen=True)
class EncoderSettings:
    """The settings of an encoder that do not depend on the first frame.

    Attributes:
        name: FFmpeg's, of the encoder.
        size: `(width, height)` of the frames, even.
        frame_rate: a hint for players and the encoder.
        pixel_aspect: width of a pixel divided by its height.
        low_delay: whether to encode every frame at once.
    """

    name: str
    size: tuple[int, int]
    frame_rate: Fraction
    pixel_aspect: Fraction = Fraction(1)
    low_delay: bool = False

    def layout(self, preferred: Layout) -> Layout:
        """Return the layout of the planes that the encoder takes: the preferred one if it can."""
        known = {each.name for each in av.Codec(self.name, "w").video_formats or ()}
        if preferred.pixel_format not in known:
            preferred = replace(preferred, pixel_format="yuv420p" if "yuv420p" in known else "nv12")
        if self.name == "mpeg4":  # FFmpeg writes neither matrix nor range into the stream; players assume these
            return replace(preferred, color_space=color_space(_UNSPECIFIED, self.size), full_range=False)
        return preferred

    def apply(self, context: Any, layout: Layout) -> None:
        """Prepare a codec context, which is not open yet.

        Args:
            context: of this encoder.
            layout: of the frames.
        """
        context.width, context.height = self.size
        context.pix_fmt = layout.pixel_format
        context.bit_rate = 0  # the quality counts
        context.framerate = self.frame_rate
        context.time_base = Fraction(1, TICKS)
        context.colorspace = code_of(layout.color_space)
        context.color_range = int(layout.color_range)
        if self.pixel_aspect != 1:
            context.sample_aspect_ratio = self.pixel_aspect.limit_denominator(_LARGEST_ASPECT_TERM)
        context.options = {**_OPTIONS.get(self.name, {}), **(_LOW_DELAY.get(self.name, {}) if self.low_delay else {})}
        if self.name == "libx264" and not self.low_delay:
            # PyAV asks for threads within a frame, of which x264 makes little where there are many cores.
            context.thread_type = "FRAME"
            context.thread_count = min((os.cpu_count() or 1) * 3 // 2, _MOST_THREADS)  # x264's own, up to a limit

    def check(self) -> None:
        """Open the encoder for once.

        Raises:
            av.FFmpegError: if it cannot take such frames.
        """
        context: Any = av.CodecContext.create(self.name, "w")
        self.apply(context, self.layout(Layout("yuv420p")))
        context.open()  # after an error PyAV 19 crashes if the context is asked for anything

    def explained(self, error: av.FFmpegError, path: Path) -> OutputError:
        """Return what FFmpeg raises for frames that it cannot take as an error with a remedy.

        Args:
            error: of FFmpeg.
            path: of the video.
        """
        width, height = self.size
        reason = (getattr(error, "strerror", None) or type(error).__name__).lower()
        longest = _LONGEST_SIDES.get(self.name)
        if longest is not None and max(self.size) > longest:
            reason = f"it takes at most {longest} pixels a side"
        return OutputError(
            f"{path}: the encoder {self.name} cannot take frames of {width}x{height} pixels ({reason}); "
            "shrink them with --video-size or leave the video out with --no-video."
        )


def choose(encoders: Sequence[str], size: tuple[int, int]) -> str:
    """Return the first encoder that works here, with a warning if a preferred one is missing.

    An encoder of the hardware that FFmpeg has, but that does not work here, is passed over silently.

    Args:
        encoders: FFmpeg's names, in order of preference.
        size: `(width, height)` of the frames, even.

    Raises:
        OutputError: if there is none.
    """
    missing: list[str] = []
    for name in encoders:
        if name in HARDWARE:
            if not _works(name, size):
                continue
        elif not _exists(name):
            missing.append(name)
            continue
        if missing:
            log.warning("FFmpeg lacks the encoder %s here; the video is written with %s.", missing[0], name)
        return name
    raise OutputError(f"FFmpeg has none of the encoders {', '.join(encoders)}; install the av wheel from PyPI.")


def _exists(name: str) -> bool:
    try:
        av.Codec(name, "w")
    except ValueError:  # PyAV's UnknownCodecError
        return False
    return True


@lru_cache
def _works(name: str, size: tuple[int, int]) -> bool:
    """Return whether an encoder encodes a few frames of this size."""
    try:
        settings = EncoderSettings(name, size, Fraction(25))
        context: Any = av.CodecContext.create(name, "w")
        layout = settings.layout(Layout("yuv420p"))
        settings.apply(context, layout)
        context.open()
        packets = 0
        for number in range(_PROBE_FRAMES):
            frame = av.VideoFrame(*size, layout.pixel_format)
            frame.pts, frame.time_base = number * TICKS // 25, Fraction(1, TICKS)
            packets += len(context.encode(frame))
        return packets + len(context.encode(None)) == _PROBE_FRAMES
    except (av.FFmpegError, ValueError) as error:  # ValueError: FFmpeg lacks it
        log.debug("The encoder %s does not work here: %s", name, error)
        return False
