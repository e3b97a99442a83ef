"""Letterbox of the planes of a frame to one image of the network's input, in one pass on the GPU."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from fairmot.core.records import PixelFormat
from fairmot.engine.cuda.gpu import Gpu
from fairmot.engine.cuda.kernels.tensors import check_tensor

if TYPE_CHECKING:
    import torch

    from fairmot.engine.letterbox import Letterbox

Layout = Literal["chw_float32", "hwc4_float16", "hwc8_float16"]
"""Of the network's input: planes in float32, or pixels in float16, filled up with zeros to 4 or 8 channels.

The latter two are TensorRT's formats kCHW4 and kHWC8 of 3 channels.
"""

_SOURCE = Path(__file__).with_suffix(".cu")
TAPS = np.dtype([("first", "i4"), ("count", "i4"), ("head", "f4"), ("body", "f4"), ("tail", "f4")])
"""`Taps` of the kernel: the first pixel that is read, how many, and the weights of the first, of those between, and of
the last."""

_LUMA_SHARES = {"ITU601": (0.299, 0.114), "ITU709": (0.2126, 0.0722)}
"""Red's and blue's share of luma: ITU-R BT.601 and BT.709."""


class LetterboxKernel:
    """Planes of one frame to one image of the network's input, in one pass.

    Color conversion rounds to 8 bits, then the resize, as on the CPU: equal to OpenCV's INTER_AREA or its
    `warpAffine` within one level of 255 on BGR frames. A warp has no rotation, so it is separable like the
    resize: only the tables of taps differ. YUV is converted by the standard's formula, each chroma sample for its
    2x2 pixels; swscale on x86 rounds every term down, so its levels lie up to 3 lower.

    Args:
        gpu: where it runs.
        size: `(width, height)` of the network's input.
        mean: of the three channels, taken off after division by 255.
        std: of the three channels, divided by then.
        channel_order: of the network's input.
        border: gray value 0 to 255 around the frame; 0 for warps, whose missing pixels add nothing.
        layout: of the network's input.
    """

    def __init__(
        self,
        gpu: Gpu,
        size: tuple[int, int],
        mean: Sequence[float],
        std: Sequence[float],
        channel_order: Literal["rgb", "bgr"],
        border: int,
        layout: Layout,
    ) -> None:
        self._size = size
        self._border = border
        self._red_first = int(channel_order == "rgb")
        self._layout = layout
        # Rounded once for float16; in float32 step by step, as on the CPU.
        kind = np.float32 if layout == "chw_float32" else np.float64
        values = np.arange(256).astype(kind) / kind(255)
        table = (values - np.array(mean, kind)[:, None]) / np.array(std, kind)[:, None]
        self._values = gpu.upload(table if layout == "chw_float32" else table.astype(np.float16))
        pixel_formats: tuple[PixelFormat, ...] = ("bgr24", "yuv420p", "nv12")
        self._launch = {
            pixel_format: gpu.kernel(_SOURCE, f"letterbox_{pixel_format}_{layout}", "PPPPP8i8iii")
            for pixel_format in pixel_formats
        }
        self._tables = lru_cache(maxsize=16)(
            lambda geometry: tuple(gpu.upload(taps.view(np.uint8)) for taps in geometry_taps(geometry))
        )

    def input_shape(self, batch: int) -> tuple[int, ...]:
        """Return the shape of the tensor that holds the network's input for `batch` frames."""
        return input_shape(self._layout, self._size, batch)

    def prepare(self, geometry: Letterbox) -> tuple[torch.Tensor, torch.Tensor]:
        """Upload what a new geometry needs; `launch` does so too, but cannot while a CUDA graph is captured.

        Returns:
            Tensors that must live as long as a CUDA graph which holds a launch with this geometry.
        """
        columns, rows = self._tables(geometry)
        return columns, rows

    def launch(
        self,
        source: torch.Tensor,
        pixel_format: PixelFormat,
        color_space: Literal["ITU601", "ITU709"],
        full_range: bool,
        geometry: Letterbox,
        out: torch.Tensor,
        image: int,
    ) -> None:
        """Write one image of the network's input.

        Args:
            source: uint8, the bytes of the frame as `fairmot.core.records.Frame.pixels` has them.
            pixel_format: of the frame.
            color_space: matrix of a YUV frame.
            full_range: whether a YUV frame uses 0 to 255 instead of 16 to 235.
            geometry: position and size of the frame in the input.
            out: of the shape `input_shape(batch)`, float32 or float16 after the layout.
            image: number within the batch.

        Raises:
            ValueError: if a tensor does not have the size, the type or the memory layout that it should, or the
                geometry is of another input or a warp with a border other than 0.
        """
        if geometry.target != self._size or (self._border and geometry.resize != "area"):
            raise ValueError(f"A kernel for {self._size} with the border {self._border} cannot run {geometry}")
        width, height = geometry.source
        check_tensor(
            "source", source, "uint8", width * height * 3 if pixel_format == "bgr24" else width * height * 3 // 2
        )
        image_values = math.prod(self.input_shape(1))
        kind = "float32" if self._layout == "chw_float32" else "float16"
        check_tensor("out", out, kind, len(out) * image_values)
        if not 0 <= image < len(out) or tuple(out.shape) != self.input_shape(len(out)):
            raise ValueError(f"Image {image} of {self.input_shape(1)} does not fit into a tensor {tuple(out.shape)}")
        columns, rows = self.prepare(geometry)
        grid = math.ceil(self._size[0] / 32), math.ceil(self._size[1] / 8)
        self._launch[pixel_format](
            grid,
            (32, 8, 1),
            source.data_ptr(),
            columns.data_ptr(),
            rows.data_ptr(),
            self._values.data_ptr(),
            out.data_ptr() + image * image_values * out.element_size(),
            *geometry.source,
            *geometry.resized,
            geometry.left,
            geometry.top,
            *self._size,
            *yuv_matrix(color_space, full_range),
            self._border,
            self._red_first,
        )


