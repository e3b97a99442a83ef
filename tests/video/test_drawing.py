from __future__ import annotations

import colorsys
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairmot.core import Tracks
from fairmot.video.drawing import TRAIL_LENGTH, Trails, color_of, draw_tracks


def tracks(ids: list[int], boxes: list[tuple[float, float, float, float]]) -> Tracks:
    return Tracks(
        np.array(ids, np.int64),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(len(ids), 0.9, np.float32),
        np.zeros(len(ids), np.int64),
    )


def test_colors_are_stable_and_neighbors_differ() -> None:
    assert color_of(1) == color_of(1)
    hues = [colorsys.rgb_to_hsv(*(channel / 255 for channel in reversed(color_of(id_))))[0] for id_ in range(1, 200)]
    for first, second in itertools.pairwise(hues):
        assert min(abs(first - second), 1 - abs(first - second)) > 0.2
    assert len({color_of(id_) for id_ in range(1, 101)}) == 100


def test_trails_hold_the_middle_of_the_lower_edge() -> None:
    trails = Trails(3)
    for step in range(5):
        trails.update(tracks([7], [(10.0 + step, 20, 8, 30)]))
    assert trails.of(7).tolist() == [[16, 50], [17, 50], [18, 50]]
    assert trails.of(8).shape == (0, 2)


def test_trails_do_not_cross_gaps_and_forget() -> None:
    trails = Trails(5)
    trails.update(tracks([1, 2], [(0, 0, 2, 2), (50, 50, 2, 2)]))
    trails.update(tracks([2], [(51, 50, 2, 2)]))
    trails.update(tracks([1], [(90, 90, 2, 2)]))
    assert trails.of(1).tolist() == [[91, 92]]
    for _ in range(6):
        trails.update(Tracks.empty())
    assert len(trails) == 0


def test_memory_of_trails_is_bounded() -> None:
    trails = Trails()
    for id_ in range(5000):
        trails.update(tracks([id_], [(0, 0, 1, 1)]))
    assert len(trails) <= TRAIL_LENGTH + 1


def test_box_label_trail_and_caption_are_drawn_where_they_belong() -> None:
    image = np.zeros((300, 400, 3), np.uint8)
    trails = Trails()
    for left in (60.0, 80.0, 100.0):
        now = tracks([5], [(left, 100, 60, 120)])
        trails.update(now)
    draw_tracks(image, now, trails, "caption")
    color = np.array(color_of(5))
    for x, y in ((100, 160), (160, 160), (130, 100), (130, 220)):  # the four edges
        np.testing.assert_array_equal(image[y, x], color)
    assert image[218:223, 95].max(axis=0) == pytest.approx(color, rel=0.1)  # the trail, left of the box; smoothed
    np.testing.assert_array_equal(image[95, 101], color)  # the label's background, above the box
    assert (image[85:99, 100:120] == 0).all(axis=2).any() or (image[85:99, 100:120] == 255).all(axis=2).any()
    assert (image[:10, :60] == 32).all(axis=2).any()
    assert not image[150:170, 115:145].any()
    assert not image[250:, :].any()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(*[st.floats(-1e9, 1e9, width=32)] * 2, *[st.floats(0, 1e9, width=32)] * 2), min_size=1, max_size=4
    ),
    st.sampled_from([(1, 1), (3, 200), (48, 64), (720, 1280)]),
)
def test_any_box_can_be_drawn(boxes: list[tuple[float, float, float, float]], shape: tuple[int, int]) -> None:
    image = np.zeros((*shape, 3), np.uint8)
    now = tracks(list(range(1, len(boxes) + 1)), boxes)
    trails = Trails()
    trails.update(now)
    trails.update(now)
    draw_tracks(image, now, trails, "x")
    assert image.shape == (*shape, 3)


@pytest.mark.parametrize("caption", ["", "frame 1"])
def test_nothing_but_the_caption_without_tracks(caption: str) -> None:
    image = np.zeros((90, 160, 3), np.uint8)
    draw_tracks(image, Tracks.empty(), Trails(), caption)
    assert bool(image.any()) == bool(caption)


def test_labels_name_the_class_where_there_are_several() -> None:
    """With one name the image is that without; with several the label is as wide as its text."""
    found = Tracks(np.array([3]), np.float32([[100, 100, 40, 60]]), np.float32([0.9]), np.array([1]))
    images = {names: np.zeros((240, 400, 3), np.uint8) for names in ((), ("car",), ("person", "car"))}
    for names, image in images.items():
        draw_tracks(image, found, class_names=names)
    assert np.array_equal(images[()], images[("car",)])
    widths = {names: int(image[90].any(axis=1).sum()) for names, image in images.items()}
    assert widths[("person", "car")] > 2 * widths[()] > 0
