"""From what a user typed to a source of frames."""

from __future__ import annotations

import glob
from pathlib import Path

from core import SourceError
from core.errors import suggestion
from video.capture import CameraSource
from video.images import ImageSource, is_sequence, natural_key
from video.source import Source
from video.stream import SourceFormat, VideoSource
from video.urls import is_url


def open_source(
    spec: str, *, start: int = 1, count: int | None = None, stride: int = 1, pixel_format: SourceFormat = "bgr24"
) -> Source:
    """Open a source of frames.

    Args:
        spec: a video file, a folder of images, a MOTChallenge sequence, the index of a camera (`0`) or
            its device path, a URL (rtsp, http, ...), or `demo`, the built-in scene (`demo?people=30`).
        start: number of the first frame to yield, from 1.
        count: most frames to yield; None for all.
        stride: yield every `stride`-th frame. `Frame.index` is always the number in the source.
        pixel_format: `yuv420p` hands over YUV planes unconverted where the source has them (see `VideoSource`).

    Returns:
        An open source: a context manager and an iterator of `Frame`.

    Raises:
        SourceError: if it cannot be opened or holds no frames.
        ConfigError: if `start`, `count` or `stride` is out of range.
    """
    source = _open(spec, pixel_format)
    try:
        source.select(start, count, stride)
    except BaseException:
        source.close()
        raise
    return source


def expand_sources(spec: str) -> list[str]:
    """Return the sources that a folder of MOTChallenge sequences or a glob stands for, else `[spec]`.

    Args:
        spec: as for `open_source`, or a glob (`clips/*.mp4`), or a folder that holds sequences, directly
            (`MOT17/train`) or one level further down (`MOT17`).

    Raises:
        SourceError: if a glob matches nothing.
    """
    path = Path(spec)
    if _is_demo(spec) or is_url(spec) or spec.isdecimal():
        return [spec]
    if path.is_dir() and not is_sequence(path):
        for pattern in ("*", "*/*"):
            sequences = [child for child in path.glob(pattern) if child.is_dir() and is_sequence(child)]
            if sequences:
                return [str(child) for child in sorted(sequences, key=lambda child: (child.parent, natural_key(child)))]
    if not path.exists() and glob.has_magic(spec):
        matches = sorted(
            map(Path, glob.glob(spec, recursive=True)), key=lambda match: (match.parent, natural_key(match))
        )
        if not matches:
            raise SourceError(f"Nothing matches {spec}; check the pattern and the folder.")
        return [str(match) for match in matches]
    return [spec]


def _is_demo(spec: str) -> bool:
    return spec == "demo" or spec.startswith("demo?")


def _open(spec: str, pixel_format: SourceFormat) -> Source:
    """Open the kind of source that `spec` names."""
    if _is_demo(spec):
        from video.demo import DemoSource

        return DemoSource(spec)
    if is_url(spec):
        return VideoSource(spec, pixel_format=pixel_format)
    if spec.isdecimal():
        return CameraSource(int(spec))
    path = Path(spec)
    if path.is_dir():
        return ImageSource(path)
    if path.is_char_device():
        return CameraSource(spec)
    if path.is_file():
        return VideoSource(spec, pixel_format=pixel_format)
    if path.exists():
        raise SourceError(f"{spec} is neither a file nor a folder; give a video file or a folder of images.")
    siblings = [child.name for child in path.parent.iterdir()] if path.parent.is_dir() else []
    raise SourceError(f"There is no file or folder {spec}; check the path.{suggestion(path.name, siblings)}")
