"""Camera motion since the last frame from the detections alone; from the images: `fairmot.tracker.gmc.flow`."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from fairmot.tracker.costs import Array

# Chosen on MOT17-05, 09 and 13 (benchmarks/association.md).
_LEAST_PAIRS = 6
_LARGEST_DISTANCE = 0.6
_MANY_TRACKS = 100  # so many tell as well as more
_ERRORS = 2.0  # standard errors up to which a shift is taken for chance

# Standard error of a median per quartile distance and root of the count, for normal errors: sqrt(pi / 2) / 1.349.
_MEDIAN_ERROR = 0.929
_TINY = 1e-9


def drift(tracks: Array, detections: Array, distance: Callable[[Array, Array], Array]) -> Array | None:
    """Return by how much a crowd as a whole is not where it was expected: what a turn of the camera does to it.

    People move independently; what most of them have in common is the camera's. The median over the pairs of track
    and detection that are nearest to each other is robust to those who turn and to wrong pairs. How sure it is follows
    from how much they differ; it is shrunk by as much as it may be chance (as James and Stein, 1961, shrink a mean),
    down to nothing while the camera stands still.

    Args:
        tracks: `(4, n)` predicted boxes, left, top, right, bottom.
        detections: `(4, m)`.
        distance: of boxes and boxes, `(n, m)` in [0, 1].

    Returns:
        Pixels in x and y, `(2, 1)`, or none where there are too few pairs to tell.
    """
    if tracks.shape[1] < _LEAST_PAIRS or detections.shape[1] < _LEAST_PAIRS:
        return None
    tracks = tracks[:, :: 1 + tracks.shape[1] // _MANY_TRACKS]
    apart = distance(tracks, detections)
    nearest = apart.argmin(axis=1)
    rows = np.arange(len(nearest))
    mutual = (apart.argmin(axis=0)[nearest] == rows) & (apart[rows, nearest] <= _LARGEST_DISTANCE)
    rows = mutual.nonzero()[0]
    if len(rows) < _LEAST_PAIRS:
        return None
    found = detections[:, nearest[rows]] - tracks[:, rows]
    moves = (found[:2] + found[2:]) / 2
    moves.sort(axis=1)
    count = len(rows)
    shift: Array = ((moves[:, count // 2] + moves[:, (count - 1) // 2]) / 2)[:, None]
    spread = (moves[:, 3 * count // 4] - moves[:, count // 4])[:, None]
    doubt = _ERRORS * _MEDIAN_ERROR * spread / math.sqrt(count)
    shift *= 1.0 - np.minimum((doubt / np.maximum(np.abs(shift), _TINY)) ** 2, 1.0)
    return shift
