"""Conversion of decoded frames: color, size and orientation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from fairmot.core import Frame
from fairmot.core.records import ByteArray
from fairmot.video.color import color_space
from fairmot.video.orientation import Orientation

_PLANAR = {"yuv420p": "yuv420p", "yuvj420p": "yuv420p", "nv12": "nv12"}


class FrameConverter:
    """A converter of the decoded frames of one stream into frames of one size.

    Args:
        size: `(width, height)` that all frames get, as stored.
        orientation: of the frames as shown.
        planes: whether 8-bit 4:2:0 planes of even size that are stored upright stay as they are; all others become BGR.
    """

    def __init__(self, size: tuple[int, int], orientation: Orientation, *, planes: bool) -> None:
        self.size = size
        self.orientation = orientation
        self._planes = planes
        self._reformatter = VideoReformatter()

    def keeps_planes(self, pixel_format: str) -> bool:
        """Return whether frames of one of FFmpeg's pixel formats stay planes."""
        width, height = self.size
        is_even = not (width % 2 or height % 2)
        return self._planes and pixel_format in _PLANAR and self.orientation.is_upright and is_even

    def frame(
        self, number: int, time: float, decoded: av.VideoFrame, allocate: Callable[[tuple[int, ...]], ByteArray]
    ) -> Frame:
        """Return a decoded frame as a `Frame`: converted, or its planes as they are.

        Args:
            number: of the frame.
            time: of the frame in seconds.
            decoded: output of the decoder.
            allocate: returns memory of a shape for the planes.
        """
        size = decoded.width, decoded.height
        space = color_space(int(decoded.colorspace), self.size)
        full_range = int(decoded.color_range) == 2 or decoded.format.name.startswith("yuvj")
        width, height = self.size
        planar = _PLANAR.get(decoded.format.name)
        as_planes = self.keeps_planes(decoded.format.name)
        if size != self.size or not as_planes:
            # Swscale treats gray and palettes as full range automatically.
            yuv = not decoded.format.is_rgb and not decoded.format.has_palette and len(decoded.format.components) >= 3
            source_range = ColorRange.JPEG if full_range else ColorRange.MPEG
            decoded = self._reformatter.reformat(
                decoded,
                width,
                height,
                decoded.format.name if as_planes else "bgr24",
                src_colorspace=Colorspace[space] if yuv else None,
                dst_colorspace=Colorspace[space] if yuv and as_planes else None,
                src_color_range=source_range if yuv else None,
                dst_color_range=source_range if as_planes else ColorRange.JPEG,
            )
        if as_planes:
            pixels = _copy_planes(decoded, allocate((height * 3 // 2, width)))
            return Frame(number, time, pixels, cast(Any, planar), space, full_range)
        return Frame(number, time, self.orientation.apply(cast(ByteArray, decoded.to_ndarray())))


def _copy_planes(decoded: av.VideoFrame, out: ByteArray) -> ByteArray:
    """Copy the planes of a frame one after the other into `out`, without the padding of their lines; return it."""
    flat = out.reshape(-1)
    start = 0
    for plane in decoded.planes:
        lines = np.frombuffer(cast(Any, plane), np.uint8).reshape(plane.height, plane.line_size)
        width = plane.width * (2 if decoded.format.name == "nv12" and start else 1)  # U and V in turn
        end = start + plane.height * width
        flat[start:end].reshape(plane.height, width)[...] = lines[:, :width]
        start = end
    return out
