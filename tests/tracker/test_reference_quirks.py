"""Equality with the reference beyond the golden sequences, on a few detections each.

The answers written down are those of ifzhang/FairMOT and ifzhang/ByteTrack (`tutorials/fairmot`), run with NumPy 2 and
lap 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairmot.core.records import Detections
from fairmot.tracker import FairMOTTracker
from fairmot.tracker.assignment import assign, assign_in_square
from fairmot.tracker.costs import cosine_distance, cosine_distance_by_pair, normalized
from fairmot.tracker.presets import PRESETS
from fairmot.tracker.settings import TrackerSettings

FAIRMOT = replace(PRESETS["fairmot"], reference_quirks=True)
BY_BOXES = replace(PRESETS["byte-motion"], reference_quirks=True)

Seen = tuple[float, float, tuple[float, float]]  # left edge, score, embedding


def answers(constants: TrackerSettings, frames: Sequence[Sequence[Seen]], width: int = 40) -> list[dict[int, float]]:
    """Return per frame the left edge of every identity; boxes cover `width` x 100 pixels, both edges included."""
    tracker, answer = FairMOTTracker(30, constants), []
    for frame in frames:
        left, scores = (np.array([row[n] for row in frame], np.float32) for n in (0, 1))
        tlbr = np.column_stack((left, 0 * left, left + width - 1, 0 * left + 99))
        embeddings = np.array([row[2] for row in frame], np.float32).reshape(-1, 2)
        tracks = tracker.update(Detections(tlbr, scores, np.zeros(len(frame), np.int64), embeddings))
        answer.append(dict(zip(tracks.ids.tolist(), tracks.tlwh[:, 0].astype(float).round(2).tolist(), strict=True)))
    return answer


def at(left: float, score: float = 0.9, embedding: tuple[float, float] = (1, 0)) -> Seen:
    return left, score, embedding


def test_duplicate_of_a_lost_track_uses_up_an_id() -> None:
    """Another face where track 1 was lost begins track 2, which is dropped at once; the next one is still 3."""
    frames = [[at(100)], [at(100)], [], [at(100, embedding=(0, 1))], [at(500)], [at(500)]]
    assert answers(FAIRMOT, frames) == [{1: 100}, {1: 100}, {}, {}, {}, {3: 500}]


def test_start_score_is_compared_in_float32() -> None:
    """0.7 in float32 is below 0.6 + 0.1 in float64: NumPy 1 starts no track here, NumPy 2 and the golden files do."""
    frames = [[], [at(100, np.float32(0.7))], [at(100, np.float32(0.7))]]
    assert answers(replace(BY_BOXES, confidence_threshold=0.6), frames) == [{}, {}, {1: 100}]


@pytest.mark.parametrize(
    ("before", "after", "kept"), [(2, 1, [1]), (3, 1, [1]), (3, 2, [1, 2]), (4, 2, [2, 3]), (2, 3, [1, 2])]
)
def test_equal_boxes(before: int, after: int, kept: list[int]) -> None:
    frames = [[at(100, 0.5 + 0.1 * n) for n in range(before)], [at(100)] * after]
    assert list(answers(BY_BOXES, frames)[1]) == kept


def test_one_box_as_far_from_two_tracks_and_two_from_one() -> None:
    assert answers(BY_BOXES, [[at(0), at(20)], [at(10)]], width=30)[1] == {1: 8.68}
    assert answers(BY_BOXES, [[at(10)], [at(0), at(20)]], width=30)[1] == {1: 1.32}
    assert answers(BY_BOXES, [[at(0), at(20), at(40)], [at(10), at(30)]], width=30)[1] == {1: 8.68, 2: 28.68}


@pytest.mark.parametrize(
    ("cost", "rows", "columns"),
    [
        ([[0.1], [0.1]], [0], [0]),
        ([[0.1], [0.1], [0.4]], [0], [0]),
        ([[0.4, 0.4]], [0], [0]),
        ([[0.1, 0.1], [0.4, 0.4]], [0], [1]),
        ([[0.1, 0.1], [0.1, 0.1], [0.1, 0.1]], [0, 1], [1, 0]),
        ([[0.1, 0.1], [0.1, 0.1], [0.1, 0.2]], [1, 2], [1, 0]),
        ([[np.nan, 0.1], [np.inf, np.nan]], [0], [1]),
    ],
)
def test_choice_between_equal_sums(cost: list[list[float]], rows: list[int], columns: list[int]) -> None:
    matched, partners = assign_in_square(np.array(cost), 0.4)
    assert (matched.tolist(), partners.tolist()) == (rows, columns)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 7), st.integers(0, 7), st.floats(0, 0.9), st.integers(0, 2**32 - 1))
def test_both_ways_to_assign_reach_the_same_sum(rows: int, columns: int, forbidden: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    cost = random.integers(0, 9, (rows, columns)) / 10
    cost[random.random(cost.shape) < forbidden] = np.inf
    sums = [(cost[solve(cost, 0.5)] - 0.5).sum() for solve in (assign, assign_in_square)]
    assert sums[0] == pytest.approx(sums[1])


def test_equal_embeddings_are_equally_far() -> None:
    """As one matrix product the columns differ in the last digit, which decides between equal boxes."""
    random = np.random.default_rng(1)
    tracks, once = (normalized(random.normal(size=(n, 128)).astype(np.float32)) for n in (21, 7))
    people = np.concatenate((once, once, once))
    distance = cosine_distance_by_pair(tracks, people)
    np.testing.assert_array_equal(distance[:, :7], distance[:, 7:14])
    np.testing.assert_array_equal(distance[:, :7], distance[:, 14:])
    np.testing.assert_allclose(distance, cosine_distance(tracks, people), atol=1e-6)
