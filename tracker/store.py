"""The storage of the tracks: a compact struct of arrays that grows as needed."""

from __future__ import annotations

import numpy as np

from fairmot.tracker.costs import Array, FloatArray, IntArray
from fairmot.tracker.kalman import ROWS, States

_FIRST_CAPACITY = 64


class TrackStore:
    """All tracks that are not removed, one per row.

    Rows `[0, tracked)` are tracks with a detection in the last frame, in the order in which they are reported; rows
    `[tracked, count)` are lost. Memory grows with the largest number of tracks at one time.

    Attributes:
        count: number of tracks.
        tracked: number of tracks that are not lost.
        kalman: `(5, 4, capacity)` float64, see `fairmot.tracker.kalman`.
        embeddings: `(capacity, d)` float32, smoothed, rows of length 1 (0 for a track that never had one).
        ids: `(capacity,)` int64; 0 for a track that has no id yet.
        class_ids, first_frame, last_frame: `(capacity,)` int64; frames are those of the first and last detection.
        last_seen: `(capacity,)` float64, time of the last detection on the tracker's clock.
        scores: `(capacity,)` float32, of the last detection.
        confirmed: `(capacity,)` bool, whether the track was matched again after it began.
        expired: `(capacity,)` bool, whether it was once lost for too long (used with `reference_quirks` only).
    """

    _ARRAYS = (
        "kalman",
        "embeddings",
        "ids",
        "class_ids",
        "first_frame",
        "last_frame",
        "last_seen",
        "scores",
        "confirmed",
        "expired",
    )

    def __init__(self) -> None:
        self.count = 0
        self.tracked = 0
        self.kalman: States = np.zeros((ROWS, 4, _FIRST_CAPACITY))
        self.embeddings: FloatArray = np.zeros((_FIRST_CAPACITY, 0), np.float32)
        self.ids, self.class_ids, self.first_frame, self.last_frame = np.zeros((4, _FIRST_CAPACITY), np.int64)
        self.last_seen: Array = np.zeros(_FIRST_CAPACITY)
        self.scores: FloatArray = np.zeros(_FIRST_CAPACITY, np.float32)
        self.confirmed, self.expired = np.zeros((2, _FIRST_CAPACITY), np.bool_)

    @property
    def capacity(self) -> int:
        """Number of allocated rows."""
        return len(self.ids)

    @property
    def embedding_size(self) -> int:
        """Numbers per embedding, 0 until the first is seen."""
        return int(self.embeddings.shape[1])

    def begin_embeddings(self, size: int) -> None:
        """Allocate embeddings of `size` numbers; existing tracks have none yet."""
        self.embeddings = np.zeros((self.capacity, size), np.float32)

    def append(
        self,
        kalman: States,
        scores: FloatArray,
        class_ids: IntArray,
        embeddings: FloatArray | None,
        frame: int,
        now: float,
    ) -> slice:
        """Add tracks that begin in `frame`, at `now`, and return their rows; they have no id and are not confirmed."""
        rows = slice(self.count, self.count + len(scores))
        if rows.stop > self.capacity:
            self._grow(rows.stop)
        self.kalman[:, :, rows] = kalman
        self.embeddings[rows] = 0.0 if embeddings is None else embeddings
        self.ids[rows] = 0
        self.class_ids[rows] = class_ids
        self.first_frame[rows] = frame
        self.last_frame[rows] = frame
        self.last_seen[rows] = now
        self.scores[rows] = scores
        self.confirmed[rows] = False
        self.expired[rows] = False
        self.count = rows.stop
        return rows

    def keep(self, rows: IntArray, tracked: int) -> None:
        """Keep only `rows`, in this order, the first `tracked` of them as tracks that are not lost."""
        count = len(rows)
        if count != self.count or np.count_nonzero(rows[:-1] > rows[1:]):
            for name in self._ARRAYS:
                array = getattr(self, name)
                if name == "kalman":
                    array[:, :, :count] = array.take(rows, axis=2)
                else:
                    array[:count] = array.take(rows, axis=0)
        self.count, self.tracked = count, tracked

    def _grow(self, needed: int) -> None:
        """Allocate `needed` rows, at least twice as many as before."""
        extra = max(needed, 2 * self.capacity) - self.capacity
        for name in self._ARRAYS:
            array = getattr(self, name)
            axis = 2 if name == "kalman" else 0
            widths = [(0, extra if axis == i else 0) for i in range(array.ndim)]
            setattr(self, name, np.pad(array, widths))
