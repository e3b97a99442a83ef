"""Training: labels, the store, geometry, targets, losses, composed crowds, schedule."""

import cv2
import numpy as np
import pytest
import torch
from trainee import SIZE, blob_store, blobs

from fairmot.core.errors import ConfigError, SourceError
from fairmot.training.augment import Augmenter, Batch, _inverse
from fairmot.training.augment_settings import AugmentSettings, CrowdSettings
from fairmot.training.compose import compose
from fairmot.training.losses import FairMOTLoss, focal_loss, gaussian_radius, make_targets
from fairmot.training.samples import Kind, fitted, read_image
from fairmot.training.settings import TrainSettings
from fairmot.training.sprites import Cutout
from fairmot.training.store import require_memory
from fairmot.training.trainer import learning_rate


@pytest.fixture(scope="module")
def store():
    return blob_store()


def test_large_samples_are_shrunk_with_their_boxes():
    small = fitted(blobs(0), 64)
    assert small.image.shape == (48, 64, 3)
    assert np.allclose(small.tlbr, blobs(0).tlbr / 2)
    assert fitted(small, 64) is small


def test_unreadable_image(tmp_path):
    (tmp_path / "a.jpg").write_text("text")
    with pytest.raises(SourceError, match="Cannot read"):
        read_image(tmp_path / "a.jpg", 100)


def test_identity_spaces_do_not_share_classes(store):
    assert store.identity_count == 8
    assert store.spaces.tolist() == [[0, 4], [4, 8]]
    assert set(store.identities[-1].tolist()) == {4, 5, 6, 7}


def test_images_fit_into_memory(caplog, monkeypatch):
    caplog.set_level("INFO")
    assert blob_store().pixels.nbytes == 7 * 128 * 128 * 4
    assert "7 images of at most 128 px take 0.00 GiB" in caplog.text
    require_memory(2**30, 2**30)
    with pytest.raises(ConfigError, match=r"take 19\.0 GiB but the GPU has 15\.5 GiB free: lower side .* or crowds"):
        require_memory(19 * 2**30, 31 * 2**29)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (2**18, 2**30))
    with pytest.raises(ConfigError, match="The images take"):
        blob_store().to(torch.device("cuda"))


def test_images_are_drawn_by_weight(store):
    drawn = torch.multinomial(store.weights, 200, True)
    assert int(drawn.max()) < 6


def test_whole_image_is_the_letterboxed_image(store):
    batch = Augmenter(store, (256, 192), AugmentSettings(), 0).whole_batch(torch.tensor([2]))
    expected = cv2.resize(blobs(2).image, (256, 192), interpolation=cv2.INTER_LINEAR)[..., ::-1] / 255
    assert np.abs(batch.images[0].permute(1, 2, 0).numpy() - expected).mean() < 0.02
    assert torch.allclose(batch.tlbr[0, :4], store.tlbr[2] * 2, atol=1e-3)


def test_boxes_follow_the_pixels(store, monkeypatch):
    """Under every geometric change the bright rectangles stay inside their boxes."""
    augmenter = Augmenter(store, SIZE, AugmentSettings(minimum_height=4), 3)
    monkeypatch.setattr("fairmot.training.augment.photometric", lambda images, settings, generator: images)
    batch = augmenter.batch(16, 0)
    checked = 0
    for image, boxes, kinds in zip(batch.images, batch.tlbr, batch.kinds, strict=True):
        bright = image[2] > 0.8
        covered = torch.zeros_like(bright)
        for box, kind in zip(boxes, kinds, strict=True):
            if kind != Kind.NONE:
                left, top, right, bottom = (int(v) for v in (box + torch.tensor([-2, -2, 3, 3])).clamp(min=0))
                covered[top:bottom, left:right] = True
            center = ((box[:2] + box[2:]) / 2).long()
            if kind == Kind.PERSON:
                checked += 1
                assert image[2, center[1], center[0]] > 0.5
        assert not (bright & ~covered).any()
    assert checked > 20


