"""Opening of the source that a text names: file, folder, camera, URL or the built-in scene."""

from __future__ import annotations

import errno
import glob
import itertools
import logging
import os
import stat
import sys
from pathlib import Path

import av

from fairmot.core import SourceError
from fairmot.core.errors import suggestion
from fairmot.core.limits import MAX_PIXELS
from fairmot.core.text import one_line
from fairmot.video.capture import CameraSource
from fairmot.video.decoder_process import Origin, SourceFormat
from fairmot.video.image_file import IMAGE_SUFFIXES, read_image_header
from fairmot.video.image_header import ImageError
from fairmot.video.images import ImageSource, holds_images, is_hidden, is_junk, is_sequence, natural_key
from fairmot.video.source import Source
from fairmot.video.urls import is_url
from fairmot.video.video_source import VideoSource

log = logging.getLogger(__name__)

_MOST_CAMERA_DIGITS = 9
_VIDEO_DEVICES = 81  # major number of Linux's video4linux (Documentation/admin-guide/devices.txt)
_SHOWN_CHARACTERS = 200  # of a path or URL in a message
_MOST_SIBLINGS = 2000  # files beside a missing one that are compared with its name
_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISBLK, "a block device"),
    (stat.S_ISCHR, "a device that is no camera"),
)


def open_source(
    spec: str,
    *,
    start: int = 1,
    count: int | None = None,
    stride: int = 1,
    pixel_format: SourceFormat = "bgr24",
    max_pixels: int = MAX_PIXELS,
) -> Source:
    """Open a source of frames.

    Args:
        spec: a video file, an image, a folder of images, a MOTChallenge sequence, the index of a camera (`0`)
            or its device path, a URL (rtsp, http, ...), or `demo`, the built-in scene (`demo?people=30`). A path
            that exists is always that path, also where it is called `0` or `demo`.
        start: number of the first frame to yield, from 1.
        count: most frames to yield; None for all.
        stride: yield every `stride`-th frame. `Frame.index` is always the number in the source.
        pixel_format: with `yuv420p` YUV planes stay unconverted where the source has them (see `VideoSource`).
        max_pixels: most pixels of an image or a video frame; larger ones are refused before they are decoded.

    Returns:
        An open source: a context manager and an iterator of `Frame`.

    Raises:
        SourceError: if it cannot be opened or holds no frames.
        ConfigError: if `start`, `count` or `stride` is out of range.

    Example:
        with open_source("video.mp4", stride=2) as source:
            for frame in source:
                print(frame.index, frame.timestamp, frame.bgr.shape)
    """
    source = _open(spec, pixel_format, max_pixels)
    source.origin = Origin(spec, pixel_format, max_pixels)
    try:
        source.select(start, count, stride)
    except BaseException:
        source.close()
        raise
    return source


def expand_sources(spec: str) -> list[str]:
    """Return the sources that a folder of MOTChallenge sequences or a glob stands for, else `[spec]`.

    Paths are returned so that `open_source` takes them for nothing else: `./0000`, not camera `0000`. Hidden files and
    folders are left out.

    Args:
        spec: as for `open_source`, or a glob (`clips/*.mp4`), or a folder that holds sequences, directly
            (`MOT17/train`) or one level further down (`MOT17`).

    Raises:
        SourceError: if a glob matches nothing, or `spec` is no path or URL at all.
    """
    _check_text(spec)
    if is_url(spec):
        return [spec]
    if names_path(spec):
        sequences = [] if is_sequence(Path(spec)) else _sequences_in(Path(spec))
        return _as_specs(sequences) if sequences else [spec]
    if _is_demo(spec) or spec.isdecimal() or not glob.has_magic(spec):
        return [spec]
    # Patterns that do not begin with a dot match no name that does.
    matches = [match for match in map(Path, glob.glob(spec, recursive=True)) if not is_junk(match.name)]
    if not matches:
        raise SourceError(f"Nothing matches {_shown(spec)}; check the pattern and the folder.")
    return _as_specs(matches)


def names_path(spec: str) -> bool:
    """Return whether a source is an existing path, which takes precedence over a camera or the scene of that name.

    A folder `demo` without images is none: the results of the built-in scene are in a folder of that name.
    """
    if is_url(spec) or not os.path.lexists(spec):
        return False
    path = Path(spec)
    return not (_is_demo(spec) and os.path.isdir(path)) or holds_images(path) or bool(_sequences_in(path))


def names_camera(spec: str) -> bool:
    """Return whether a source is the index of a camera, or the path of its device."""
    if not names_path(spec):
        return not is_url(spec) and _is_index(spec)
    try:
        return stat.S_ISCHR(os.stat(spec).st_mode)
    except OSError:  # opening it reports that
        return False


def _is_index(spec: str) -> bool:
    return spec.isdecimal() and len(spec) <= _MOST_CAMERA_DIGITS


