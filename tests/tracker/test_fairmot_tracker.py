"""The life of tracks, on small scenes with known answers."""

from __future__ import annotations

import gc
import logging
import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairmot.core.errors import UserError
from fairmot.core.records import Detections, Tracks, TrackState
from fairmot.tracker import FairMOTTracker, TrackerSettings

BOXES_ONLY = TrackerSettings(use_embeddings=False)


def seen(
    positions: Sequence[Sequence[float]],
    scores: float | Sequence[float] = 0.9,
    classes: Sequence[int] | None = None,
    embeddings: np.ndarray | None = None,
) -> Detections:
    """Detections of people 40 wide and 100 high at `positions` (left, top)."""
    count = len(positions)
    corner = np.array(positions, np.float32).reshape(count, 2)
    return Detections(
        np.concatenate((corner, corner + np.float32([40, 100])), axis=1),
        np.broadcast_to(np.float32(scores), (count,)).copy(),
        np.zeros(count, np.int64) if classes is None else np.array(classes, np.int64),
        np.zeros((count, 0), np.float32) if embeddings is None else np.asarray(embeddings, np.float32),
    )


def ids_by_place(tracks: Tracks) -> dict[int, int]:
    """Identity by the left edge, in hundreds of pixels."""
    return {round(track.tlwh[0] / 100): track.id for track in tracks}


def unit(*values: float) -> np.ndarray:
    row = np.array(values, np.float32)
    return row / np.linalg.norm(row)


def test_identity_follows_motion() -> None:
    tracker = FairMOTTracker()
    for frame in range(30):
        tracks = tracker.update(seen([(100 + 4 * frame, 50), (500 - 4 * frame, 60)]))
        assert tracks.ids.tolist() == [1, 2]
        assert tracks.states.tolist() == [TrackState.TRACKED] * 2
        assert tracks.tlwh.dtype == np.float32
    np.testing.assert_allclose(tracks.tlwh[0], [216, 50, 40, 100], atol=1)


def test_later_tracks_need_a_second_frame() -> None:
    tracker = FairMOTTracker()
    assert len(tracker.update(seen([(100, 0)]))) == 1
    assert ids_by_place(tracker.update(seen([(100, 0), (500, 0)]))) == {1: 1}
    assert ids_by_place(tracker.update(seen([(100, 0), (500, 0)]))) == {1: 1, 5: 2}
    tracker.update(seen([(100, 0), (500, 0), (800, 0)]))
    tracker.update(seen([(100, 0), (500, 0)]))
    tracker.update(seen([(100, 0), (500, 0), (800, 0)]))
    assert ids_by_place(tracker.update(seen([(100, 0), (500, 0), (800, 0)]))) == {1: 1, 5: 2, 8: 3}


@pytest.mark.parametrize(
    ("mended", "gap", "kept"), [(True, 10, True), (True, 11, False), (False, 11, True), (False, 12, False)]
)
def test_expiry(mended: bool, gap: int, kept: bool) -> None:
    """A buffer of 10 frames: found again after 10 frames without a detection, in reference mode after 11."""
    tracker = FairMOTTracker(10, TrackerSettings(use_embeddings=False, reference_quirks=not mended))
    for _ in range(3):
        tracker.update(seen([(100, 0)]))
    for _ in range(gap):
        assert not len(tracker.update(seen([])))
    tracks = tracker.update(seen([(100, 0)]))
    assert tracks.ids.tolist() == ([1] if kept else [])


def test_appearance_decides_between_two_near_people() -> None:
    """Two people who swap positions between frames: with embeddings the ids follow them, by boxes they stay."""
    a, b = unit(1, 0, 0), unit(0, 1, 0)
    for settings_, expected in ((TrackerSettings(), [2, 1]), (BOXES_ONLY, [1, 2])):
        tracker = FairMOTTracker(settings=settings_)
        for _ in range(5):
            tracker.update(seen([(100, 0), (110, 0)], embeddings=np.stack((a, b))))
        tracks = tracker.update(seen([(100, 0), (110, 0)], embeddings=np.stack((b, a))))
        order = np.argsort(tracks.tlwh[:, 0])
        assert tracks.ids[order].tolist() == expected


