"""Costs of matching a track with a detection: overlap, appearance, class."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
IndexArray = npt.NDArray[np.intp]

# From here on, finding the overlapping pairs first is faster than computing all (measured on one core, 2,000 to 8,000).
_MANY_PAIRS = 4096

_PIXEL = np.array([[0.0], [0.0], [1.0], [1.0]])


def xyah_from_tlbr(tlbr: Array) -> Array:
    """Return center x, center y, width / height and height, `(4, n)`, of boxes `(4, n)`."""
    xyah = np.empty_like(tlbr)
    np.add(tlbr[:2], tlbr[2:], out=xyah[:2])
    xyah[:2] /= 2.0
    np.subtract(tlbr[2:], tlbr[:2], out=xyah[2:])
    xyah[2] /= xyah[3]
    return xyah


def tlbr_from_xyah(xyah: Array) -> Array:
    """Return boxes `(4, n)` of center x, center y, width / height and height `(4, n)`."""
    tlbr = np.empty_like(xyah)
    half = xyah[2:] / 2.0
    half[0] *= xyah[3]
    np.subtract(xyah[:2], half, out=tlbr[:2])
    np.add(xyah[:2], half, out=tlbr[2:])
    return tlbr


def iou_distance(a: Array, b: Array) -> Array:
    """Return 1 - IoU, `(n, m)`, of boxes `(4, n)` and `(4, m)` in left, top, right, bottom.

    Boxes are taken as whole pixels, both edges included, so widths, heights and overlaps are one larger than the
    difference of the edges (`cython_bbox`, which FairMOT uses).
    """
    return _distance(a + _PIXEL, b + _PIXEL, _iou_distance)


def height_iou_distance(a: Array, b: Array, margin: float) -> Array:
    """Return 1 - IoU x IoU of the heights, `(n, m)`, of boxes `(4, n)` and `(4, m)` that are first made larger.

    People stand on the ground, so the height of a box depends on the distance of its person: two people at one position
    in the image but not in the world differ in the bottom edge and the height (Hybrid-SORT, Yang et
    al., 2024, height-modulated IoU). A margin lets boxes match that a fast step or a jolt of the camera has moved
    apart (C-BIoU, Yang et al., 2023, buffered IoU).

    Args:
        a: left, top, right, bottom.
        b: the same.
        margin: fraction of width and height that is added on every side.
    """
    return _distance(_enlarged(a, margin), _enlarged(b, margin), _height_iou_distance)


def _distance(a: Array, b: Array, of_pairs: Callable[[Array, Array], Array]) -> Array:
    """Return the distances `(n, m)` of boxes `(4, n)` and `(4, m)`, 1 where two do not overlap.

    In a large crowd most pairs do not overlap and are not computed.
    """
    if a.shape[1] * b.shape[1] < _MANY_PAIRS:
        return of_pairs(a[:, :, None], b[:, None])
    overlaps = a[0][:, None] < b[2]
    overlaps &= a[2][:, None] > b[0]
    overlaps &= a[1][:, None] < b[3]
    overlaps &= a[3][:, None] > b[1]
    rows, columns = overlaps.nonzero()
    distance = np.ones(overlaps.shape)
    distance[rows, columns] = of_pairs(a.take(rows, axis=1), b.take(columns, axis=1))
    return distance


def _iou_distance(a: Array, b: Array) -> Array:
    """Return 1 - IoU of boxes of any shapes `(4, ...)` that broadcast."""
    overlap, union, _ = _overlap(a, b, a[2:] - a[:2], b[2:] - b[:2])
    overlap /= union
    distance: Array = np.subtract(1.0, overlap, out=overlap)
    return distance


def _height_iou_distance(a: Array, b: Array) -> Array:
    """Return 1 - IoU x IoU of the heights of boxes of any shapes `(4, ...)` that broadcast."""
    sides_a, sides_b = a[2:] - a[:2], b[2:] - b[:2]
    overlap, union, height = _overlap(a, b, sides_a, sides_b)
    heights = sides_a[1] + sides_b[1]
    heights -= height
    overlap *= height
    union *= heights
    overlap /= union
    distance: Array = np.subtract(1.0, overlap, out=overlap)
    return distance


def _overlap(a: Array, b: Array, sides_a: Array, sides_b: Array) -> tuple[Array, Array, Array]:
    """Return the areas of intersection and union of boxes, and the height of the intersection.

    Args:
        a: left, top, right, bottom.
        b: the same.
        sides_a: width and height of `a`.
        sides_b: the same of `b`.
    """
    sides: Array = np.minimum(a[2:], b[2:])
    sides -= np.maximum(a[:2], b[:2])
    overlap, height = np.maximum(sides, 0.0, out=sides)
    overlap *= height
    union = sides_a[0] * sides_a[1] + sides_b[0] * sides_b[1]
    union -= overlap
    return overlap, union, height


def _enlarged(tlbr: Array, margin: float) -> Array:
    """Return boxes `(4, n)` with `margin` times their width and height added on every side."""
    sides = (tlbr[2:] - tlbr[:2]) * margin
    return np.concatenate((tlbr[:2] - sides, tlbr[2:] + sides))


def fuse_scores(distance: Array, scores: FloatArray) -> Array:
    """Return 1 - (1 - distance) x score, `(n, m)`, so that of equal overlaps the one with the higher score wins.

    ByteTrack, `matching.py`, `fuse_score`. The best possible distance becomes 1 - score. Changes `distance` in place.
    """
    np.subtract(1.0, distance, out=distance)
    distance *= scores
    np.subtract(1.0, distance, out=distance)
    return distance


def near_duplicates(a: Array, b: Array, limit: float) -> tuple[IndexArray, IndexArray]:
    """Return the pairs of boxes `(4, n)` and `(4, m)` whose `iou_distance` is below `limit`, as two index arrays.

    Such boxes are similar in every edge: left and top differ by at most `limit` times the sides of the larger, whose
    sides are at most 1 / (1 - limit) times those of the smaller.
    """
    reach = a[2:] - a[:2] + 1.0
    reach *= limit / max(1.0 - limit, 1e-9)
    apart = a[:2, :, None] - b[:2, None]
    near = np.abs(apart, out=apart) <= reach[:, :, None]
    rows, columns = (near[0] & near[1]).nonzero()
    if not len(rows):
        return rows, columns
    close = _iou_distance(a.take(rows, axis=1) + _PIXEL, b.take(columns, axis=1) + _PIXEL) < limit
    return rows[close], columns[close]


def cosine_distance(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return 1 - cosine, `(n, m)` float32 and at least 0, of rows of length 1, `(n, d)` and `(m, d)`."""
    distance: FloatArray = a @ b.T
    np.subtract(np.float32(1.0), distance, out=distance)
    np.maximum(distance, np.float32(0.0), out=distance)
    return distance


