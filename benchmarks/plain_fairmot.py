"""FairMOT's association as it is usually written, to measure against: an object per track, a loop over objects.

The same cascade as the `fairmot` preset in reference mode, from DESIGN section 4, with the data structures of the
original: each track has its own 8-vector and 8x8 covariance, gating and correction run track by track through Cholesky
factors, and every list is a Python list.
"""

from __future__ import annotations

from typing import Any

import lap
import numpy as np
import scipy.linalg
from scipy.spatial.distance import cdist

from fairmot.core.records import Detections

CONFIDENCE, APPEARANCE, OVERLAP, UNCONFIRMED, DUPLICATE = 0.4, 0.4, 0.5, 0.7, 0.15
GATE, MOTION, MOMENTUM = 9.4877, 0.02, 0.9

MOVE = np.eye(8)
MOVE[:4, 4:] = np.eye(4)
LOOK = np.eye(4, 8)


class PlainTrack:
    """One person: a Kalman state of its own and a smoothed embedding."""

    def __init__(self, tlbr: Any, score: float, embedding: Any) -> None:
        left, top, right, bottom = (float(edge) for edge in tlbr)
        height = bottom - top
        self.measured = np.array([(left + right) / 2, (top + bottom) / 2, (right - left) / height, height])
        self.score = score
        self.embedding = embedding / np.linalg.norm(embedding)
        self.mean = np.zeros(8)
        self.covariance = np.zeros((8, 8))
        self.state = "new"
        self.confirmed = False
        self.identity = self.first = self.last = 0

    def start(self, frame: int, identity: int) -> None:
        """Begin to be tracked."""
        h = self.measured[3]
        self.mean = np.r_[self.measured, np.zeros(4)]
        std = [h / 10, h / 10, 1e-2, h / 10, h / 16, h / 16, 1e-5, h / 16]
        self.covariance = np.diag(np.square(std))
        self.state, self.confirmed = "tracked", frame == 1
        self.identity, self.first, self.last = identity, frame, frame

    def predict(self) -> None:
        """Move by one frame."""
        if self.state != "tracked":
            self.mean[7] = 0
        h = self.mean[3]
        noise = np.diag(np.square([h / 20, h / 20, 1e-2, h / 20, h / 160, h / 160, 1e-5, h / 160]))
        self.mean = MOVE @ self.mean
        self.covariance = np.linalg.multi_dot((MOVE, self.covariance, MOVE.T)) + noise

    def projected(self) -> tuple[Any, Any]:
        """Return mean and covariance of the measurement that is expected."""
        h = self.mean[3]
        noise = np.diag(np.square([h / 20, h / 20, 1e-1, h / 20]))
        return LOOK @ self.mean, np.linalg.multi_dot((LOOK, self.covariance, LOOK.T)) + noise

    def gating(self, measured: Any) -> Any:
        """Return squared Mahalanobis distances of measurements `(m, 4)`."""
        mean, covariance = self.projected()
        factor = np.linalg.cholesky(covariance)
        solved = scipy.linalg.solve_triangular(factor, (measured - mean).T, lower=True, check_finite=False)
        return np.sum(solved * solved, axis=0)

    def take(self, detection: PlainTrack, frame: int) -> None:
        """Correct by a detection."""
        mean, covariance = self.projected()
        factor = scipy.linalg.cho_factor(covariance, lower=True, check_finite=False)
        gain = scipy.linalg.cho_solve(factor, (self.covariance @ LOOK.T).T, check_finite=False).T
        self.mean = self.mean + (detection.measured - mean) @ gain.T
        self.covariance = self.covariance - np.linalg.multi_dot((gain, covariance, gain.T))
        blend = MOMENTUM * self.embedding + (1 - MOMENTUM) * detection.embedding
        self.embedding = blend / np.linalg.norm(blend)
        self.state, self.confirmed, self.last, self.score = "tracked", True, frame, detection.score

    @property
    def tlbr(self) -> Any:
        """The box."""
        x, y, aspect, height = self.mean[:4] if self.state != "new" else self.measured
        return np.array([x - aspect * height / 2, y - height / 2, x + aspect * height / 2, y + height / 2])