def test_scales_of_people(store):
    """A person of 36 px is drawn from about 14 px to three times its size, also in a mosaic."""
    augmenter = Augmenter(store, SIZE, AugmentSettings(mosaic=1, whole=0), 2)
    augmenter.generator.manual_seed(0)
    sources = torch.zeros(400, 4, dtype=torch.long)
    matrices = augmenter._affine(sources, augmenter._tiles(400, torch.device("cpu")))
    scales = torch.linalg.det(matrices[..., :2]).abs().sqrt()
    assert 0.25 <= float(scales.min()) < 0.45
    assert float(scales.max()) == pytest.approx(3, abs=1e-3)


def test_same_step_same_batch(store):
    augmenter = Augmenter(store, SIZE, AugmentSettings(), 5)
    first = augmenter.batch(4, 7)
    augmenter.batch(4, 8)
    again = augmenter.batch(4, 7)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.tlbr, again.tlbr)


@pytest.mark.parametrize(
    ("shown", "kind"), [(1.0, Kind.PERSON), (0.6, Kind.PERSON), (0.51, Kind.IGNORE), (0, Kind.NONE)]
)
def test_visible_share_of_people_cut_by_the_crop(store, shown, kind):
    """The image is pushed down until only a share of its first person is inside."""
    augmenter = Augmenter(store, SIZE, AugmentSettings(visible=0.55), 0)
    top, bottom = float(store.tlbr[0, 0, 1]), float(store.tlbr[0, 0, 3])
    forward = torch.zeros(1, 4, 2, 3)
    forward[..., 0, 0] = forward[..., 1, 1] = 1
    forward[..., 1, 2] = SIZE[1] - top - shown * (bottom - top)
    corners = torch.zeros(1, 4, 4)
    corners[0, 0, 2:] = torch.tensor(SIZE)
    batch = augmenter._boxes(torch.zeros(1, 3, 96, 128), torch.zeros(1, 4, dtype=torch.long), corners, forward)
    found = batch.kinds[0][batch.tlbr[0, :, 0] == store.tlbr[0, 0, 0]]
    assert found[0] == kind


def batch_of(boxes, kinds, identities=None, classes=None):
    boxes = torch.tensor([boxes], dtype=torch.float32)
    count = boxes.shape[1]
    ids, channels = torch.tensor([identities or [-1] * count]), torch.tensor([classes or [0] * count])
    ranges = torch.tensor([[[0, 3]] * count])
    return Batch(torch.zeros(1, 3, 96, 128), boxes, torch.tensor([kinds]), channels, ids, ranges)


def test_targets_of_one_person():
    targets = make_targets(batch_of([[20, 20, 44, 60]], [Kind.PERSON]))
    assert targets.cells.tolist() == [[0, 10, 8]]
    assert targets.heatmap[0, 0, 10, 8] == 1
    assert (targets.heatmap == 1).sum() == 1
    assert targets.box.tolist() == [[3, 5, 3, 5]]
    assert targets.offset.tolist() == [[0, 0]]
    assert targets.weight.min() == 1


def test_each_class_has_its_heatmap():
    boxes = [[20, 20, 44, 60], [60, 20, 84, 60], [0, 0, 128, 96]]
    targets = make_targets(batch_of(boxes, [Kind.PERSON, Kind.PERSON, Kind.IGNORE], classes=[0, 1, -1]), 2)
    assert targets.heatmap.shape == targets.weight.shape == (1, 2, 24, 32)
    assert (targets.heatmap == 1).nonzero().tolist() == [[0, 0, 10, 8], [0, 1, 10, 18]]
    assert torch.equal(targets.weight, (targets.heatmap == 1).float())  # ignored in both but at the centers
    assert targets.cells.tolist() == [[0, 10, 8], [0, 10, 18]]


def test_a_region_of_one_class_is_ignored_in_that_class_alone():
    boxes = [[20, 20, 44, 60], [60, 20, 84, 60], [0, 0, 128, 96]]
    targets = make_targets(batch_of(boxes, [Kind.PERSON, Kind.PERSON, Kind.IGNORE], classes=[0, 1, 1]), 3)
    assert targets.weight[0, [0, 2]].min() == 1
    assert targets.weight[0, 1].nonzero().tolist() == [[10, 18]]  # what is labeled nevertheless is learned


