"""Sampling of augmented images in one Triton kernel, equal to `Augmenter._sample`."""

# Parameters of kernels are pointers and numbers of Triton's own types, constants are capitals by its custom.
# ruff: noqa: N803
# mypy: disable-error-code="import-not-found, import-untyped, no-untyped-def, untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

_PIXELS = 256  # of a program


@triton.jit(do_not_specialize=("pixels", "width", "height", "side"))
def _sample_kernel(
    store, sizes, sources, corners, inverse, images, pixels, width, height, side, border, PIXELS: tl.constexpr
):
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    known = pixel < pixels
    number, pixel_y, pixel_x = pixel // (width * height), pixel // width % height, pixel % width
    split_x = tl.load(corners + number * 16 + 2, mask=known, other=0.0)
    split_y = tl.load(corners + number * 16 + 3, mask=known, other=0.0)
    red = tl.zeros([PIXELS], tl.float32)
    green = tl.zeros([PIXELS], tl.float32)
    blue = tl.zeros([PIXELS], tl.float32)
    for part in tl.static_range(4):
        x, y = pixel_x + 0.25 + 0.5 * (part % 2), pixel_y + 0.25 + 0.5 * (part // 2)
        tile = number * 4 + (x >= split_x).to(tl.int32) + 2 * (y >= split_y).to(tl.int32)
        matrix = inverse + tile * 6
        u = tl.load(matrix, mask=known, other=0.0) * x + tl.load(matrix + 1, mask=known, other=0.0) * y
        v = tl.load(matrix + 3, mask=known, other=0.0) * x + tl.load(matrix + 4, mask=known, other=0.0) * y
        u += tl.load(matrix + 2, mask=known, other=0.0)
        v += tl.load(matrix + 5, mask=known, other=0.0)
        source = tl.load(sources + tile, mask=known, other=0)
        size_x = tl.load(sizes + 2 * source, mask=known, other=1.0)
        size_y = tl.load(sizes + 2 * source + 1, mask=known, other=1.0)
        inside = (u >= 0) & (v >= 0) & (u < size_x) & (v < size_y)
        # Coordinates outside are not used, but must convert to integers.
        u = tl.minimum(tl.maximum(u - 0.5, -1.0), size_x)
        v = tl.minimum(tl.maximum(v - 0.5, -1.0), size_y)
        left, top = tl.floor(u), tl.floor(v)
        part_u, part_v = u - left, v - top
        for corner in tl.static_range(4):
            row = tl.minimum(tl.maximum(top + corner // 2, 0.0), size_y - 1).to(tl.int64)
            column = tl.minimum(tl.maximum(left + corner % 2, 0.0), size_x - 1).to(tl.int64)
            value = tl.load(store + (source * side + row) * side + column, mask=known & inside, other=0)
            share_u = part_u if corner % 2 else 1 - part_u
            share_v = part_v if corner // 2 else 1 - part_v
            share = share_u * share_v / 255
            red += share * ((value >> 16) & 255).to(tl.float32)
            green += share * ((value >> 8) & 255).to(tl.float32)
            blue += share * (value & 255).to(tl.float32)
        gray = tl.where(inside, 0.0, border)
        red, green, blue = red + gray, green + gray, blue + gray
    plane = width * height
    place = images + number.to(tl.int64) * 2 * plane + pixel
    tl.store(place, red / 4, mask=known)
    tl.store(place + plane, green / 4, mask=known)
    tl.store(place + 2 * plane, blue / 4, mask=known)


def sample_triton(
    store: Tensor,
    sizes: Tensor,
    sources: Tensor,
    corners: Tensor,
    inverse: Tensor,
    size: tuple[int, int],
    border: float,
) -> Tensor:
    """Sample images bilinearly at twice their resolution and average.

    Args:
        store: `(m, side, side)` int32 pixels, R, G, B from the third lowest byte down.
        sizes: `(m, 2)` float32 width and height.
        sources: `(n, 4)` int64, stored image of every tile.
        corners: `(n, 4, 4)` float32 tiles, the first of which ends where the other three begin.
        inverse: `(n, 4, 2, 3)` float32 matrices from the result's pixels to the stored ones.
        size: width and height of the result.
        border: value outside the stored image.

    Returns:
        `(n, 3, h, w)` float32.
    """
    width, height = size
    images = sizes.new_empty(len(sources), 3, height, width)
    pixels = len(sources) * width * height
    _sample_kernel[(triton.cdiv(pixels, _PIXELS),)](
        store,
        sizes,
        sources.contiguous(),
        corners.contiguous(),
        inverse.contiguous(),
        images,
        pixels,
        width,
        height,
        store.shape[1],
        border,
        _PIXELS,
    )
    return images