class PlainFairMOT:
    """Call `update` with the detections of each frame."""

    def __init__(self, frame_rate: float) -> None:
        self.frame = self.count = 0
        self.buffer = int(frame_rate)
        self.tracked: list[PlainTrack] = []
        self.lost: list[PlainTrack] = []

    def update(self, found: Detections) -> list[PlainTrack]:
        """Return the confirmed tracks of this frame."""
        self.frame += 1
        rows = zip(found.tlbr, found.scores.tolist(), found.embeddings, strict=True)
        detections = [PlainTrack(*row) for row in rows if row[1] > CONFIDENCE]
        sure = [track for track in self.tracked if track.confirmed]
        unsure = [track for track in self.tracked if not track.confirmed]
        pool = sure + self.lost
        for track in pool:
            track.predict()
        pairs, left, rest = assign(appearance_cost(pool, detections), APPEARANCE)
        self._take(pool, detections, pairs)
        missed, detections = [pool[i] for i in left if pool[i].state == "tracked"], [detections[i] for i in rest]
        pairs, left, rest = assign(overlap_cost(missed, detections), OVERLAP)
        self._take(missed, detections, pairs)
        for i in left:
            missed[i].state = "lost"
        detections = [detections[i] for i in rest]
        pairs, left, rest = assign(overlap_cost(unsure, detections), UNCONFIRMED)
        self._take(unsure, detections, pairs)
        for i in left:
            unsure[i].state = "removed"
        new = [detections[i] for i in rest]
        for track in new:
            self.count += 1
            track.start(self.frame, self.count)
        everyone = self.tracked + new + self.lost
        self.tracked = [track for track in everyone if track.state == "tracked"]
        self.lost = [track for track in everyone if track.state == "lost" and self.frame - track.last <= self.buffer]
        self._drop_duplicates()
        return [track for track in self.tracked if track.confirmed]

    def _take(self, tracks: list[PlainTrack], detections: list[PlainTrack], pairs: list[tuple[int, int]]) -> None:
        for i, j in pairs:
            tracks[i].take(detections[j], self.frame)

    def _drop_duplicates(self) -> None:
        drop_tracked, drop_lost = set(), set()
        for i, j in zip(*np.nonzero(overlap_cost(self.tracked, self.lost) < DUPLICATE), strict=True):
            here, away = self.tracked[i], self.lost[j]
            (drop_lost if here.last - here.first > away.last - away.first else drop_tracked).add(
                j if here.last - here.first > away.last - away.first else i
            )
        self.tracked = [track for i, track in enumerate(self.tracked) if i not in drop_tracked]
        self.lost = [track for j, track in enumerate(self.lost) if j not in drop_lost]


def assign(cost: Any, limit: float) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    """Return matched pairs, rows left and columns left."""
    if cost.size == 0:
        return [], list(range(cost.shape[0])), list(range(cost.shape[1]))
    _, columns, rows = lap.lapjv(cost, extend_cost=True, cost_limit=limit)
    pairs = [(i, int(j)) for i, j in enumerate(columns) if j >= 0]
    return pairs, np.flatnonzero(columns < 0).tolist(), np.flatnonzero(rows < 0).tolist()


def appearance_cost(tracks: list[PlainTrack], detections: list[PlainTrack]) -> Any:
    """Return cosine distance and motion, infinite where motion forbids."""
    cost = np.zeros((len(tracks), len(detections)))
    if cost.size == 0:
        return cost
    theirs = np.array([detection.embedding for detection in detections])
    cost = np.maximum(0.0, cdist(np.array([track.embedding for track in tracks]), theirs, "cosine"))
    measured = np.array([detection.measured for detection in detections])
    for row, track in enumerate(tracks):
        gating = track.gating(measured)
        cost[row, gating > GATE] = np.inf
        cost[row] = (1 - MOTION) * cost[row] + MOTION * gating
    return cost


def overlap_cost(tracks: list[PlainTrack], detections: list[PlainTrack]) -> Any:
    """Return 1 - IoU, pixels counted."""
    cost = np.zeros((len(tracks), len(detections)))
    if cost.size == 0:
        return cost
    a, b = (np.array([each.tlbr for each in side]) for side in (tracks, detections))
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    overlap = np.clip(high - low + 1, 0, None).prod(axis=2)
    area_a, area_b = (np.prod(each[:, 2:] - each[:, :2] + 1, axis=1) for each in (a, b))
    return 1 - overlap / (area_a[:, None] + area_b - overlap)
