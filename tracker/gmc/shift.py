"""The camera shift since the last frame, from the detections alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from fairmot.tracker.costs import Array, IntArray, forbid_other_classes

# Chosen on MOT17-05, 09 and 13 (benchmarks/association.md).
_LEAST_PAIRS = 6
_LARGEST_DISTANCE = 0.6
_MANY_TRACKS = 100  # more do not make the median better
_ERRORS = 2.0  # standard errors up to which a shift counts as noise

# Standard error of a median per quartile distance and root of the count, for normal errors: sqrt(pi / 2) / 1.349.
_MEDIAN_ERROR = 0.929
_TINY = 1e-9


def camera_shift(
    tracks: Array,
    detections: Array,
    distance: Callable[[Array, Array], Array],
    classes: tuple[IntArray, IntArray] | None = None,
) -> Array | None:
    """Estimate the camera shift as the displacement that most tracks and detections share.

    Objects move independently; the displacement that most of them have in common is the camera's. The median over the
    mutually nearest pairs of track and detection is robust to those that turn and to wrong pairs. Its standard error
    follows from their spread; the shift is shrunk accordingly (as James and Stein, 1961, shrink a mean), to zero while
    the camera stands still.

    Args:
        tracks: `(4, n)` predicted boxes, left, top, right, bottom.
        detections: `(4, m)`.
        distance: pairwise distance of boxes, `(n, m)` in [0, 1].
        classes: class ids of both, `(n,)` and `(m,)`, whose pairs must be of one class; none where all are.

    Returns:
        Pixels in x and y, `(2, 1)`, or none where there are too few pairs.
    """
    if tracks.shape[1] < _LEAST_PAIRS or detections.shape[1] < _LEAST_PAIRS:
        return None
    step = 1 + tracks.shape[1] // _MANY_TRACKS
    tracks = tracks[:, ::step]
    distances = distance(tracks, detections)
    if classes is not None:
        forbid_other_classes(distances, classes[0][::step], classes[1])
    nearest = distances.argmin(axis=1)
    rows = np.arange(len(nearest))
    mutual = distances.argmin(axis=0).take(nearest) == rows
    mutual &= distances[rows, nearest] <= _LARGEST_DISTANCE
    rows = mutual.nonzero()[0]
    if len(rows) < _LEAST_PAIRS:
        return None
    edges = detections.take(nearest.take(rows), axis=1) - tracks.take(rows, axis=1)
    moves = (edges[:2] + edges[2:]) / 2
    moves.sort(axis=1)
    count = len(rows)
    ranks = [count // 4, (count - 1) // 2, count // 2, 3 * count // 4]
    along = moves.take(ranks, axis=1).tolist()
    return np.array([[_shrunk(low, (above + below) / 2, high, count)] for low, below, above, high in along])


def _shrunk(lower: float, median: float, upper: float, count: int) -> float:
    """Return the median of `count` values, shrunk as far as it may be noise; `lower` and `upper` are the quartiles."""
    error = _ERRORS * _MEDIAN_ERROR * (upper - lower) / math.sqrt(count)
    noise = error / max(abs(median), _TINY)
    return median * (1.0 - min(noise * noise, 1.0))
