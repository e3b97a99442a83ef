"""Pasted people: soft edges, colors of the surroundings, one person in several poses."""

import cv2
import numpy as np
import pytest

from fairmot.training.augment_settings import CrowdSettings
from fairmot.training.compose import compose
from fairmot.training.samples import Kind
from fairmot.training.sprites import Cutout, matched, posed, softened

PLAIN = np.full((450, 800, 3), 90, np.uint8)
VARIED = CrowdSettings((1.0, 2.0), 0.6, 0.1, 0.08, 0.3)


def figure(identity: int, height: int = 160) -> Cutout:
    """A body with a head, of random texture."""
    generator = np.random.default_rng(identity)
    image = np.dstack((generator.integers(0, 255, (height, 60, 3), np.uint8), np.zeros((height, 60), np.uint8)))
    alpha = np.zeros((height, 60), np.uint8)
    cv2.circle(alpha, (30, 15), 15, 255, -1)
    alpha[28:, 8:52] = 255
    image[..., 3] = alpha
    return Cutout(image, identity)


def test_border_fades_inwards_only():
    alpha = np.zeros((20, 20), np.uint8)
    alpha[5:, 5:15] = 255
    soft = softened(alpha, 2.0)
    assert np.array_equal(soft > 0, alpha > 0)
    assert np.allclose(soft[12, 5:10], [63, 191, 255, 255, 255], atol=1)
    assert soft[19, 10] < 100  # the image's own edge is a border too
    assert np.array_equal(softened(alpha, 0.0), alpha)


def test_soft_edges_change_no_label():
    hard = compose(PLAIN, [figure(1)], 3, CrowdSettings())
    soft = compose(PLAIN, [figure(1)], 3, CrowdSettings(soft_edge=(1.5, 1.5)))
    assert len(hard.tlbr)
    assert np.array_equal(hard.tlbr[0], soft.tlbr[0])  # the farthest: later ones are drawn otherwise
    assert not np.array_equal(hard.image, soft.image)


@pytest.mark.parametrize("amount", [0.0, 0.5, 1.0])
def test_colors_move_toward_the_surroundings(amount):
    person = figure(2).image
    person[..., :3] = person[..., :3] // 4 + 20
    surroundings = np.random.default_rng(0).normal((150, 120, 100), 20, (80, 80, 3)).astype(np.float32)
    opaque = person[..., 3] > 127
    before = person[opaque][:, :3].mean(0)
    after = matched(person, surroundings, amount)[opaque][:, :3].mean(0)
    assert np.allclose(after, before + amount * (surroundings.mean((0, 1)) - before), atol=12)
    assert np.array_equal(matched(person, surroundings, amount)[..., 3], person[..., 3])


def test_poses_are_trimmed():
    generator = np.random.default_rng(4)
    shapes = set()
    for _ in range(10):
        image = posed(figure(1).image, VARIED, generator)
        opaque = image[..., 3] > 127
        assert opaque[0].any()
        assert opaque[-1].any()
        assert opaque[:, 0].any()
        assert opaque[:, -1].any()
        shapes.add(image.shape)
    assert len(shapes) > 5


def test_one_person_is_seen_in_several_poses():
    people = [figure(identity) for identity in range(12)]
    crowds = [compose(PLAIN, people, seed, VARIED) for seed in range(8)]
    assert {crowd.space for crowd in crowds} == {"cutouts"}
    for person in people:
        crops, images = [], set()
        for number, crowd in enumerate(crowds):
            mine = (crowd.identities == person.identity) & (crowd.kinds == Kind.PERSON)
            for left, top, right, bottom in crowd.tlbr[mine].clip(0).astype(int).tolist():
                crops.append(crowd.image[top:bottom, left:right])
                images.add(number)
        assert len(images) >= 3
        assert len({crop.shape for crop in crops}) >= 3  # scale and pose differ
        small = [cv2.resize(crop, (16, 32), interpolation=cv2.INTER_AREA).astype(float) for crop in crops]
        assert min(np.abs(small[0] - other).mean() for other in small[1:]) > 3  # so do colors
