"""One image file as a picture."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np

from core.limits import MAX_PIXELS
from core.records import ByteArray
from video.image_header import ImageError, ImageHeader, read_header

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

_BYTES_PER_PIXEL = 8  # of an image without compression, 16 bits in four channels
_OTHER_BYTES = 64 * 2**20  # thumbnails, color profiles, the video that phones append to a photograph

# OpenCV 5.0 has moved these functions; the stubs know neither place for sure.
_cv_log: Any = cv2 if hasattr(cv2, "setLogLevel") else cast(Any, cv2).utils.logging


def read_image(path: Path, max_pixels: int = MAX_PIXELS) -> ByteArray:
    """Return an image as `(height, width, 3)` BGR uint8, upright by its EXIF orientation.

    More bits per channel become 8, gray and palettes become BGR, transparency is dropped.

    Args:
        path: of the file.
        max_pixels: an image with more is not decoded.

    Raises:
        ImageError: if it cannot be read, is damaged or too large.
    """
    data = _read_bytes(path, max_pixels)
    header = read_header(data)
    if header.width * header.height > max_pixels:
        raise ImageError(
            f"it has {header.width}x{header.height} pixels, more than --max-pixels allows, which is {max_pixels}"
        )
    own_orientation = header.orientation != 1
    flags = cv2.IMREAD_COLOR | (cv2.IMREAD_IGNORE_ORIENTATION if own_orientation else 0)
    try:
        with _quiet_opencv():
            # Not imread: that fails on non-ASCII paths on Windows.
            image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise ImageError("it is damaged") from error
    if image is None:
        raise ImageError("it is damaged, or of a kind that OpenCV does not read")
    return _upright(np.asarray(image, np.uint8), header.orientation)


def read_image_header(path: Path, max_pixels: int = MAX_PIXELS) -> ImageHeader:
    """Return the header of an image file.

    Raises:
        ImageError: if it cannot be read, or is damaged.
    """
    return read_header(_read_bytes(path, max_pixels))


def _read_bytes(path: Path, max_pixels: int) -> bytes:
    limit = _BYTES_PER_PIXEL * max_pixels + _OTHER_BYTES
    try:
        if path.stat().st_size > limit:
            raise ImageError(f"it has more than {limit} bytes, too many for --max-pixels, which is {max_pixels}")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ImageError("it is a symbolic link that leads nowhere" if path.is_symlink() else "it is gone") from error
    except OSError as error:
        raise ImageError((error.strerror or str(error)).lower()) from error


def _upright(image: ByteArray, orientation: int) -> ByteArray:
    """Turn and mirror an image as its EXIF orientation says (CIPA DC-008, tag 274)."""
    if orientation >= 5:  # rows and columns are exchanged
        image = np.asarray(cv2.transpose(image), np.uint8)
    flip = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(orientation)  # 1: left and right, 0: top and bottom, -1: both
    return image if flip is None else np.asarray(cv2.flip(image, flip), np.uint8)


_quiet_lock = threading.Lock()
_quiet_users = 0
_level_before = 0


@contextmanager
def _quiet_opencv() -> Iterator[None]:
    """Keep OpenCV from writing to stderr about an image; the level of its log belongs to the whole process."""
    global _quiet_users, _level_before
    with _quiet_lock:
        if not _quiet_users:
            _level_before = _cv_log.getLogLevel()
            _cv_log.setLogLevel(0)
        _quiet_users += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_users -= 1
            if not _quiet_users:
                _cv_log.setLogLevel(_level_before)
