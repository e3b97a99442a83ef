"""Drawing on images in BGR and on the planes of YUV frames, with the same shapes and colors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from fairmot.core import Frame
from fairmot.core.records import ByteArray
from fairmot.video.color import yuv_matrix
from fairmot.video.planes import Layout, planes_of

Color = tuple[int, int, int]
"""Blue, green, red, 0 to 255."""

_FONT = cv2.FONT_HERSHEY_SIMPLEX


class Canvas:
    """An image that is drawn into, in place.

    Every shape is drawn into each layer of the image: one of three channels for BGR; luma and, at half the size,
    chroma for YUV. Shapes may lie outside the image in part or as a whole.

    Args:
        layers: the image as `(height, width[, channels])` arrays, contiguous.
        layout: of the image.
    """

    def __init__(self, layers: Sequence[ByteArray], layout: Layout) -> None:
        self._layers = layers
        self._layout = layout
        self._steps = [1, *[2] * (len(layers) - 1)]  # pixels per sample, in both directions
        self.height, self.width = layers[0].shape[:2]

    @classmethod
    def of_bgr(cls, image: ByteArray) -> Canvas:
        """Return the canvas of an image: `(height, width, 3)` uint8, BGR, contiguous."""
        return cls([image], Layout("bgr24"))

    @classmethod
    def of_planes(cls, frame: Frame) -> Canvas:
        """Return the canvas of a frame in `yuv420p` or `nv12`, whose pixels are contiguous."""
        return cls(planes_of(frame.pixels, frame.pixel_format), Layout.of(frame))

    def line(self, points: npt.NDArray[np.int32], color: Color, thickness: int) -> None:
        """Draw a line through points, `(n, 2)`, x and y in pixels, to a quarter of its thickness."""
        if len(points) > 2:
            points = np.asarray(cv2.approxPolyDP(points, thickness / 4, closed=False), np.int32)
        samples = _samples(self._layout, color)
        for layer, step, value in zip(self._layers, self._steps, samples, strict=True):
            # Smoothing takes most of the time, and is not seen in chroma. With a shift of one binary digit the
            # coordinates count halves of a sample.
            kind = cv2.LINE_AA if step == 1 else cv2.LINE_8
            cv2.polylines(layer, [points], False, value, -(-thickness // step), kind, step - 1)

    def rectangle(self, corner: tuple[int, int], opposite: tuple[int, int], color: Color, thickness: int) -> None:
        """Draw the outline of a rectangle, with two opposite corners, x and y in pixels, in the middle of the line."""
        samples = _samples(self._layout, color)
        for layer, step, value in zip(self._layers, self._steps, samples, strict=True):
            first, second = [(x // step, y // step) for x, y in (corner, opposite)]
            cv2.rectangle(layer, first, second, value, -(-thickness // step))

    def label(self, text: str, corner: tuple[int, int], scale: float, color: Color, *, keep: bool = True) -> None:
        """Draw text on a filled rectangle that stands on `corner`, or hangs below it at the top of the image.

        Args:
            text: one line.
            corner: x and y in pixels, rounded down to even ones, so that chroma needs no sampling anew.
            scale: of the font.
            color: of the rectangle; the text is black or white, whichever is easier to read.
            keep: whether the same label may come again, so that it is worth keeping.
        """
        patches = (_patches if keep else _patches.__wrapped__)(text, scale, color, self._layout)
        height, width = patches[0].shape[:2]
        x, y = corner[0] // 2 * 2, corner[1] // 2 * 2 - height
        y += height if y < 0 else 0
        left, top, right, bottom = max(x, 0), max(y, 0), min(x + width, self.width), min(y + height, self.height)
        if left >= right or top >= bottom:
            return
        for layer, step, patch in zip(self._layers, self._steps, patches, strict=True):
            visible = patch[(top - y) // step : (bottom - y) // step, (left - x) // step : (right - x) // step]
            layer[top // step : bottom // step, left // step : right // step] = visible


@lru_cache(maxsize=4096)
def _samples(layout: Layout, color: Color) -> tuple[tuple[int, ...], ...]:
    """Return a color as the sample of each layer."""
    pixel = tuple(_encoded(np.array([[color]], np.uint8), layout)[0, 0].tolist())
    if layout.pixel_format == "bgr24":
        return (pixel,)
    return (pixel[:1], pixel[1:]) if layout.pixel_format == "nv12" else (pixel[:1], pixel[1:2], pixel[2:])


def _encoded(image: ByteArray, layout: Layout) -> ByteArray:
    """Return a BGR image as `(height, width, 3)` in the components of a layout, chroma at full size."""
    if layout.pixel_format == "bgr24":
        return image
    matrix = yuv_matrix(layout.color_space, layout.full_range)
    return np.asarray(cv2.transform(image, matrix), np.uint8)


@lru_cache(maxsize=1024)
def _patches(text: str, scale: float, color: Color, layout: Layout) -> tuple[ByteArray, ...]:
    """Return the image of a label as one patch per layer; width and height are even."""
    stroke = max(1, round(1.6 * scale))
    (width, height), baseline = cv2.getTextSize(text, _FONT, scale, stroke)
    margin = max(2, height // 4)
    rows, columns = height + baseline + margin, width + 2 * margin
    image = np.empty((rows + rows % 2, columns + columns % 2, 3), np.uint8)
    image[:] = color
    luminance = 0.114 * color[0] + 0.587 * color[1] + 0.299 * color[2]
    ink = (0, 0, 0) if luminance > 110 else (255, 255, 255)
    cv2.putText(image, text, (margin, len(image) - baseline), _FONT, scale, ink, stroke, cv2.LINE_AA)
    encoded = _encoded(image, layout)
    if layout.pixel_format == "bgr24":
        return (encoded,)
    halved = np.asarray(cv2.resize(encoded, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)
    chroma = (halved[:, :, 1:],) if layout.pixel_format == "nv12" else (halved[:, :, 1], halved[:, :, 2])
    return encoded[:, :, 0].copy(), *chroma