def test_embeddings_that_mean_nothing_fall_back_to_boxes() -> None:
    tracker = FairMOTTracker()
    nothing = np.array([[np.nan, 0, 0], [0, 0, 0]])
    good = np.stack((unit(1, 0, 0), unit(0, 1, 0)))
    for embeddings in (good, nothing, None, good, good):
        tracks = tracker.update(seen([(100, 0), (500, 0)], embeddings=embeddings))
        assert ids_by_place(tracks) == {1: 1, 5: 2}
    assert np.isfinite(tracker._store.embeddings).all()


def test_embeddings_may_begin_late_but_not_change_size() -> None:
    tracker = FairMOTTracker()
    tracker.update(seen([(100, 0)]))
    assert ids_by_place(tracker.update(seen([(100, 0)], embeddings=unit(1, 0)[None]))) == {1: 1}
    assert not len(tracker.update(Detections.empty(7)))
    with pytest.raises(UserError, match="embeddings of 3 numbers where earlier frames had 2"):
        tracker.update(seen([(100, 0)], embeddings=unit(1, 0, 0)[None]))


@pytest.mark.parametrize("low_score_stage", [True, False])
def test_low_scores_carry_tracks_but_start_none(low_score_stage: bool) -> None:
    tracker = FairMOTTracker(settings=TrackerSettings(low_score_stage=low_score_stage))
    tracker.update(seen([(100, 0), (500, 0)]))
    for _ in range(3):
        tracks = tracker.update(seen([(100, 0), (500, 0), (900, 0)], scores=[0.9, 0.3, 0.3]))
        assert ids_by_place(tracks) == ({1: 1, 5: 2} if low_score_stage else {1: 1})
    assert ids_by_place(tracker.update(seen([(100, 0), (500, 0)]))) == {1: 1, 5: 2}


@pytest.mark.parametrize(("reference", "kept"), [(True, False), (False, True)])
def test_score_equal_to_the_threshold(reference: bool, kept: bool) -> None:
    tracker = FairMOTTracker(settings=TrackerSettings(use_embeddings=False, reference_quirks=reference))
    tracker.update(seen([(100, 0)]))
    assert (len(tracker.update(seen([(100, 0)], scores=np.float32(0.4)))) == 1) is kept


@pytest.mark.parametrize(
    ("score", "started"), [(0.45, False), (0.5, True), (1.7, True)], ids=["below the start", "at it", "above 1"]
)
def test_scores_that_start_tracks(score: float, started: bool) -> None:
    assert bool(len(FairMOTTracker().update(seen([(100, 0)], scores=score)))) is started


@pytest.mark.parametrize(("reference", "score"), [(True, 0.9), (False, 0.8)])
def test_score_of_a_refound_track(reference: bool, score: float) -> None:
    tracker = FairMOTTracker(settings=TrackerSettings(low_score_stage=False, reference_quirks=reference))
    tracker.update(seen([(100, 0)], scores=0.9))
    tracker.update(seen([]))
    tracks = tracker.update(seen([(100, 0)], scores=0.8))
    assert tracks.ids.tolist() == [1]
    assert tracks.scores[0] == pytest.approx(score)


def test_classes_never_match() -> None:
    tracker = FairMOTTracker()
    embeddings = np.stack((unit(1, 0), unit(0, 1)))
    for _ in range(3):
        tracks = tracker.update(seen([(100, 0), (500, 0)], classes=[0, 1], embeddings=embeddings))
        assert (tracks.ids.tolist(), tracks.class_ids.tolist()) == ([1, 2], [0, 1])
    tracks = tracker.update(seen([(100, 0), (500, 0)], classes=[1, 1], embeddings=embeddings))
    assert tracks.ids.tolist() == [2]
    tracks = tracker.update(seen([(100, 0), (500, 0)], classes=[1, 1], embeddings=embeddings))
    assert dict(zip(tracks.ids.tolist(), tracks.class_ids.tolist(), strict=True)) == {2: 1, 3: 1}