def _as_specs(paths: list[Path]) -> list[str]:
    """Return paths in natural order, as text that is never taken for a camera or the built-in scene."""
    paths = sorted(paths, key=lambda path: (path.parent, natural_key(path)))
    return [os.path.join(".", path) if _is_demo(str(path)) or str(path).isdecimal() else str(path) for path in paths]


def _sequences_in(folder: Path) -> list[Path]:
    """Return the MOTChallenge sequences in a folder, or one level further down if there are none."""
    for pattern in ("*", "*/*"):
        found = [path for path in folder.glob(pattern) if not any(map(is_hidden, path.relative_to(folder).parts))]
        sequences = [path for path in found if is_sequence(path)]
        if sequences:
            return sequences
    return []


def _is_demo(spec: str) -> bool:
    return spec == "demo" or spec.startswith("demo?")


def _check_text(spec: str) -> None:
    """Raise unless a source can be a path or a URL."""
    if not spec.strip() and not os.path.exists(spec):
        raise SourceError("A source is empty; name a file, a folder (. is the current one), a camera, a URL or demo.")
    try:
        os.fsencode(spec)
    except UnicodeEncodeError as error:
        raise SourceError(f"The source {_shown(ascii(spec))} is not valid text; check its encoding.") from error
    if "\0" in spec:
        raise SourceError(f"The source {_shown(repr(spec))} holds a null character, which no path or URL may hold.")


def _open(spec: str, pixel_format: SourceFormat, max_pixels: int) -> Source:
    """Open the kind of source that `spec` names."""
    _check_text(spec)
    if is_url(spec):
        return VideoSource(spec, pixel_format=pixel_format, max_pixels=max_pixels)
    if not names_path(spec):
        if _is_demo(spec):
            from fairmot.video.synthetic.demo import DemoSource

            return DemoSource(spec)
        if _is_index(spec):
            return CameraSource(int(spec))
    try:
        mode = os.stat(spec).st_mode
    except OSError as error:
        raise _not_found(spec, error) from error
    if spec.isdecimal() or _is_demo(spec):
        log.info("%s is taken as the path that exists here, not as a camera or the built-in scene.", spec)
    path = Path(spec)
    if stat.S_ISDIR(mode) or (stat.S_ISREG(mode) and _is_still_image(path, max_pixels)):
        return ImageSource(path, max_pixels=max_pixels)
    if stat.S_ISREG(mode):
        return VideoSource(spec, pixel_format=pixel_format, max_pixels=max_pixels)
    if stat.S_ISCHR(mode) and _may_be_camera(path):
        return CameraSource(spec)
    kind = next((kind for test, kind in _KINDS if test(mode)), "neither a file nor a folder")
    raise SourceError(f"{spec} is {kind}; give a video file, an image, a folder of images or a camera.")


def _may_be_camera(path: Path) -> bool:
    return sys.platform != "linux" or os.major(path.stat().st_rdev) == _VIDEO_DEVICES


def _is_still_image(path: Path, max_pixels: int) -> bool:
    """Return whether a file is one image, and no animation, which FFmpeg plays.

    Raises:
        SourceError: if it is an animated WebP file, and the FFmpeg in PyAV is one of those that cannot play it.
    """
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return False
    try:
        header = read_image_header(path, max_pixels)
    except ImageError:
        return True  # opening it reports the error
    if header.is_animated and path.suffix.lower() == ".webp" and "webp_anim" not in av.formats_available:
        raise SourceError(f"{path} is an animated WebP file, which PyAV reads from version 19 on; update it.")
    return not header.is_animated


def _not_found(spec: str, error: OSError) -> SourceError:
    """Return the error for a path that cannot be followed to a file or folder."""
    if error.errno == errno.ENAMETOOLONG:
        return SourceError(f"The path {_shown(spec)} is too long for this system; check it.")
    if error.errno == errno.ELOOP:
        return SourceError(f"{spec} is a symbolic link that leads back to itself; give the file that is meant.")
    if error.errno in (errno.EACCES, errno.EPERM):
        return SourceError(f"{spec} cannot be reached (permission denied); check the permissions of its folders.")
    if error.errno not in (errno.ENOENT, errno.ENOTDIR):
        return SourceError(f"{spec} cannot be read: {error.strerror or error}.")
    path = Path(spec)
    for part in (path, *path.parents):
        if os.path.islink(part) and not os.path.exists(part):
            return SourceError(
                f"{part} is a symbolic link to {os.readlink(part)}, which does not exist; repair the link, or give the "
                "file that is meant."
            )
    return SourceError(
        f"There is no file or folder {_shown(spec)}; check the path.{suggestion(path.name, _siblings(path))}"
    )


def _siblings(path: Path) -> list[str]:
    """Return the names beside a path that could be meant instead of it."""
    try:
        names = [child.name for child in itertools.islice(path.parent.iterdir(), _MOST_SIBLINGS)]
    except OSError:
        return []
    return [name for name in names if name != path.name and not is_hidden(name)]


def _shown(text: str) -> str:
    return one_line(text, _SHOWN_CHARACTERS)
