"""Pre-processing of frames: place them in the network's input, then normalize. A model's metadata names the way.

`area` is FairMOT's (`letterbox` in `src/lib/datasets/dataset/jde.py`): one ratio for both axes, sizes and paddings
rounded as there, area averaging when shrinking. Area averaging maps edge to edge, so a box in continuous pixel
coordinates goes back by a shift and a scale per axis.

`linear` is CenterNet's (`pre_process` in `src/lib/detectors/base_detector.py`, `get_affine_transform` in
`src/lib/utils/image.py`): a bilinear warp without averaging, the center of the frame (w/2, h/2) to the center of the
input. The scale is W / max(w, h) at a square input of W pixels; at others, for which CenterNet crops, it is
min(W/w, H/h), so that the whole frame is visible. `linear-centered` is that of tensorRT_Pro
(`AffineMatrix::compute` in `src/application/app_centernet` and others): the scale is min(W/w, H/h), and both
translations are larger by scale/2 - 1/2, which maps the edges of pixels and not their centers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar, cast

import cv2
import numpy as np
import numpy.typing as npt

from fairmot.core.records import ByteArray, FloatArray
from fairmot.engine.model import ModelInfo
from fairmot.engine.preprocessing import Resize

Array = TypeVar("Array", bound=npt.NDArray[Any])


@dataclass(frozen=True)
class Letterbox:
    """Position and size of a frame in the network's input; all in pixels, `(width, height)` or `(x, y)`.

    Attributes:
        source: size of the frame.
        target: size of the network's input.
        resized: size of the frame within the input; the whole input for a warp, which fades into the border.
        left: first column of the frame within the input.
        top: first row of the frame within the input.
        scale: input pixel = source pixel * scale + shift, per axis. `area` counts pixels from their edges, so that
            0 to w is the whole frame; a warp counts from their centers, as OpenCV and the networks trained so do.
        shift: see `scale`.
        resize: how the pixels are computed.
    """

    source: tuple[int, int]
    target: tuple[int, int]
    resized: tuple[int, int]
    left: int
    top: int
    scale: tuple[float, float]
    shift: tuple[float, float]
    resize: Resize = "area"

    @classmethod
    @lru_cache(maxsize=64)
    def fit(cls, source: tuple[int, int], target: tuple[int, int], resize: Resize = "area") -> Letterbox:
        """Place a frame of size `source` into an input of size `target`, as large as it fits.

        Raises:
            ValueError: if a side of either is not above 0.
        """
        _check_sizes(source, target)
        ratio = min(target[1] / source[1], target[0] / source[0])
        if resize != "area":
            half = 0.5 * ratio - 0.5 if resize == "linear-centered" else 0.0
            shift = (target[0] / 2 - ratio * source[0] / 2 + half, target[1] / 2 - ratio * source[1] / 2 + half)
            return cls(source, target, target, 0, 0, (ratio, ratio), shift, resize)
        # A frame so narrow that it would vanish keeps one pixel; the reference fails there.
        width = max(1, round(source[0] * ratio))
        height = max(1, round(source[1] * ratio))
        # The 0.1 splits an odd padding so that the larger half lies to the right and below.
        left = round((target[0] - width) / 2 - 0.1)
        top = round((target[1] - height) / 2 - 0.1)
        scale = (width / source[0], height / source[1])
        return cls(source, target, (width, height), left, top, scale, (left, top))

    @classmethod
    def warp(
        cls, source: tuple[int, int], target: tuple[int, int], scale: tuple[float, float], shift: tuple[float, float]
    ) -> Letterbox:
        """Place a frame by a bilinear warp of any scale and shift; what does not fit is cropped.

        Args:
            source: size of the frame.
            target: size of the network's input.
            scale: input pixel = source pixel * scale + shift, per axis.
            shift: in input pixels.

        Raises:
            ValueError: if a side of either size or a scale is not above 0, or a number is not finite.
        """
        _check_sizes(source, target)
        if not (all(0 < each < math.inf for each in scale) and all(map(math.isfinite, shift))):
            raise ValueError(f"No warp has the scale {scale} and the shift {shift}")
        return cls(source, target, target, 0, 0, scale, shift, "linear")

    @property
    def inverse(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Scale and shift from input pixels to source pixels."""
        (x, y), (left, top) = self.scale, self.shift
        return (1 / x, 1 / y), (-left / x, -top / y)


def _check_sizes(source: tuple[int, int], target: tuple[int, int]) -> None:
    if min(*source, *target) <= 0:
        raise ValueError(f"A frame of {source} cannot be placed in an input of {target}: a side is not above 0")


