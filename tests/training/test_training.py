"""Training: labels, targets, losses, augmentation and a run that learns and resumes."""

import json

import cv2
import numpy as np
import pytest
import torch

from core.errors import ConfigError, SourceError
from training.augment import Augmenter, AugmentSettings, Batch
from training.compose import Cutout, compose
from training.losses import FairMOTLoss, focal_loss, gaussian_radius, make_targets
from training.samples import Kind, Sample, read_image, read_labels
from training.store import Store
from training.train import Trainer, TrainSettings, learning_rate, load_samples, main
from training.validate import decode, iou, validate

SIZE = (128, 96)


def blobs(seed, count=4):
    """A picture with bright upright rectangles as people."""
    generator = np.random.default_rng(seed)
    image = generator.integers(0, 60, (96, 128, 3), np.uint8)
    boxes = []
    for identity in range(count):
        left, top = 8 + 30 * identity, int(generator.integers(10, 50))
        image[top : top + 36, left : left + 14] = (255, 40 * identity, 255)
        boxes.append((left, top, left + 14, top + 36))
    return Sample(image, np.array(boxes, "f"), np.ones(count, int), np.arange(count), "blobs", "blobs", f"blobs/{seed}")


@pytest.fixture(scope="module")
def store():
    other = blobs(100)
    other.space = other.group = "other"
    return Store([*(blobs(seed) for seed in range(6)), other], {"blobs": 1.0}, 128)


def test_labels(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("0 7 0.5 0.5 0.2 0.4\n-1 -1 0.25 0.25 0.5 0.5\n\n")
    tlbr, kinds, identities = read_labels(path, 200, 100)
    assert np.allclose(tlbr, [[80, 30, 120, 70], [0, 0, 100, 50]])
    assert kinds.tolist() == [Kind.PERSON, Kind.IGNORE]
    assert identities.tolist() == [7, -1]
    assert len(read_labels(tmp_path / "none.txt", 10, 10)[0]) == 0


def test_unreadable_image(tmp_path):
    (tmp_path / "a.jpg").write_text("text")
    with pytest.raises(SourceError, match="Cannot read"):
        read_image(tmp_path / "a.jpg", 100)


def test_identity_spaces_do_not_share_classes(store):
    assert store.identity_count == 8
    assert store.spaces.tolist() == [[0, 4], [4, 8]]
    assert set(store.identities[-1].tolist()) == {4, 5, 6, 7}


def test_pictures_are_drawn_by_weight(store):
    drawn = torch.multinomial(store.weights, 200, True)
    assert int(drawn.max()) < 6


def test_whole_picture_is_the_letterboxed_picture(store):
    batch = Augmenter(store, (256, 192), AugmentSettings(), 0).whole_batch(torch.tensor([2]))
    expected = cv2.resize(blobs(2).image, (256, 192), interpolation=cv2.INTER_LINEAR)[..., ::-1] / 255
    assert np.abs(batch.images[0].permute(1, 2, 0).numpy() - expected).mean() < 0.02
    assert torch.allclose(batch.tlbr[0, :4], store.tlbr[2] * 2, atol=1e-3)


def test_boxes_follow_the_pixels(store):
    """Under every geometric change the bright rectangles stay inside their boxes."""
    augmenter = Augmenter(store, SIZE, AugmentSettings(minimum_height=4), 3)
    augmenter._photometric = lambda images: images  # type: ignore[method-assign]
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


def test_same_step_same_batch(store):
    augmenter = Augmenter(store, SIZE, AugmentSettings(), 5)
    first = augmenter.batch(4, 7)
    augmenter.batch(4, 8)
    again = augmenter.batch(4, 7)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.tlbr, again.tlbr)


def batch_of(boxes, kinds, identities=None):
    boxes = torch.tensor([boxes], dtype=torch.float32)
    count = boxes.shape[1]
    ids = torch.tensor([identities or [-1] * count])
    return Batch(torch.zeros(1, 3, 96, 128), boxes, torch.tensor([kinds]), ids, torch.tensor([[[0, 3]] * count]))


def test_targets_of_one_person():
    targets = make_targets(batch_of([[20, 20, 44, 60]], [Kind.PERSON]))
    assert targets.cells.tolist() == [[0, 10, 8]]
    assert targets.heatmap[0, 10, 8] == 1
    assert (targets.heatmap == 1).sum() == 1
    assert targets.box.tolist() == [[3, 5, 3, 5]]
    assert targets.offset.tolist() == [[0, 0]]
    assert targets.weight.min() == 1


def test_ignore_regions_have_no_weight_but_centres_do():
    targets = make_targets(batch_of([[20, 20, 44, 60], [0, 0, 64, 96]], [Kind.PERSON, Kind.IGNORE]))
    assert targets.weight[0, 10, 8] == 1
    assert targets.weight[0, 2, 2] == 0
    assert targets.weight[0, 2, 20] == 1
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


def test_iou():
    boxes = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10]])
    assert torch.allclose(iou(boxes, boxes), torch.tensor([[1, 1 / 3], [1 / 3, 1]]))


def test_composed_crowds_label_what_is_visible():
    person = np.zeros((120, 40, 4), np.uint8)
    person[..., 1:] = 255
    crowd = compose(np.zeros((450, 800, 3), np.uint8), [Cutout(person, 5)], 11)
    assert crowd.image.shape == (450, 800, 3)
    assert {Kind(kind) for kind in crowd.kinds} <= {Kind.PERSON, Kind.IGNORE}
    people = crowd.tlbr[crowd.kinds == Kind.PERSON]
    assert len(people)
    heights = people[:, 3] - people[:, 1]
    feet = people[:, 3]
    assert np.corrcoef(heights, feet)[0, 1] > 0.7  # one ground plane
    again = compose(np.zeros((450, 800, 3), np.uint8), [Cutout(person, 5)], 11)
    assert np.array_equal(again.image, crowd.image)