def test_every_class_is_learned():
    loss = FairMOTLoss(4, torch.tensor([[0, 3]]))
    targets = make_targets(batch_of([[20, 20, 44, 60]], [Kind.PERSON], classes=[1]), 2)
    outputs = {"hm": torch.zeros(1, 2, 24, 32, requires_grad=True), "wh": torch.zeros(1, 4, 24, 32)}
    outputs |= {"reg": torch.zeros(1, 2, 24, 32), "id": torch.zeros(1, 4, 24, 32)}
    loss(outputs, targets)[0].backward()
    assert [float(outputs["hm"].grad[0, channel, 10, 8].sign()) for channel in (0, 1)] == [1, -1]


def test_ignore_regions_have_no_weight_but_centres_do():
    targets = make_targets(batch_of([[20, 20, 44, 60], [0, 0, 64, 96]], [Kind.PERSON, Kind.IGNORE]))
    assert targets.weight[0, 0, 10, 8] == 1
    assert targets.weight[0, 0, 2, 2] == 0
    assert targets.weight[0, 0, 2, 20] == 1
    assert len(targets.cells) == 1


def test_identity_crops_teach_no_detection():
    targets = make_targets(batch_of([[20, 20, 44, 60]], [Kind.IDENTITY], [2]))
    assert targets.heatmap.max() == 0
    assert targets.detect.tolist() == [False]
    assert targets.identities.tolist() == [2]


def test_gaussian_radius_of_the_reference():
    # image.py: gaussian_radius((10, 10)) = 2.733..., min_overlap 0.7.
    assert float(gaussian_radius(torch.tensor([10.0, 10.0]))) == pytest.approx(2.7332, abs=1e-3)


def test_focal_loss_by_hand():
    logits = torch.tensor([[[0.0, 0.0]]])
    target = torch.tensor([[[1.0, 0.5]]])
    # 0.25 ln 2 at the peak, 0.25 * 0.5**4 ln 2 beside it.
    expected = 0.25 * np.log(2) * (1 + 0.5**4)
    assert float(focal_loss(logits, target, torch.ones(1, 1, 2))) == pytest.approx(expected, rel=1e-5)
    assert float(focal_loss(logits, target, torch.tensor([[[1.0, 0.0]]]))) == pytest.approx(0.25 * np.log(2), rel=1e-5)


def test_identity_loss_stays_within_its_space():
    loss = FairMOTLoss(4, torch.tensor([[0, 3], [3, 6]]))
    targets = make_targets(batch_of([[20, 20, 44, 60]], [Kind.PERSON], [1]))
    outputs = {"hm": torch.zeros(1, 1, 24, 32), "wh": torch.zeros(1, 4, 24, 32), "reg": torch.zeros(1, 2, 24, 32)}
    outputs["id"] = torch.randn(1, 4, 24, 32)
    _, parts = loss(outputs, targets)
    parts["identity"].backward()
    gradient = loss.classifier.weight.grad
    assert gradient[:3].abs().sum() > 0
    assert gradient[3:].abs().sum() == 0


def test_composed_crowds_label_what_is_visible():
    person = np.zeros((120, 40, 4), np.uint8)
    person[..., 1:] = 255
    crowd = compose(np.zeros((450, 800, 3), np.uint8), [Cutout(person, 5)], 11, CrowdSettings())
    assert crowd.image.shape == (450, 800, 3)
    assert {Kind(kind) for kind in crowd.kinds} <= {Kind.PERSON, Kind.IGNORE}
    people = crowd.tlbr[crowd.kinds == Kind.PERSON]
    assert len(people)
    heights = people[:, 3] - people[:, 1]
    feet = people[:, 3]
    assert np.corrcoef(heights, feet)[0, 1] > 0.7  # one ground plane
    again = compose(np.zeros((450, 800, 3), np.uint8), [Cutout(person, 5)], 11, CrowdSettings())
    assert np.array_equal(again.image, crowd.image)


def test_schedule():
    settings = TrainSettings(steps=100, warmup=10)
    rates = [learning_rate(step, settings) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == 1
    assert rates[100] == pytest.approx(0.01)
    assert max(rates) == 1


def test_inverse_of_affine_maps():
    matrices = torch.randn(50, 4, 2, 3, dtype=torch.float64)
    points = torch.randn(50, 4, 2, 1, dtype=torch.float64)
    inverse = _inverse(matrices)
    moved = matrices[..., :2] @ points + matrices[..., 2:]
    assert torch.allclose(inverse[..., :2] @ moved + inverse[..., 2:], points, atol=1e-6)