def letterbox(image: ByteArray, geometry: Letterbox, border: int = 128, out: ByteArray | None = None) -> ByteArray:
    """Resize an image and pad it with gray.

    OpenCV's INTER_AREA averages areas when shrinking and is INTER_LINEAR when enlarging. FairMOT's border
    of 127.5 becomes 128 in uint8. A warp is OpenCV's `warpAffine`: OpenCV 4 rounds coordinates to 1/32 pixel,
    OpenCV 5 does not, which makes up to 8 levels of 255 at the sharpest edge and none in even areas (measured with
    4.9, 4.14 and 5.0).

    Args:
        image: `(height, width, 3)` uint8 of the size `geometry.source`.
        geometry: where the image goes.
        border: gray value 0 to 255 around it.
        out: `(height, width, 3)` uint8 of the size `geometry.target`, to write into.

    Returns:
        `out`, or a new array of that shape.

    Raises:
        TypeError: if `image` or `out` is not uint8.
        ValueError: if one of them does not have its shape.
    """
    _check(image, "image")
    if (image.shape[1], image.shape[0]) != geometry.source:
        raise ValueError(
            f"An image of {image.shape[1]}x{image.shape[0]} does not fit a letterbox for {geometry.source}"
        )
    if out is not None:
        _check(out, "out")
        if (out.shape[1], out.shape[0]) != geometry.target:
            raise ValueError(f"out is {out.shape[1]}x{out.shape[0]} but the letterbox makes {geometry.target}")
    gray = (border, border, border)
    if geometry.resize != "area":
        warped = cast(
            ByteArray,
            # The inverse, as OpenCV would compute it from the matrix, but from the same numbers as in the CUDA kernel.
            cv2.warpAffine(
                image,
                _matrix(geometry),
                geometry.target,
                dst=out,
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_CONSTANT,
                borderValue=gray,
            ),
        )
        return warped if out is None else _stored(warped, out)
    width, height = geometry.resized
    if geometry.resized != geometry.source:
        image = cast(ByteArray, cv2.resize(image, geometry.resized, interpolation=cv2.INTER_AREA))
    bottom = geometry.target[1] - height - geometry.top
    right = geometry.target[0] - width - geometry.left
    padded = cast(
        ByteArray,
        cv2.copyMakeBorder(image, geometry.top, bottom, geometry.left, right, cv2.BORDER_CONSTANT, dst=out, value=gray),
    )
    return padded if out is None else _stored(padded, out)


def _matrix(geometry: Letterbox) -> npt.NDArray[np.float64]:
    """Return the matrix `(2, 3)` from input pixels to source pixels."""
    (x, y), (left, top) = geometry.inverse
    return np.array([[x, 0, left], [0, y, top]])


def _check(array: ByteArray, name: str) -> None:
    if array.dtype != np.uint8:
        raise TypeError(f"{name} must be uint8, not {array.dtype} with the shape {array.shape}")
    if array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f"{name} must have the shape (height, width, 3), not {array.shape}")


def _stored(result: Array, out: Array) -> Array:
    """Return `out`, holding `result`.

    OpenCV silently allocates a new array where `dst` does not have the type and size of the result: only the
    array that it returns is sure to hold the result.
    """
    if result is not out:
        np.copyto(out, result)
    return out


class Preprocessor:
    """A function from BGR images to network inputs, in buffers that are kept between calls.

    A uint8 channel has 256 values, so division by 255, mean and std are one table per channel: exact, and
    as fast as a plain multiplication (measured: split and table take 0.2 ms at 576x320 and 0.5 ms at
    1088x608, against 2.0 and 4.7 ms for `cv2.dnn.blobFromImage`).

    Args:
        model: channel order, mean, std, border and resize.
        size: `(width, height)` of the input.
    """

    def __init__(self, model: ModelInfo, size: tuple[int, int]) -> None:
        width, height = size
        self._size = size
        self._border = model.border
        self._resize = model.resize
        self._order = (2, 1, 0) if model.channel_order == "rgb" else (0, 1, 2)
        values = np.arange(256, dtype=np.float32) / np.float32(255)
        self._tables = [
            (values - np.float32(mean)) / np.float32(std) for mean, std in zip(model.mean, model.std, strict=True)
        ]
        self._canvas = np.empty((height, width, 3), np.uint8)
        self._planes = [np.empty((height, width), np.uint8) for _ in range(3)]
        self._batch = np.empty((0, 3, height, width), np.float32)

    def __call__(self, images: Sequence[ByteArray]) -> tuple[FloatArray, list[Letterbox]]:
        """Letterbox and normalize images, each of any size.

        Args:
            images: `(height, width, 3)` uint8 in BGR order.

        Returns:
            `(n, 3, height, width)` float32, valid until the next call, and the geometry of each image.

        Raises:
            TypeError: if an image is not uint8.
            ValueError: if one does not have that shape, or is empty.
        """
        if len(self._batch) < len(images):
            self._batch = np.empty((len(images), *self._batch.shape[1:]), np.float32)
        geometries = []
        for image, planes in zip(images, self._batch, strict=False):
            _check(image, "image")
            geometry = Letterbox.fit((image.shape[1], image.shape[0]), self._size, self._resize)
            letterbox(image, geometry, self._border, out=self._canvas)
            self._normalize(cv2.split(self._canvas, self._planes), planes)
            geometries.append(geometry)
        return self._batch[: len(images)], geometries

    def prepare(self, image: ByteArray, geometry: Letterbox) -> FloatArray:
        """Place one image by a given geometry, for an input of any size, and normalize it.

        Args:
            image: `(height, width, 3)` uint8 in BGR order, of the size `geometry.source`.
            geometry: where the image goes.

        Returns:
            `(3, height, width)` float32 of the size `geometry.target`, a new array.

        Raises:
            TypeError: if the image is not uint8.
            ValueError: if it does not have that shape.
        """
        planes = np.empty((3, *geometry.target[::-1]), np.float32)
        self._normalize(cv2.split(letterbox(image, geometry, self._border)), planes)
        return planes

    def _normalize(self, channels: Sequence[Any], planes: FloatArray) -> None:
        """Write the planes of the input from the channels of a BGR image."""
        for channel, table, plane in zip(self._order, self._tables, planes, strict=True):
            _stored(cast(FloatArray, cv2.LUT(channels[channel], table, dst=plane)), plane)
