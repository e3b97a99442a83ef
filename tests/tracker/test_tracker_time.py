"""A second is a second: how long a track waits, with timestamps and without."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from fairmot.core.records import Detections, Tracks
from fairmot.tracker import FairMOTTracker, TrackerSettings
from fairmot.tracker.association import track
from fairmot.tracker.clock import Clock
from fairmot.tracker.detection_file import DetectionWriter, read_detection_file
from fairmot.tracker.presets import PRESETS

NOTHING = Detections.empty()


def person(left: float = 100) -> Detections:
    return Detections(
        np.float32([[left, 50, left + 40, 150]]), np.float32([0.9]), np.zeros(1, np.int64), np.zeros((1, 0), np.float32)
    )


def rows(tracks: Tracks) -> list[object]:
    return [tracks.ids.tolist(), tracks.tlwh.tolist(), tracks.scores.tolist()]


def crowds(frames: int, seed: int, longest: int = 60) -> list[Detections]:
    """People who walk, are hidden for up to `longest` frames and come back."""
    random = np.random.default_rng(seed)
    position, step = random.uniform(0, 900, (12, 2)), random.normal(0, 3, (12, 2))
    hidden = np.zeros(12, int)
    embedding = np.eye(12, 16, dtype=np.float32)
    found = []
    for _ in range(frames):
        position += step
        hidden = np.where(
            hidden > 0, hidden - 1, np.where(random.random(12) < 0.03, random.integers(1, longest, 12), 0)
        )
        shown = np.flatnonzero(hidden == 0)
        corner = position[shown] + random.normal(0, 1, (len(shown), 2))
        boxes = np.concatenate((corner, corner + np.array([40, 100])), axis=1).astype(np.float32)
        scores = random.uniform(0.15, 1, len(shown)).astype(np.float32)
        found.append(Detections(boxes, scores, np.zeros(len(shown), np.int64), embedding[shown]))
    return found


@pytest.mark.parametrize("preset", [*PRESETS, "byte with faults"])
@pytest.mark.parametrize("rate", [0.5, 1, 7, 12.5, 23.976, 25, 29.97, 30, 60, 240])
@pytest.mark.parametrize("digits", [None, 3], ids=["exact", "milliseconds"])
def test_constant_rates_give_what_counting_gives(preset: str, rate: float, digits: int | None) -> None:
    """To the bit, also where a container rounds to milliseconds, and far from the start of a stream."""
    settings = PRESETS.get(preset, TrackerSettings(reference_quirks=True))
    counting, timed = FairMOTTracker(rate, settings), FairMOTTracker(rate, settings)
    for frame, found in enumerate(crowds(int(120 + 3 * rate), 1, longest=int(10 + 2 * rate))):
        seconds = 95_443.7 + frame / rate
        seconds = seconds if digits is None else round(seconds, digits)
        assert rows(counting.update(found)) == rows(timed.update(found, seconds))
    assert counting._ids_given > 12


@pytest.mark.parametrize("rate", [10.0, 25.0])
@pytest.mark.parametrize("jitter", [0.1, 0.4])
def test_jitter_below_half_a_frame_does_not_matter(rate: float, jitter: float) -> None:
    random = np.random.default_rng(1)
    counting, timed = FairMOTTracker(rate), FairMOTTracker(rate)
    for frame, found in enumerate(crowds(200, 3)):
        seconds = (frame + random.uniform(-jitter, jitter) / 2) / rate
        assert rows(counting.update(found)) == rows(timed.update(found, seconds))


def found_again(times: Iterable[float], hidden: Iterable[float], rate: float, **settings: object) -> bool:
    """Return whether a person who stands still keeps the identity when unseen at some times."""
    tracker = FairMOTTracker(rate, TrackerSettings(use_embeddings=False, **settings))  # type: ignore[arg-type]
    hidden, ids = set(hidden), set()
    for seconds in times:
        ids.update(tracker.update(NOTHING if seconds in hidden else person(), seconds).ids.tolist())
    return ids == {1}


@pytest.mark.parametrize(
    ("gap", "kept"), [(0.5, True), (0.9, True), (1.0, True), (1.3, False), (5.0, False), (3600.0, False)]
)
@pytest.mark.parametrize("step", [0.04, 0.1, 0.2, 0.45])
def test_a_second_where_frames_are_dropped(gap: float, kept: bool, step: float) -> None:
    """A camera of 25 frames/s of which fewer arrive; the person is seen again `gap` seconds after the last time."""
    before = [step * number for number in range(8)]
    away = [
        seconds for seconds in (before[-1] + step * number for number in range(1, 1000)) if seconds < before[-1] + gap
    ]
    after = [before[-1] + gap + step * number for number in range(6)]
    assert found_again([*before, *away, *after], away, 25) is kept


@pytest.mark.parametrize("pause", [1.5, 10.0, 3600.0])
@pytest.mark.parametrize("was_lost", [False, True])
def test_a_pause_ends_all_tracks(pause: float, was_lost: bool) -> None:
    before = [0.04 * number for number in range(10)]
    hidden = before[-2:] if was_lost else []
    after = [before[-1] + pause + 0.04 * number for number in range(10)]
    assert not found_again([*before, *after], hidden, 25)
    assert found_again([*before, *(before[-1] + 0.6 + 0.04 * number for number in range(10))], hidden, 25)


def test_nothing_is_reported_in_the_frame_after_a_pause() -> None:
    tracker = FairMOTTracker(25)
    for number in range(5):
        tracker.update(person(), 0.04 * number)
    assert len(tracker.update(person(), 3600.0)) == 0
    assert tracker.update(person(), 3600.04).ids.tolist() == [2]


@pytest.mark.parametrize("step", [1.5, 3.0, 20.0])
def test_a_slow_computer_is_no_pause(step: float) -> None:
    """Of a camera of 30 frames/s one frame every few seconds is seen, at uneven times."""
    times = [0.0, step]
    for factor in (1.0, 1.3, 0.7, 1.4, 1.0, 2.0, 0.8):
        times.append(times[-1] + factor * step)
    tracker = FairMOTTracker(30)
    ids = [tracker.update(person(), seconds).ids.tolist() for seconds in times]
    assert ids[3:] == [ids[3]] * len(ids[3:])
    assert len(ids[3]) == 1


@pytest.mark.parametrize("wrong", [None, float("nan"), float("inf"), 0.2, -5.0])
def test_timestamps_that_do_not_rise_count_as_frames(wrong: float | None) -> None:
    """A buffer of 10 frames: found again after 10, lost after 11."""
    for gap, people in ((10, 1), (11, 2)):
        tracker = FairMOTTracker(10, TrackerSettings(use_embeddings=False))
        for number in range(3):
            tracker.update(person(), 0.1 * number)
        for _ in range(gap):
            tracker.update(NOTHING, wrong)
        ids = set()
        for _ in range(3):
            ids.update(tracker.update(person(), wrong).ids.tolist())
        assert ids == {people}


def test_the_reference_counts_frames() -> None:
    settings = TrackerSettings(reference_quirks=True, use_embeddings=False)
    counting, timed = FairMOTTracker(10, settings), FairMOTTracker(10, settings)
    for number in range(30):
        found = NOTHING if 5 < number < 12 else person()
        assert rows(counting.update(found)) == rows(timed.update(found, 100.0 * number))


def test_reset_forgets_the_time() -> None:
    tracker = FairMOTTracker(25)
    tracker.update(person(), 5000.0)
    tracker.reset()
    assert tracker.update(person(), 0.0).ids.tolist() == [1]
    assert tracker.update(person(), 0.04).ids.tolist() == [1]


def test_the_clock() -> None:
    clock = Clock(10)
    steps = []
    for seconds in (0.0, 0.1, 0.4, None, 0.45, 0.45, 10.0):
        clock.advance(seconds)
        steps.append(clock.step)
    np.testing.assert_allclose(steps, [1, 1, 3, 1, 0.5, 1, 95.5])
    assert clock.now == pytest.approx(sum(steps))
    assert clock.paused(90)
    assert not clock.paused(95.5)


@pytest.mark.parametrize("seed", range(4))
def test_the_association_of_the_file_is_that_of_the_run(tmp_path: Path, seed: int) -> None:
    """Of a variable rate with pauses and frames without people, from the archive and from what a kill leaves of it."""
    random = np.random.default_rng(seed)
    steps = random.choice([0.04, 0.04, 0.04, 0.12, 0.5, 1.5, 400.0], 300, p=[0.3, 0.3, 0.2, 0.1, 0.07, 0.02, 0.01])
    times = np.cumsum(steps).tolist()
    tracker, path, expected = FairMOTTracker(25), tmp_path / "a.npz", []
    writer = DetectionWriter(path, 25, (1000, 1000))
    for number, (found, seconds) in enumerate(zip(crowds(300, seed), times, strict=True)):
        found = Detections.empty(16) if number % 100 > 60 else found
        writer.add(3 + 2 * number, found, seconds)
        tracks = tracker.update(found, seconds)
        expected += [(3 + 2 * number, *row) for row in zip(tracks.ids.tolist(), tracks.tlwh.tolist(), strict=True)]
    for close in (False, True):
        if close:
            writer.close()
        boxes = track(read_detection_file(path), FairMOTTracker(25))
        again = zip(boxes.frames.tolist(), boxes.ids.tolist(), boxes.tlwh.tolist(), strict=True)
        assert [(frame, identity, box) for frame, identity, box in again] == expected
    counted = track(read_detection_file(path), FairMOTTracker(25), use_timestamps=False)
    assert counted.ids.tolist() != [identity for _, identity, _ in expected]
