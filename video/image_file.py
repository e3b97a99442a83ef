"""Decoding of one image file, with damage detected."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np

from fairmot.core.limits import MAX_PIXELS
from fairmot.core.records import ByteArray
from fairmot.video.c_stderr import can_collect_stderr, collected_stderr
from fairmot.video.image_header import JPEG_END, ImageError, ImageHeader, read_header, without_extraneous_bytes

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

_BYTES_PER_PIXEL = 8  # of an image without compression, 16 bits in four channels
_OTHER_BYTES = 64 * 2**20  # thumbnails, color profiles, the video that phones append to a photograph

# Of libjpeg's warnings (jerror.h) those after which a part of the image is gray or wrong. A few bytes too many are
# common in the files of cheap cameras, and harmless; hundreds are what is left after a wrong code.
_DAMAGE = re.compile(r"Corrupt JPEG data: (?!\d{1,2} extraneous bytes)|Premature end of JPEG file")
_EXTRANEOUS = re.compile(r"Corrupt JPEG data: \d{1,2} extraneous bytes before marker")

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
    if header.lacks_end:
        if not can_collect_stderr():
            raise ImageError("it is cut off")
        data += (
            JPEG_END  # with it libjpeg prints that data are missing, if they are; without, OpenCV 4.10 prints nothing
        )
    image, messages = _decode(data, flags)
    if any(map(_EXTRANEOUS.match, messages)):  # libjpeg prints its first warning alone, so this one hides others
        image, messages = _decode(without_extraneous_bytes(data), flags)
    for message in messages:
        log.debug("%s: %s", path, message)
    if image is None:
        raise ImageError("it is damaged, or of a kind that OpenCV does not read")
    if any(map(_DAMAGE.match, messages)):
        raise ImageError("it is damaged")
    return _upright(image, header.orientation)


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
    """Turn and mirror an image by its EXIF orientation (CIPA DC-008, tag 274)."""
    if orientation >= 5:  # rows and columns are exchanged
        image = np.asarray(cv2.transpose(image), np.uint8)
    flip = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(orientation)  # 1: left and right, 0: top and bottom, -1: both
    return image if flip is None else np.asarray(cv2.flip(image, flip), np.uint8)


def _decode(data: bytes, flags: int) -> tuple[ByteArray | None, list[str]]:
    """Return the decoded image, if there is one, and what the libraries in OpenCV printed about it."""
    with collected_stderr() as messages:  # one thread at a time, which the level of OpenCV's log needs as well
        level = _cv_log.getLogLevel()
        _cv_log.setLogLevel(0)
        try:
            # Not imread: that fails on non-ASCII paths on Windows.
            image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        except cv2.error as error:
            log.debug("OpenCV: %s", error)
            image = None
        finally:
            _cv_log.setLogLevel(level)
    return None if image is None else np.asarray(image, np.uint8), messages
