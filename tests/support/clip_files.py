"""Small videos with known content for the tests of `video`."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]

SIZE = (96, 64)


def flat(number: int, size: tuple[int, int] = SIZE) -> Image:
    """Return a gray image whose level encodes its number (up to 40)."""
    return np.full((size[1], size[0], 3), 20 + 5 * number, np.uint8)


def number_of(image: Image) -> int:
    """Return the number of a flat image read back from YUV (swscale truncates: 2 to 4 levels are lost)."""
    return round((float(image.mean()) - 18) / 5)


def noise(number: int, size: tuple[int, int] = SIZE) -> Image:
    """Return an image that does not compress, so that files are long enough to cut and to damage."""
    return np.random.default_rng(number).integers(0, 255, (size[1], size[0], 3), np.uint8)


def write_video(
    path: Path,
    images: Iterable[Image],
    *,
    times: Sequence[float] | None = None,
    rate: int = 25,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    encoder: dict[str, str] | None = None,
    muxer: dict[str, str] | None = None,
    **context: Any,
) -> Path:
    """Encode BGR images; `times` in seconds makes the rate vary; `context` sets codec context attributes."""
    ticks = Fraction(1, 12800)
    with av.open(str(path), "w", options=muxer or {}) as container:
        stream: Any = container.add_stream(codec, rate=rate, options=encoder or {})
        stream.pix_fmt = pix_fmt
        for name, value in context.items():
            setattr(stream.codec_context, name, value)
        if times is not None:
            stream.codec_context.time_base = ticks
        for position, image in enumerate(images):
            if position == 0:
                stream.height, stream.width = image.shape[:2]
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts = position
            if times is not None:
                frame.pts, frame.time_base = round(times[position] / ticks), ticks
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_flat_video(path: Path, count: int = 20, size: tuple[int, int] = SIZE, **options: Any) -> Path:
    """Encode `count` flat images, numbered from 1."""
    return write_video(path, [flat(number, size) for number in range(1, count + 1)], **options)


def write_noise_video(path: Path, count: int = 40, **options: Any) -> Path:
    """Encode `count` noise images."""
    return write_video(path, [noise(number) for number in range(count)], **options)


def write_empty_mp4(path: Path) -> Path:
    """Write a valid mp4 with a video track and no frames."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        container.start_encoding()
    return path


def write_audio(path: Path) -> Path:
    """Write a second of silence."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def turn_clockwise(path: Path) -> Path:
    """Set the display matrix of an mp4 to a quarter turn clockwise, as phones held upright write it."""
    identity = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    turned = struct.pack(">9i", 0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000)
    data = path.read_bytes()
    track_header = data.index(b"tkhd")
    at = data.index(identity, track_header)
    path.write_bytes(data[:at] + turned + data[at + len(identity) :])
    return path
