"""How the camera moved since the last frame, told by the detections alone (by the pictures: `tracker.flow`)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tracker.costs import Array

# Chosen on MOT17-05, 09 and 13 (benchmarks/association.md).
_LEAST_PAIRS = 6
_LARGEST_DISTANCE = 0.6


def drift(tracks: Array, detections: Array, distance: Callable[[Array, Array], Array]) -> Array | None:
    """Return by how much a crowd as a whole is not where it was expected: what a turn of the camera does to it.

    People move independently; what most of them have in common is the camera's. The median over the pairs of track
    and detection that are nearest to each other is robust to those who turn and to wrong pairs.

    Args:
        tracks: `(4, n)` predicted boxes, left, top, right, bottom.
        detections: `(4, m)`.
        distance: of boxes and boxes, `(n, m)` in [0, 1].

    Returns:
        Pixels in x and y, `(2, 1)`, or none where there are too few pairs to tell.
    """
    if tracks.shape[1] < _LEAST_PAIRS or detections.shape[1] < _LEAST_PAIRS:
        return None
    apart = distance(tracks, detections)
    nearest = apart.argmin(axis=1)
    rows = np.arange(len(nearest))
    mutual = (apart.argmin(axis=0)[nearest] == rows) & (apart[rows, nearest] <= _LARGEST_DISTANCE)
    rows = mutual.nonzero()[0]
    if len(rows) < _LEAST_PAIRS:
        return None
    moved = detections[:, nearest[rows]] - tracks[:, rows]
    moved.sort(axis=1)
    middle = (moved[:, len(rows) // 2] + moved[:, (len(rows) - 1) // 2]) / 2
    shift: Array = ((middle[:2] + middle[2:]) / 2)[:, None]
    return shift