def test_two_classes_in_one_place_are_two_tracks() -> None:
    """A lost track of another class is no duplicate."""
    tracker = FairMOTTracker(settings=BOXES_ONLY)
    tracker.update(seen([(100, 0), (100, 0)], classes=[0, 1]))
    for _ in range(3):
        assert tracker.update(seen([(100, 0)], classes=[1])).ids.tolist() == [2]
    assert tracker.update(seen([(100, 0), (100, 0)], classes=[0, 1])).ids.tolist() == [2, 1]


def test_output_filter() -> None:
    wide = Detections(
        np.float32([[0, 0, 200, 100], [300, 0, 309, 11], [400, 0, 440, 100]]),
        np.full(3, 0.9, np.float32),
        np.zeros(3, np.int64),
        np.zeros((3, 0), np.float32),
    )
    assert FairMOTTracker().update(wide).ids.tolist() == [3]
    everything = TrackerSettings(max_aspect_ratio=float("inf"), min_box_area=0)
    assert FairMOTTracker(settings=everything).update(wide).ids.tolist() == [1, 2, 3]


def test_unusable_detections_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    boxes = [
        [0, 0, 40, 100],
        [np.nan, 0, 40, 100],
        [0, 0, np.inf, 9],
        [40, 0, 0, 100],
        [5, 5, 5, 50],
        [300, 0, 340, 90],
    ]
    scores = [0.9, 0.9, 0.9, 0.9, 0.9, np.nan]
    bad = Detections(np.float32(boxes), np.float32(scores), np.zeros(6, np.int64), np.zeros((6, 0), np.float32))
    tracker = FairMOTTracker()
    with caplog.at_level(logging.WARNING), np.errstate(all="raise"):
        for _ in range(3):
            assert tracker.update(bad).ids.tolist() == [1]
    assert [record.getMessage() for record in caplog.records] == [
        "Frame 1 has 5 detections whose box or score is not finite or whose box is empty; such detections are left out."
    ]


def test_order_of_detections_does_not_matter() -> None:
    random = np.random.default_rng(1)
    sorted_tracker, shuffled_tracker = FairMOTTracker(), FairMOTTracker()
    for frame in range(40):
        detections = crowd(random, frame, people=12)
        mixed = detections[random.permutation(len(detections))]
        a, b = sorted_tracker.update(detections), shuffled_tracker.update(mixed)
        key_a, key_b = np.lexsort(a.tlwh.T), np.lexsort(b.tlwh.T)
        np.testing.assert_array_equal(a.tlwh[key_a], b.tlwh[key_b])


def crowd(random: np.random.Generator, frame: int, people: int) -> Detections:
    """People who come and go: person k walks along row k, starts over after 50 steps and is missed now and then."""
    steps = (frame + 7 * np.arange(people)) % 50
    visits = (frame + 7 * np.arange(people)) // 50
    shown = random.random(people) > 0.15
    positions = np.stack((100 + 12.0 * steps, 130.0 * np.arange(people)), axis=1) + random.normal(0, 1, (people, 2))
    embeddings = np.stack(
        [
            unit(*np.random.default_rng([person, visit]).normal(size=16))
            for person, visit in zip(range(people), visits.tolist(), strict=True)
        ]
    )
    order = np.flatnonzero(shown)
    return seen(positions[order], random.uniform(0.1, 1.0, len(order)), embeddings=embeddings[order])


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.booleans(), st.booleans())
def test_ids_are_never_reused(seed: int, reference: bool, embeddings: bool, low: bool) -> None:
    """An id that has been gone for longer than the buffer never comes back; ids are unique in a frame and rise."""
    random = np.random.default_rng(seed)
    tracker = FairMOTTracker(
        10, TrackerSettings(use_embeddings=embeddings, low_score_stage=low, reference_quirks=reference)
    )
    last_seen: dict[int, int] = {}
    for frame in range(120):
        ids = tracker.update(crowd(random, frame, people=8)).ids.tolist()
        assert len(set(ids)) == len(ids)
        newest = max(last_seen, default=0)
        assert all(id_ in last_seen or id_ > newest for id_ in ids)
        assert all(frame - last_seen.get(id_, frame) <= 10 + 2 for id_ in ids)
        last_seen.update(dict.fromkeys(ids, frame))
    if not reference:  # the reference assigns ids to tracks that are never confirmed
        assert sorted(last_seen) == list(range(1, max(last_seen) + 1))


