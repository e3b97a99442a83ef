from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fairmot.video.synthetic.scene
from fairmot.video import open_source
from fairmot.video.synthetic.crowd import Crowd
from fairmot.video.synthetic.figure import draw_figure
from fairmot.video.synthetic.scene import Optics, Scene
from fairmot.video.synthetic.wardrobe import Appearance

SMALL = (480, 270)
CLEAR = Optics(noise=0.0, blur=0.0)
# A pure green ground: shadows keep it pure, every drawn person adds blue and red.
GREEN = np.full((8, 8, 3), (0, 255, 0), np.uint8)


def test_a_frame_depends_on_its_number_alone():
    forward, direct = Scene(6, SMALL, seed=3), Scene(6, SMALL, seed=3)
    frames = [forward.render(index) for index in (1, 2, 3, 90)]
    assert np.array_equal(frames[3], direct.render(90))
    assert np.array_equal(frames[0], direct.render(1))
    for index in (90, 2):
        first, second = forward.ground_truth(index), direct.ground_truth(index)
        assert np.array_equal(first.ids, second.ids)
        assert np.array_equal(first.tlwh, second.tlwh)
        assert np.array_equal(first.visibility, second.visibility)


def test_another_seed_and_another_frame_look_different():
    scene = Scene(6, SMALL, seed=3)
    assert np.abs(scene.render(1).astype(int) - Scene(6, SMALL, seed=4).render(1)).mean() > 5
    assert not np.array_equal(scene.render(1), scene.render(2))


def test_the_caller_owns_the_frame():
    scene = Scene(2, SMALL)
    frame = scene.render(1)
    expected = frame.copy()
    frame[:] = 0
    assert np.array_equal(scene.render(1), expected)


@pytest.mark.parametrize("seed", range(4))
def test_boxes_are_tight_around_the_drawn_pixels(seed):
    scene = Scene(1, (960, 540), seed=seed, optics=CLEAR, background=GREEN)
    compared = 0
    for index in range(1, 200, 20):
        boxes = scene.ground_truth(index)
        if len(boxes) != 1 or boxes.visibility[0] < 1.0:
            continue
        drawn = scene.render(index)[:, :, (0, 2)].max(axis=2) > 2
        rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
        extent = columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0]
        assert boxes.tlwh[0] == pytest.approx(extent, abs=1.0)
        compared += 1
    assert compared >= 3


def test_visibility_counts_who_stands_in_front_and_the_frame_edge():
    scene = Scene(40, SMALL, seed=1, background=GREEN)
    width, height = SMALL
    covered = cut = free = 0
    for index in range(1, 120, 10):
        boxes = scene.ground_truth(index)
        left, top, right, bottom = np.hstack([boxes.tlwh[:, :2], boxes.tlwh[:, :2] + boxes.tlwh[:, 2:]]).T
        inside = (left >= 0) & (top >= 0) & (right <= width) & (bottom <= height)
        for k in range(len(boxes)):
            nearer = slice(k + 1, None)
            overlap = np.minimum(right[k], right[nearer]) - np.maximum(left[k], left[nearer])
            overlap = np.where(
                np.minimum(bottom[k], bottom[nearer]) > np.maximum(top[k], top[nearer]), np.maximum(overlap, 0), 0
            )
            if not overlap.any():
                if inside[k]:
                    assert boxes.visibility[k] == 1.0
                    free += 1
                else:
                    assert boxes.visibility[k] < 1.0
                    cut += 1
            elif inside[k] and overlap.max() > 0.8 * (right[k] - left[k]):
                covered += boxes.visibility[k] < 0.6
    assert covered >= 3
    assert cut >= 3
    assert free >= 20


def test_things_in_the_street_hide_people_and_lie_over_them():
    scene = Scene(12, SMALL, seed=0, optics=CLEAR)
    assert scene._occluders
    hidden = 0
    for index in range(1, 300, 5):
        boxes = scene.ground_truth(index)
        bare = Scene.ground_truth(_without_occluders(scene), index)
        assert np.array_equal(boxes.ids, bare.ids)
        assert (boxes.visibility <= bare.visibility).all()
        hidden += int((boxes.visibility < bare.visibility - 0.3).sum())
    assert hidden >= 3


def _without_occluders(scene: Scene) -> Scene:
    bare = Scene(scene.people, scene.size, seed=scene.seed, optics=scene.optics, background=scene._background)
    assert not bare._occluders
    bare._sprites = scene._sprites
    return bare


def test_nearer_people_are_lower_and_larger():
    scene = Scene(30, SMALL, seed=2)
    boxes = scene.ground_truth(100)
    feet = boxes.tlwh[:, 1] + boxes.tlwh[:, 3]
    assert np.corrcoef(feet, boxes.tlwh[:, 3])[0, 1] > 0.85


def test_people_return_with_their_id_and_looks_and_nobody_else_has_either():
    crowd = Crowd(Scene(1, SMALL).camera, people=8, seed=0)
    looks, present, returned = {}, set(), set()
    for seconds in np.arange(0.0, 240.0, 0.5):
        walkers = crowd.at(float(seconds))
        assert len({walker.id for walker in walkers}) == len(walkers)
        now = {walker.id for walker in walkers}
        returned |= (now - present) & set(looks)
        present = now
        for walker in walkers:
            assert looks.setdefault(walker.id, walker.look) == walker.look
    assert returned
    assert len(set(looks.values())) == len(looks) > 30