def test_schedule():
    settings = TrainSettings(steps=100, warmup=10)
    rates = [learning_rate(step, settings) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == 1
    assert rates[100] == pytest.approx(0.01)
    assert max(rates) == 1


@pytest.fixture(scope="module")
def make_trainer(store):
    def make(folder, steps):
        torch.manual_seed(0)
        settings = TrainSettings(
            architecture="res_18", size=SIZE, steps=steps, batch=4, warmup=5, learning_rate=1e-3, ema=0.9, workers=1
        )
        from export.networks import HeadSizes, build_network

        network = build_network("res_18", HeadSizes(embedding=8, hidden=16))
        augment = AugmentSettings(mosaic=0, whole=1, rotation=0, stretch=0, minimum_height=4)
        folder.mkdir(exist_ok=True)
        return Trainer(settings, Augmenter(store, SIZE, augment, 1), network, FairMOTLoss(8, store.spaces), folder)

    return make


def test_training_learns_to_detect(make_trainer, tmp_path):
    trainer = make_trainer(tmp_path / "run", 60)
    indices = torch.tensor([0, 6])
    assert validate(trainer.network, trainer.augmenter, indices)["ap"] < 0.05
    trainer.run(lambda network: validate(network, trainer.augmenter, indices), log_every=20)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["heatmap"] < 0.75 * lines[0]["heatmap"]
    assert lines[-1]["ap"] > 0.25
    assert set(torch.load(tmp_path / "run" / "average.pth", weights_only=True)) == {"epoch", "state_dict"}


def test_resumed_run_equals_uninterrupted_run(make_trainer, tmp_path):
    straight = make_trainer(tmp_path / "a", 4)
    for _ in range(4):
        straight.advance()
    first = make_trainer(tmp_path / "b", 4)
    first.advance()
    first.advance()
    first.save()
    second = make_trainer(tmp_path / "c", 4)
    second.resume(tmp_path / "b" / "last.pth")
    assert second.step == 2
    second.advance()
    second.advance()
    for a, b in zip(straight.average.network.parameters(), second.average.network.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_decode_reads_the_peak():
    outputs = {"hm": torch.full((1, 1, 24, 32), -9.0), "wh": torch.ones(1, 4, 24, 32), "reg": torch.zeros(1, 2, 24, 32)}
    outputs["hm"][0, 0, 10, 8] = 3.0
    boxes, scores = decode(outputs, limit=5)
    assert boxes[0, 0].tolist() == [28, 36, 36, 44]
    assert float(scores[0, 0]) == pytest.approx(torch.sigmoid(torch.tensor(3.0)).item())


@pytest.fixture
def own_data(tmp_path):
    """A folder as a user has it: pictures with labels in JDE form, of two scenes."""
    for name in ("images", "labels_with_ids"):
        (tmp_path / "data" / "mine" / name).mkdir(parents=True)
    for index in range(6):
        sample = blobs(index)
        stem = f"camera{index % 2}_frame_{index}"
        cv2.imwrite(str(tmp_path / "data" / "mine" / "images" / f"{stem}.jpg"), sample.image)
        size = np.array([128, 96, 128, 96])
        rows = np.concatenate(
            ((sample.tlbr[:, :2] + sample.tlbr[:, 2:]) / 2, sample.tlbr[:, 2:] - sample.tlbr[:, :2]), 1
        )
        lines = [f"0 {i} " + " ".join(map(str, row)) for i, row in enumerate(rows / size)]
        (tmp_path / "data" / "mine" / "labels_with_ids" / f"{stem}.txt").write_text("\n".join(lines))
    return tmp_path / "data"


def test_own_folder(own_data):
    samples = list(load_samples(own_data, TrainSettings(sets={"mine": 1.0}, workers=1)))
    assert len(samples) == 6
    assert {sample.scene for sample in samples} == {"mine/camera0", "mine/camera1"}
    assert all(len(sample.tlbr) == 4 for sample in samples)


@pytest.mark.parametrize(
    ("sets", "error", "message"),
    [
        ({}, ConfigError, "Name what to train on"),
        ({"none": 1.0}, SourceError, "There are no images in"),
        ({"mine": 0.5, "crowd": 0.5}, ConfigError, "Crowds need pictures without people"),
    ],
)
def test_faulty_sets(own_data, sets, error, message):
    with pytest.raises(error, match=message):
        list(load_samples(own_data, TrainSettings(sets=sets, workers=1)))


def test_command(own_data, tmp_path, monkeypatch):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "settings:\n  architecture: res_18\n  size: [64, 64]\n  steps: 2\n  batch: 2\n  warmup: 1\n  side: 128\n"
        "  workers: 1\n  sets: {mine: 1.0}\n  held_out: [mine/camera1]\n"
    )
    command = ["train", "--config", str(recipe), "--data", str(own_data), "--output", str(tmp_path / "run")]
    monkeypatch.setattr("sys.argv", command)
    assert main() == 0
    line = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1])
    assert line["step"] == 2
    assert "ap" in line
    monkeypatch.setattr("sys.argv", [*command, "--settings.sets", "{}"])
    assert main() == 2