def input_shape(layout: Layout, size: tuple[int, int], batch: int) -> tuple[int, int, int, int]:
    """Return the shape of the tensor that holds `batch` images of `size` (width, height)."""
    width, height = size
    if layout == "chw_float32":
        return batch, 3, height, width
    return batch, height, width, 4 if layout == "hwc4_float16" else 8


def geometry_taps(geometry: Letterbox) -> tuple[npt.NDArray[np.void], npt.NDArray[np.void]]:
    """Return the taps of the columns and of the rows of a geometry; see `axis_taps`."""
    (columns, rows), (width, height) = geometry.source, geometry.resized
    if geometry.resize == "area":
        return axis_taps(columns, width), axis_taps(rows, height)
    (scale_x, scale_y), (shift_x, shift_y) = geometry.inverse
    index_x, index_y = np.arange(width), np.arange(height)
    x, y = index_x * scale_x + shift_x, index_y * scale_y + shift_y
    if warp_rounds_coordinates():
        # In 1/1024, then in 1/32; columns round scale and shift apart, rows their sum.
        fine = np.rint(index_x * scale_x * 1024) + np.rint(shift_x * 1024), np.rint(y * 1024)
        x, y = (np.floor((each + 16) / 32) / 32 for each in fine)
    return bilinear_taps(x, columns), bilinear_taps(y, rows)