def test_a_walk_is_continuous_and_includes_stops():
    crowd = Crowd(Scene(1, SMALL).camera, people=12, seed=5)
    rate, stops = 25.0, 0
    previous = {walker.id: walker for walker in crowd.at(0.0)}
    for step in range(1, 500):
        walkers = {walker.id: walker for walker in crowd.at(step / rate)}
        for id_ in walkers.keys() & previous.keys():
            moved = np.hypot(walkers[id_].x - previous[id_].x, walkers[id_].y - previous[id_].y)
            assert moved < 2.0 / rate
            stops += walkers[id_].stride == 0.0
        previous = walkers
    assert stops > 25


def test_a_distant_moment_is_cheap_and_keeps_few_visits():
    crowd = Crowd(Scene(1, SMALL).camera, people=10, seed=0)
    assert crowd.at(4000.0)
    assert len(crowd._recent) <= 30
    fresh = Crowd(Scene(1, SMALL).camera, people=10, seed=0)
    fresh.at(17.0)
    assert [w.id for w in fresh.at(4000.0)] == [w.id for w in crowd.at(4000.0)]


def test_the_sprite_cache_is_bounded_and_does_not_change_the_image(monkeypatch):
    expected = [Scene(5, SMALL, seed=1).render(index) for index in (20, 30)]
    monkeypatch.setattr(fairmot.video.synthetic.scene, "_SPRITE_BYTES", 300_000)
    scene = Scene(5, SMALL, seed=1)
    for index in range(1, 31):
        scene.render(index)
        assert scene._sprite_bytes == sum(sprite.nbytes for sprite in scene._sprites.values()) <= 300_000
    assert np.array_equal(scene.render(30), expected[1])
    assert np.array_equal(scene.render(20), expected[0])


def test_a_written_sequence_reads_back(tmp_path):
    scene = Scene(8, SMALL, frames=4, frame_rate=12.5, seed=6)
    folder = scene.write_sequence(tmp_path / "RENDERED-01")
    with open_source(str(folder)) as source:
        assert (source.size, source.frame_rate, source.frame_count) == (SMALL, 12.5, 4)
        assert source.ground_truth == folder / "gt" / "gt.txt"
        frames = list(source)
    assert [frame.index for frame in frames] == [1, 2, 3, 4]
    assert cv2.PSNR(frames[2].bgr, scene.render(3)) > 30
    rows = np.loadtxt(folder / "gt" / "gt.txt", delimiter=",")
    assert rows.shape[1] == 9
    boxes = scene.ground_truth(2)
    second = rows[rows[:, 0] == 2]
    assert second[:, 1].tolist() == boxes.ids.tolist()
    assert second[:, 2:6] == pytest.approx(boxes.tlwh + np.array([1, 1, 0, 0]))  # MOTChallenge counts from 1
    assert ((second[:, 8] >= 0.15) == second[:, 6]).all()
    assert (second[:, 7] == 1).all()


def test_a_photo_can_be_the_background():
    photo = np.full((100, 100, 3), (10, 20, 200), np.uint8)
    image = Scene(0, SMALL, optics=CLEAR, background=photo).render(5)
    assert image.shape == (270, 480, 3)
    assert np.abs(image.reshape(-1, 3).mean(axis=0) - (10, 20, 200)).max() < 4


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([(256, 144), (130, 260), (320, 320)]))
def test_any_random_scene_is_sound(seed, size):
    scene = Scene.random(seed, size, people=6)
    for index in (1, 333):
        image, boxes = scene.render(index), scene.ground_truth(index)
        assert image.shape == (size[1], size[0], 3)
        assert image.std() > 5
        assert ((boxes.visibility >= 0) & (boxes.visibility <= 1)).all()
        assert (boxes.tlwh[:, 2:] >= 1).all()
        assert (boxes.ids >= 1).all()


@pytest.mark.parametrize(
    "arguments",
    [{"people": -1}, {"frames": 0}, {"frame_rate": 0.0}, {"size": (10, 720)}, {"seed": -1}],
)
def test_senseless_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match="A scene needs"):
        Scene(**arguments)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.floats(-10, 10), st.floats(0.0, 1.2), st.floats(-50, 50), st.sampled_from([0, 0.5, 1]))
def test_a_figure_is_as_tall_as_the_person(seed, heading, elevation, phase, stride):
    look = Appearance.random(seed)
    sprite = draw_figure(look, heading, elevation, phase, stride, 60.0)
    height, width = sprite.pixels.shape[:2]
    expected = 60.0 * look.height * np.cos(elevation)
    # A hat adds to it, and from above so does the depth of the body; a stride lowers the head.
    assert 0.88 * expected - 3 < height < 1.12 * expected + 60.0 * 1.3 * np.sin(elevation) + 6
    assert 8 < width < 60.0 * 1.5
    alpha = sprite.pixels[:, :, 3]
    assert all(edge.max() > 96 for edge in (alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]))
    assert (sprite.pixels[:, :, :3] <= alpha[:, :, None]).all()