def test_two_trackers_are_independent() -> None:
    random = np.random.default_rng(3)
    frames = [crowd(random, frame, people=10) for frame in range(60)]
    alone = [FairMOTTracker.update(tracker, frame) for tracker in [FairMOTTracker()] for frame in frames]
    one, other = FairMOTTracker(), FairMOTTracker(settings=BOXES_ONLY)
    for frame, expected in zip(frames, alone, strict=True):
        got = one.update(frame)
        other.update(frame[::-1])
        np.testing.assert_array_equal(got.ids, expected.ids)
        np.testing.assert_array_equal(got.tlwh, expected.tlwh)
    one.reset()
    np.testing.assert_array_equal(one.update(frames[0]).ids, alone[0].ids)


def test_detections_are_not_changed() -> None:
    random = np.random.default_rng(4)
    tracker = FairMOTTracker()
    for frame in range(10):
        detections = crowd(random, frame, people=10)
        before = [array.copy() for array in (detections.tlbr, detections.scores, detections.embeddings)]
        tracker.update(detections)
        for array, copy in zip((detections.tlbr, detections.scores, detections.embeddings), before, strict=True):
            np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("reference", [False, True])
def test_memory_is_flat(reference: bool) -> None:
    """People come and go for 1,600 frames after a crowd of 300 that passed through once."""
    random = np.random.default_rng(5)
    frames = [crowd(random, frame, people=20) for frame in range(400)]
    tracker = FairMOTTracker(10, TrackerSettings(reference_quirks=reference))
    tracker.update(seen(random.uniform(0, 50_000, (300, 2)), embeddings=random.normal(size=(300, 16))))

    def run(times: int) -> int:
        for detections in times * frames:
            tracker.update(detections)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before, after = run(1), run(3)
    finally:
        tracemalloc.stop()
    assert tracker._ids_given > 900
    assert 300 <= tracker._store.capacity < 1000
    assert after - before < 4_000


@pytest.mark.parametrize(
    ("names", "shown"),
    [(("person",), [2]), (("car", "person"), [1]), (("car",), [1, 2]), (("Pedestrian", "person"), [])],
)
def test_only_people_must_be_upright(names: Sequence[str], shown: list[int]) -> None:
    """Boxes 100 wide and 40 high, of class 0 and 1; a class without a name is not that of people."""
    tracker = FairMOTTracker(class_names=names)
    tlbr = np.float32([[100, 0, 200, 40], [500, 0, 600, 40]])
    wide = Detections(tlbr, np.full(2, 0.9, np.float32), np.array([0, 1]), np.zeros((2, 0), np.float32))
    for _ in range(3):
        tracks = tracker.update(wide)
    assert tracks.ids.tolist() == shown
    for class_id, name in enumerate(names):
        alone = FairMOTTracker(class_names=names)
        assert len(alone.update(wide[wide.class_ids == class_id])) == (name == "car")


def test_landmarks_are_those_of_the_matched_detection() -> None:
    """Also where rows change order: tracks are lost, found again and dropped by the output filter."""
    tracker = FairMOTTracker(30)
    random = np.random.default_rng(3)
    for frame in range(40):
        places = [(100.0 * place + frame, 50.0) for place in random.permutation(12) if random.random() < 0.8]
        detections = seen(places)
        points = np.stack((detections.tlbr[:, :2], detections.tlbr[:, 2:]), axis=1)
        found = Detections(
            detections.tlbr, detections.scores, detections.class_ids, detections.embeddings, landmarks=points
        )
        tracks = tracker.update(found)
        assert tracks.landmarks.shape == (len(tracks), 2, 2)
        np.testing.assert_allclose(tracks.landmarks[:, 0], tracks.tlwh[:, :2], atol=12)
    assert len(tracks) > 5
    assert tracker.update(Detections.empty()).landmarks.shape == (0, 0, 2)