@lru_cache(maxsize=1)
def warp_rounds_coordinates() -> bool:
    """Return whether OpenCV's `warpAffine` rounds coordinates to 1/32 pixel.

    OpenCV 4 does (`warpAffine` in `modules/imgproc/src/imgwarp.cpp`, seen with 4.9 and 4.14), OpenCV 5 computes in
    float32. A step from 0 to 255, moved by 1/96 pixel, shows it.
    """
    step = np.zeros((64, 64, 3), np.uint8)
    step[:, 33:] = 255
    moved = cv2.warpAffine(
        step, np.array([[1, 0, 1 / 96], [0, 1, 0]]), (64, 64), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    return not moved[:, 32].any()


def bilinear_taps(coordinates: npt.NDArray[np.floating[Any]], source: int) -> npt.NDArray[np.void]:
    """Return the pixels on both sides of each coordinate; those outside of the frame are left out.

    Args:
        coordinates: of the output pixels in the frame, which has the centers of its pixels at 0, 1, 2, ...
        source: pixels of the frame along the axis.

    Returns:
        As `axis_taps`, one record per coordinate; the count is 0 to 2.
    """
    first = np.clip(np.floor(coordinates), -2, source)
    tail = np.clip(coordinates - first, 0, 1)
    starts, ends = np.maximum(first, 0), np.minimum(first + 1, source - 1)
    taps = np.zeros(len(coordinates), TAPS)
    taps["first"] = starts
    taps["count"] = np.maximum(ends - starts + 1, 0)
    taps["head"] = np.where(first < 0, tail, 1 - tail)
    taps["tail"] = tail
    return taps


def axis_taps(source: int, resized: int) -> npt.NDArray[np.void]:
    """Return which source pixels each output pixel reads along one axis, and their weights.

    The coordinates of OpenCV's `resize` (`modules/imgproc/src/resize.cpp`): area shares when shrinking
    (`computeResizeAreaTab`, which skips shares of a pixel below 1e-3), and when enlarging the weights that
    INTER_AREA has there, which are not those of INTER_LINEAR.

    Args:
        source: pixels of the frame along the axis.
        resized: pixels that it gets.

    Returns:
        `(resized,)` records of the type `TAPS`.
    """
    taps = np.zeros(resized, TAPS)
    inverse = resized / source
    scale = 1 / inverse
    index = np.arange(resized)
    if scale < 1:
        first = np.floor(index * scale).astype(np.int64)
        share = ((index + 1) - (first + 1) * inverse).astype(np.float32)
        share = np.where(share <= 0, np.float32(0), share - np.floor(share))
        inside = first < source - 1
        taps["first"] = np.minimum(first, source - 1)
        taps["tail"] = np.where(inside, share, 0)
        taps["count"] = 1 + (taps["tail"] > 0)
        taps["head"] = 1 - taps["tail"]
        return taps
    start = index * scale
    end = start + scale
    cell = np.minimum(scale, source - start)
    last = np.minimum(np.floor(end), source - 1)
    first_whole = np.minimum(np.ceil(start), last)
    has_head = first_whole - start > 1e-3
    has_tail = end - last > 1e-3
    whole = last - first_whole
    body = 1 / cell
    tail = np.minimum(np.minimum(end - last, 1), cell) / cell
    taps["first"] = first_whole - has_head
    taps["count"] = has_head + whole + has_tail
    taps["head"] = np.where(has_head, (first_whole - start) / cell, np.where(whole > 0, body, tail))
    taps["body"] = body
    taps["tail"] = np.where(has_tail, tail, body)
    return taps


@lru_cache(maxsize=4)
def yuv_matrix(color_space: Literal["ITU601", "ITU709"], full_range: bool) -> tuple[int, ...]:
    """Return the conversion to RGB in 16.16 fixed point.

    Returns:
        Factors: luma, red of v, green of u, green of v, blue of u; then the offsets of red, green and blue,
        with the half that makes a shift round to the nearest.
    """
    red, blue = _LUMA_SHARES[color_space]
    green = 1 - red - blue
    black, luma, chroma = (0, 1.0, 1.0) if full_range else (16, 255 / 219, 255 / 224)
    red_v, blue_u = 2 * (1 - red) * chroma, 2 * (1 - blue) * chroma
    green_u, green_v = -blue_u * blue / green, -red_v * red / green
    offsets = [-luma * black - 128 * factor for factor in (red_v, green_u + green_v, blue_u)]
    factors = [luma, red_v, green_u, green_v, blue_u, *(offset + 0.5 for offset in offsets)]
    return tuple(round(65536 * factor) for factor in factors)
