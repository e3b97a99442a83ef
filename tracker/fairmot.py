"""FairMOT's association cascade with BYTE's low-score stage.

Follows `multitracker.py` of ifzhang/FairMOT and `tutorials/fairmot` of ifzhang/ByteTrack (which extends it), over
arrays: all tracks are predicted, gated, matched and corrected together; no statement here runs once per track.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fairmot.core.class_names import is_person
from fairmot.core.errors import ConfigError, UserError
from fairmot.core.limits import MAX_BOXES
from fairmot.core.records import Detections, Tracks
from fairmot.tracker.assignment import Assign, IndexArray, assign, assign_in_square
from fairmot.tracker.clock import HALF_A_FRAME, Clock
from fairmot.tracker.costs import (
    Array,
    FloatArray,
    IntArray,
    forbid_other_classes,
    near_duplicates,
    normalized,
)
from fairmot.tracker.kalman import POSITION
from fairmot.tracker.settings import TrackerSettings
from fairmot.tracker.store import TrackStore
from fairmot.tracker.strategies import (
    appearance_cost,
    box_distance,
    gmc_from_detections,
    kalman_filter,
    score_fusion,
)

logger = logging.getLogger(__name__)

Mask = npt.NDArray[np.bool_]
_CostOf = Callable[[IndexArray, IndexArray], Array]

# The outcome of a frame for a track, in the order in which the reference lists them; the first three are tracked.
_STAYED, _NEW, _REFOUND, _STILL_LOST, _JUST_LOST, _GONE = range(6)
_AFTER_TRACKED = np.array([_STAYED, _JUST_LOST], np.int8)
_AFTER_LOST = np.array([_REFOUND, _STILL_LOST], np.int8)

_MOST_PAIRS = MAX_BOXES**2  # of tracks and detections


@dataclass(frozen=True, eq=False)
class _Seen:
    """The usable detections of one frame, laid out like tracks: boxes and measurements `(4, n)` float64."""

    tlbr: Array
    measured: Array
    scores: FloatArray
    class_ids: IntArray
    embeddings: FloatArray | None
    landmarks: FloatArray


class _Matches:
    """Collects the matches of all stages of one frame.

    Args:
        solve: matches rows and columns of a cost matrix.
        classes: class ids of all tracks and of all detections, or none while there is one class only.
    """

    def __init__(self, solve: Assign, classes: tuple[IntArray, IntArray] | None) -> None:
        self._solve = solve
        self._classes = classes
        self._rows: list[IndexArray] = []
        self._columns: list[IndexArray] = []

    def add(
        self, rows: IndexArray, columns: IndexArray, cost_of: _CostOf, limit: float
    ) -> tuple[IndexArray, IndexArray]:
        """Match tracks `rows` with detections `columns`; return the rows and columns left over."""
        if not len(rows) or not len(columns):
            return rows, columns
        cost = cost_of(rows, columns)
        if self._classes is not None:
            forbid_other_classes(cost, self._classes[0][rows], self._classes[1][columns])
        matched, partners = self._solve(cost, limit)
        if not len(matched):
            return rows, columns
        self._rows.append(rows[matched])
        self._columns.append(columns[partners])
        return _without(rows, matched), _without(columns, partners)

    def all(self) -> tuple[IndexArray, IndexArray]:
        """Return rows of tracks and, for each, the index of its detection."""
        if not self._rows:
            return np.zeros(0, np.intp), np.zeros(0, np.intp)
        return np.concatenate(self._rows), np.concatenate(self._columns)


class FairMOTTracker:
    """Assigns identities to the detections of successive frames.

    Every tracker counts its own frames and ids. Two detections or tracks of different class never match, so the class
    of an identity never changes.

    Detections may come in any order, which affects only the order of new ids. Dropped, with one warning per tracker:
    boxes that are not finite or have no width or height, and scores that are not finite. A score above 1
    is a high score. An embedding that is not finite or all zeros matches no track by appearance and is ignored when
    a track's embedding is smoothed. Frames whose detections carry no embeddings are associated by boxes alone.

    Time is measured by the timestamps passed to `update`, if any, so that a lost track may be found again for one
    second also where a camera drops frames or the frame rate varies; the filter makes one step per frame all the same.
    After a pause no track is found again, neither those lost before nor those seen in the last frame. A pause is a step
    longer than the time that a lost track is kept, and than four times the previous step: a slow computer that
    processes a frame every three seconds does not pause.

    Args:
        frame_rate: frames per second between calls of `update`, so the source's divided by the stride. With
            timestamps it need only be about right.
        settings: constants of the association.
        class_names: of the model, by class id: `max_aspect_ratio` applies to classes that are people (person,
            pedestrian, people). A class without a name is none.

    Raises:
        ConfigError: if the frame rate is not above 0.

    Example:
        tracker = FairMOTTracker(frame_rate=25)
        for frame in source:
            for track in tracker.update(detect(frame)):
                print(track.id, track.tlwh)
    """

    def __init__(
        self,
        frame_rate: float = 30.0,
        settings: TrackerSettings | None = None,
        class_names: Sequence[str] = ("person",),
    ) -> None:
        if not 0 < frame_rate < float("inf"):
            raise ConfigError(f"frame_rate must be above 0, not {frame_rate}.")
        self.settings = (settings or TrackerSettings()).resolved()
        self._confidence = np.float32(self.settings.confidence)
        self._upright = [id_ for id_, name in enumerate(class_names) if is_person(name)]
        self._frame_rate = frame_rate
        self._buffer = self.settings.buffer_frames(frame_rate)
        self._kalman = kalman_filter(self.settings)
        self._distance = box_distance(self.settings)
        self._fuse_scores = score_fusion(self.settings)
        self._appearance_cost = appearance_cost(self.settings)
        self._assign: Assign = assign_in_square if self.settings.reference_quirks else assign
        self._camera_shift = gmc_from_detections(self.settings)
        self._warned = False
        self.reset()

    def reset(self) -> None:
        """Forget all tracks and start again at frame 1 and id 1."""
        self._store = TrackStore()
        self._frame = 0
        self._clock = Clock(self._frame_rate)
        self._ids_given = 0
        self._several_classes = False

    @property
    def is_idle(self) -> bool:
        """True while there is no track, not even a lost one."""
        return self._store.count == 0

    def skip(self, frames: int) -> None:
        """Advance by frames without detections while there is no track, like as many calls of `update`.

        Their timestamps are not needed, except those of the last two frames before one with detections: pass these to
        `update`.

        Raises:
            ValueError: if there is a track.
        """
        if not self.is_idle:
            raise ValueError("Frames cannot be skipped while there are tracks; call update for each.")
        self._frame += frames

    def update(self, detections: Detections, timestamp: float | None = None) -> Tracks:
        """Advance by one frame and return its confirmed tracks, with the filter's boxes.

        Call it for frames without detections too: time passes for the tracks.

        Args:
            detections: of this frame, in source pixels, not filtered by score above `settings.minimum_score`.
            timestamp: of this frame in seconds. Where it is unknown or does not rise, the frame counts as
                `1 / frame_rate` seconds.

        Raises:
            UserError: if embeddings have another size than those before, or there are more detections than
                `MAX_BOXES` or more pairs of tracks and detections than that squared.
        """
        self._frame += 1
        self._clock.advance(None if self.settings.reference_quirks else timestamp)
        self._forget()
        store = self._store
        seen = self._usable(detections)
        count = store.count
        self._require_bounds(count, len(seen.scores))
        lost = np.zeros(count, np.bool_)
        lost[store.tracked :] = True
        states, boxes = self._predict(lost, seen)
        matches, missed, unconfirmed, unmatched = self._associate(seen, states, boxes, lost)

        rows, columns = matches.all()
        self._correct(rows, columns, seen, lost)
        lost[rows] = False
        lost[missed] = True
        gone = np.zeros(count, np.bool_)
        gone[unconfirmed] = True
        overdue = self._overdue(self._buffer)[store.tracked :]
        if self.settings.reference_quirks:
            gone |= lost & store.expired[:count]
            store.expired[store.tracked : count] |= overdue
        else:
            gone[store.tracked :] |= overdue

        new = unmatched[seen.scores[unmatched] >= np.float32(self.settings.start_score)]
        self._start(new, seen)
        boxes, order = self._settle(lost, gone)
        landmarks = None
        if seen.landmarks.shape[1]:
            # Whatever is reported was seen in this frame, so no landmark need be kept with a track.
            detection = np.zeros(count + len(new), np.intp)
            detection[rows], detection[count:] = columns, new
            landmarks = seen.landmarks.take(detection.take(order), axis=0)
        return self._report(boxes, landmarks)

    def move(self, transform: Array) -> None:
        """Transform all tracks by the camera's motion since the last frame (GMC); call it before `update`.

        Args:
            transform: `(2, 3)`, the matrix that maps x, y, 1 of the last frame to x, y of this one, in source pixels,
                as `fairmot.tracker.gmc.flow.OpticalFlowGMC` returns it.
        """
        self._kalman.move(self._store.kalman[:, :, : self._store.count], np.asarray(transform, np.float64))

    def _forget(self) -> None:
        """Drop tracks that became too old to be found again within a step longer than one frame."""
        store, limit = self._store, self._buffer + 1
        if self._clock.paused(limit):
            store.keep(np.zeros(0, np.intp), 0)
        elif self._clock.step > 1 + HALF_A_FRAME and store.tracked < store.count:
            late = self._overdue(limit)
            late[: store.tracked] = False
            store.keep((~late).nonzero()[0], store.tracked)

    def _overdue(self, frames: float) -> Mask:
        """Return which tracks were last seen more than `frames` frames ago."""
        late: Mask = self._clock.now - self._store.last_seen[: self._store.count] > frames + HALF_A_FRAME
        return late

    def _require_bounds(self, tracks: int, detections: int) -> None:
        if detections > MAX_BOXES or tracks * detections > _MOST_PAIRS:
            raise UserError(
                f"Frame {self._frame} has {detections} detections for {tracks} tracks, and at most {MAX_BOXES} for as "
                "many can be associated; raise the confidence thresholds."
            )

    def _usable(self, detections: Detections) -> _Seen:
        """Return the usable part of `detections`: valid boxes with a score above the minimum."""
        scores = detections.scores
        boxes = detections.tlbr.T.astype(np.float64, order="C")
        keep = scores > np.float32(self.settings.minimum_score)
        sound = np.count_nonzero(boxes[2:] > boxes[:2]) == 2 * len(scores)
        if not (sound and np.count_nonzero(np.isfinite(boxes)) == boxes.size and math.isfinite(scores.sum())):
            keep &= self._sound(detections)
        if np.count_nonzero(keep) < len(keep):
            detections, boxes = detections[keep], boxes.compress(keep, axis=1)
        embeddings = self._embeddings(detections.embeddings) if self.settings.use_embeddings else None
        class_ids = detections.class_ids
        if not self._several_classes and len(class_ids):
            first = self._store.class_ids[0] if self._store.count else class_ids[0]
            self._several_classes = bool(np.count_nonzero(class_ids != first))
        landmarks = detections.landmarks
        return _Seen(boxes, self._kalman.measure(boxes), detections.scores, class_ids, embeddings, landmarks)

    def _sound(self, detections: Detections) -> Mask:
        """Return which detections have a finite score and a finite box that is not empty; warn once of others."""
        tlbr = detections.tlbr
        sound = np.isfinite(tlbr).all(axis=1) & np.isfinite(detections.scores)
        sound &= (tlbr[:, 2:] > tlbr[:, :2]).all(axis=1)
        if not self._warned and not sound.all():
            self._warned = True
            logger.warning(
                "Frame %d has %d detections whose box or score is not finite or whose box is empty; such "
                "detections are left out.",
                self._frame,
                len(sound) - int(sound.sum()),
            )
        return sound

    def _embeddings(self, embeddings: FloatArray) -> FloatArray | None:
        """Return rows of length 1, or none if the detections have no embeddings."""
        size, known = embeddings.shape[1], self._store.embedding_size
        if size == 0 or len(embeddings) == 0:
            return None
        if known == 0:
            self._store.begin_embeddings(size)
        elif size != known:
            raise UserError(
                f"Frame {self._frame} has embeddings of {size} numbers where earlier frames had {known}; "
                "use detections of one model for one tracker."
            )
        return normalized(embeddings)

    def _predict(self, lost: Mask, seen: _Seen) -> tuple[Array, Array]:
        """Move all tracks to this frame; return their states `(5, 4, n)` and boxes `(4, n)`."""
        store = self._store
        states = store.kalman[:, :, : store.count]
        if self.settings.predict_unconfirmed or np.count_nonzero(store.confirmed[: store.count]) == store.count:
            self._kalman.predict(states, lost)
        else:
            confirmed = store.confirmed[: store.count].nonzero()[0]
            states[:, :, confirmed] = self._kalman.predict(states.take(confirmed, axis=2), lost[confirmed])
        boxes = self._kalman.boxes(states[POSITION])
        classes = (store.class_ids[: store.tracked], seen.class_ids) if self._several_classes else None
        shift = self._camera_shift(boxes[:, : store.tracked], seen.tlbr, classes)
        if shift is not None:
            states[POSITION, :2] += shift
            boxes += np.concatenate((shift, shift))
        return states, boxes

    def _associate(
        self, seen: _Seen, states: Array, boxes: Array, lost: Mask
    ) -> tuple[_Matches, IndexArray, IndexArray, IndexArray]:
        """Run the stages.

        Returns:
            The matches; rows of tracks missed in this frame that were not lost before; rows of unconfirmed tracks
            without a match; indices of high-score detections without one.
        """
        store, settings = self._store, self.settings
        confirmed = store.confirmed[: store.count]
        pool, unconfirmed = confirmed.nonzero()[0], (~confirmed).nonzero()[0]
        is_high = seen.scores > self._confidence
        high, low = is_high.nonzero()[0], (~is_high).nonzero()[0]
        if settings.reference_quirks:
            low = low[seen.scores[low] < self._confidence]
        matches = _Matches(self._assign, (store.class_ids, seen.class_ids) if self._several_classes else None)

        def distance(rows: IndexArray, columns: IndexArray) -> Array:
            return self._distance(boxes.take(rows, axis=1), seen.tlbr.take(columns, axis=1))

        def fused_distance(rows: IndexArray, columns: IndexArray) -> Array:
            return self._fuse_scores(distance(rows, columns), seen.scores.take(columns))

        if seen.embeddings is None:
            left, high = matches.add(pool, high, fused_distance, settings.motion_limit)
            missed = left[~lost[left]]
        else:
            embeddings = seen.embeddings

            def appearance(rows: IndexArray, columns: IndexArray) -> Array:
                return self._appearance_cost(
                    store.embeddings.take(rows, axis=0),
                    embeddings.take(columns, axis=0),
                    self._kalman.gating_distance(states.take(rows, axis=2), seen.measured.take(columns, axis=1)),
                    lambda: fused_distance(rows, columns),
                )

            left, high = matches.add(pool, high, appearance, settings.appearance_limit)
            missed, high = matches.add(left[~lost[left]], high, fused_distance, settings.overlap_limit)
        missed, _ = matches.add(missed, low, distance, settings.low_score_limit)
        unconfirmed, high = matches.add(unconfirmed, high, fused_distance, settings.unconfirmed_limit)
        return matches, missed, unconfirmed, high

    def _correct(self, rows: IndexArray, columns: IndexArray, seen: _Seen, lost: Mask) -> None:
        """Update tracks `rows` with their detections `columns`."""
        if not len(rows):
            return
        store, settings = self._store, self.settings
        states = store.kalman.take(rows, axis=2)
        store.kalman[:, :, rows] = self._kalman.update(states, seen.measured.take(columns, axis=1))
        if seen.embeddings is not None:
            momentum = np.float32(settings.embedding_momentum)
            blend = store.embeddings.take(rows, axis=0)
            blend *= momentum
            blend += (1 - momentum) * seen.embeddings.take(columns, axis=0)
            store.embeddings[rows] = normalized(blend)
        store.last_frame[rows] = self._frame
        store.last_seen[rows] = self._clock.now
        store.confirmed[rows] = True
        if settings.reference_quirks and not settings.low_score_stage:
            refreshed = ~lost[rows]
            rows, columns = rows[refreshed], columns[refreshed]
        store.scores[rows] = seen.scores[columns]

    def _start(self, new: IndexArray, seen: _Seen) -> None:
        """Begin tracks with detections `new`; those of the first frame are confirmed at once."""
        if len(new):
            embeddings = None if seen.embeddings is None else seen.embeddings[new]
            states = self._kalman.initiate(seen.measured[:, new])
            rows = self._store.append(
                states, seen.scores[new], seen.class_ids[new], embeddings, self._frame, self._clock.now
            )
            self._store.confirmed[rows] = self._frame == 1
            if self.settings.reference_quirks:
                self._name(np.arange(rows.start, rows.stop))

    def _name(self, rows: IndexArray) -> None:
        """Assign the next ids to the tracks in `rows`."""
        self._store.ids[rows] = self._ids_given + 1 + np.arange(len(rows))
        self._ids_given += len(rows)

    def _settle(self, lost: Mask, gone: Mask) -> tuple[Array, IndexArray]:
        """Drop rows that are `gone` or duplicates, sort the rest and assign ids.

        Args:
            lost: whether each track that was there before this frame is lost now; new tracks, in the rows after
                them, are not.
            gone: whether each of them is to be dropped.

        Returns:
            The boxes `(4, n)` of the tracks that are not lost, and the rows `(n,)` that they were in.
        """
        store, was_tracked, was_there = self._store, self._store.tracked, len(lost)
        group = np.full(store.count, _NEW, np.int8)
        group[:was_tracked] = _AFTER_TRACKED[lost[:was_tracked].view(np.int8)]
        group[was_tracked:was_there] = _AFTER_LOST[lost[was_tracked:].view(np.int8)]
        group[:was_there][gone] = _GONE
        boxes = self._kalman.boxes(store.kalman[POSITION, :, : store.count])
        self._drop_duplicates(group, boxes)
        tracked, alive = int(np.count_nonzero(group < _STILL_LOST)), int(np.count_nonzero(group < _GONE))
        order = group.argsort(kind="stable")[:alive]
        store.keep(order, tracked)

        rows = ((store.ids[:tracked] == 0) & store.confirmed[:tracked]).nonzero()[0]
        if len(rows):
            self._name(rows)
        kept: Array = boxes.take(order[:tracked], axis=1)
        return kept, order[:tracked]

    def _drop_duplicates(self, group: npt.NDArray[np.int8], boxes: Array) -> None:
        """Mark as gone the younger one of each overlapping pair of a tracked and a lost track."""
        here, away = (group < _STILL_LOST).nonzero()[0], ((group >= _STILL_LOST) & (group < _GONE)).nonzero()[0]
        if not len(here) or not len(away):
            return
        a, b = near_duplicates(boxes.take(here, axis=1), boxes.take(away, axis=1), self.settings.duplicate_distance)
        if not len(a):
            return
        store, here, away = self._store, here[a], away[b]
        if self._several_classes:
            alike = store.class_ids[here] == store.class_ids[away]
            here, away = here[alike], away[alike]
        age = store.last_frame - store.first_frame
        lasting = age[here] > age[away] if self.settings.reference_quirks else age[here] >= age[away]
        group[away[lasting]] = _GONE
        group[here[~lasting]] = _GONE

    def _report(self, boxes: Array, landmarks: FloatArray | None) -> Tracks:
        """Return the confirmed tracks that pass the output filter.

        Args:
            boxes: `(4, n)`, of all tracked ones.
            landmarks: `(n, k, 2)` of them, if they have any.
        """
        store, settings = self._store, self.settings
        boxes[2:] -= boxes[:2]
        width, height = boxes[2:]
        shown = width <= settings.max_aspect_ratio * height
        if self._several_classes:
            shown |= ~np.isin(store.class_ids[: store.tracked], self._upright)
        elif store.tracked and int(store.class_ids[0]) not in self._upright:
            shown[:] = True
        shown &= width * height > settings.min_box_area
        shown &= store.confirmed[: store.tracked]
        rows = shown.nonzero()[0]
        tlwh = boxes.take(rows, axis=1).T.astype(np.float32, order="C")
        tracks = Tracks(store.ids.take(rows), tlwh, store.scores.take(rows), store.class_ids.take(rows))
        return tracks if landmarks is None else replace(tracks, landmarks=landmarks.take(rows, axis=0))


def _without(values: IndexArray, positions: IndexArray) -> IndexArray:
    """Return `values` without those at `positions`."""
    keep = np.ones(len(values), np.bool_)
    keep[positions] = False
    return values[keep]