def cosine_distance_by_pair(a: FloatArray, b: FloatArray) -> Array:
    """Return the same in float64, each pair summed in one order, so that equal embeddings have equal distances.

    The rounding of a matrix product depends on a column's position; FairMOT's (`cdist`) does not.
    """
    distance: Array = 1.0 - np.einsum("id,jd->ij", a.astype(np.float64), b.astype(np.float64))
    return np.maximum(distance, 0.0, out=distance)


def fuse_motion(cosine: FloatArray | Array, gating: Array, weight: float, threshold: float) -> Array:
    """Return `(1 - weight) cosine + weight gating`, infinite where the gating distance is above `threshold`.

    Args:
        cosine: `(n, m)` cosine distances.
        gating: `(n, m)` squared Mahalanobis distances.
        weight: of the motion (FairMOT, `matching.py`, `fuse_motion`: 0.02).
        threshold: largest possible gating distance.
    """
    cost = weight * gating
    cost += (1.0 - weight) * cosine
    np.copyto(cost, np.inf, where=gating > threshold)
    return cost


def fuse_overlap(cosine: FloatArray, overlap: Array, gating: Array, weight: float, threshold: float) -> Array:
    """Return `(1 - weight) cosine + weight overlap`, infinite where the gating distance is above `threshold`.

    Args:
        cosine: `(n, m)` cosine distances.
        overlap: `(n, m)` distances of the boxes in [0, 1]; changed in place.
        gating: `(n, m)` squared Mahalanobis distances.
        weight: of the boxes.
        threshold: largest possible gating distance.
    """
    overlap *= weight
    overlap += (1.0 - weight) * cosine
    np.copyto(overlap, np.inf, where=gating > threshold)
    return overlap


def forbid_other_classes(cost: Array, a: IntArray, b: IntArray) -> Array:
    """Return `cost` `(n, m)`, made infinite in place where the classes `a` `(n,)` and `b` `(m,)` differ."""
    np.copyto(cost, np.inf, where=a[:, None] != b)
    return cost


def normalized(rows: FloatArray) -> FloatArray:
    """Return `rows` `(n, d)` with length 1; rows of zero or non-finite length become 0."""
    length = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    usable = np.isfinite(length) & (length > 0)
    if np.count_nonzero(usable) == len(rows):
        unit: FloatArray = rows / length
        return unit
    return np.where(usable, rows / np.where(usable, length, 1), 0).astype(np.float32)
