"""Validation: decoding, matching, average precision, recall, separation of embeddings."""

import numpy as np
import pytest
import torch
from torch import nn
from trainee import SIZE, blob_store

from fairmot.training.augment import Augmenter
from fairmot.training.augment_settings import AugmentSettings
from fairmot.training.samples import Kind
from fairmot.training.separation import separation
from fairmot.training.validate import _Found, average_precision, decode, iou, match, validate


def test_decode_reads_the_peak():
    outputs = {"hm": torch.full((1, 1, 24, 32), -9.0), "wh": torch.ones(1, 4, 24, 32), "reg": torch.zeros(1, 2, 24, 32)}
    outputs["hm"][0, 0, 10, 8] = 3.0
    boxes, scores, channels = decode(outputs, limit=5)
    assert channels.tolist() == [[0] * 5]
    assert boxes[0, 0].tolist() == [28, 36, 36, 44]
    assert float(scores[0, 0]) == pytest.approx(torch.sigmoid(torch.tensor(3.0)).item())


def test_iou():
    boxes = np.array([[0.0, 0, 10, 10], [5, 0, 15, 10]], "f")
    assert np.allclose(iou(boxes, boxes), [[1, 1 / 3], [1 / 3, 1]])


def test_match_takes_every_person_once():
    people = np.array([[0, 0, 10, 20], [30, 0, 40, 20]], "f")
    ignored = np.array([[60, 0, 90, 40]], "f")
    boxes = np.array([[0, 0, 10, 19], [1, 0, 11, 20], [31, 0, 41, 20], [70, 10, 75, 20], [30, 40, 40, 60]], "f")
    assert match(boxes, people, ignored).tolist() == [0, -1, 1, -2, -1]
    assert match(boxes[:1], people[:0], ignored[:0]).tolist() == [-1]
    assert match(boxes[:0], people, ignored).tolist() == []


def test_average_precision_by_hand():
    # Precision 1, 1/2, 2/3 at the three boxes; two of four people found.
    scores = np.array([0.3, 0.9, 0.5], "f")
    assert average_precision(scores, np.array([True, True, False]), 4) == pytest.approx((1 + 2 / 3) / 4)
    assert average_precision(scores[:0], np.zeros(0, bool), 4) == 0


def test_separation_by_hand():
    # Cosines: same 0.8, different 0 and 0.6; the pairs across the scenes do not count.
    embeddings = np.array([[1, 0], [0.8, 0.6], [0, 1], [1, 0]], "f")
    found = separation(embeddings, np.array([1, 1, 2, 2]), np.array([0, 0, 0, 1]))
    assert found["identity_auc"] == 1
    assert (found["identity_same"], found["identity_different"]) == (1, 2)
    assert found["identity_d_prime"] == pytest.approx((0.8 - 0.3) / np.sqrt(0.09 / 2), rel=1e-5)


def test_separation_without_pairs():
    embeddings = np.eye(3, dtype="f")
    assert separation(embeddings, np.arange(3), np.zeros(3, int)) == {}
    assert separation(embeddings[:0], np.zeros(0, int), np.zeros(0, int)) == {}


def test_separation_of_chance():
    generator = np.random.default_rng(0)
    embeddings = generator.normal(size=(300, 16)).astype("f")
    found = separation(embeddings, generator.integers(0, 20, 300), np.zeros(300, int))
    assert found["identity_auc"] == pytest.approx(0.5, abs=0.03)


class Oracle(nn.Module):
    """Returns the labels as outputs, of a given share of the people, with embeddings that distinguish them or not."""

    def __init__(self, store, people, apart):
        super().__init__()
        self.store, self.people, self.apart = store, people, apart
        self.channels = int(store.classes.max()) + 1

    def forward(self, images):
        count = len(images)
        out = {"hm": torch.full((count, self.channels, 24, 32), -9.0), "id": torch.zeros(count, 8, 24, 32)}
        out |= {"wh": torch.zeros(count, 4, 24, 32), "reg": torch.zeros(count, 2, 24, 32)}
        for i in range(count):
            for k, box in enumerate(self.store.tlbr[i] / 4):
                center, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
                x, y = center.long().tolist()
                out["hm"][i, self.store.classes[i, k], y, x] = 3.0 if k < self.people else -9.0
                out["wh"][i, :, y, x] = torch.cat((half, half))
                out["reg"][i, :, y, x] = center - center.floor()
                out["id"][i, k if self.apart else 0, y, x] = 1.0
        return out


@pytest.mark.parametrize(("people", "apart", "recall", "auc"), [(4, True, 1.0, 1.0), (3, False, 0.75, 0.5)])
def test_validation_against_the_labels(people, apart, recall, auc):
    store = blob_store()
    store.scene_of[:] = 0
    scores = validate(Oracle(store, people, apart), Augmenter(store, SIZE, AugmentSettings(), 0), torch.arange(4))
    assert scores["recall"] == scores["recall_small"] == scores["ap"] == scores["ap_small"] == recall
    assert scores["precision"] == 1
    assert scores["identity_auc"] == auc
    assert (scores["identity_same"], scores["identity_different"]) == (4 * 6, 16 * 15 // 2 - 4 * 6)


def test_small_people_are_scored_apart():
    found = _Found()
    people = np.array([[0, 0, 20, 50], [100, 0, 110, 30]], "f")
    boxes = np.array([[100, 0, 110, 30], [0, 0, 20, 50], [200, 0, 210, 20], [300, 0, 330, 90]], "f")
    found.add(boxes, np.array([0.9, 0.8, 0.7, 0.6], "f"), people, np.zeros((0, 4), "f"))
    found.add(np.zeros((0, 4), "f"), np.zeros(0, "f"), people[1:], np.zeros((0, 4), "f"))
    summary = found.summary(320)
    assert summary["ap"] == pytest.approx(2 / 3)
    assert summary["ap_small"] == summary["recall_small"] == 0.5  # the second image's person was missed


def test_distant_people_are_scored_apart():
    found = _Found()
    people = np.array([[0, 0, 20, 50], [100, 0, 110, 20], [200, 0, 205, 15], [300, 0, 301, 4]], "f")
    found.add(people[[0, 1, 3]], np.array([0.9, 0.8, 0.7], "f"), people, np.zeros((0, 4), "f"))
    summary = found.summary(320)  # 10 to 40 px at 608 lines are 5.3 to 21 px
    assert summary["recall_distant"] == summary["ap_distant"] == 0.5
    assert summary["recall_small"] == pytest.approx(2 / 3)
    assert found.summary(608)["recall_distant"] == 0.5  # still 20 and 15 px
    assert found.summary(1216)["recall_distant"] == 1  # 20 to 80 px: 50 and 20
    near = _Found()
    near.add(people[:1], np.array([0.9], "f"), people[:1], np.zeros((0, 4), "f"))
    assert set(near.summary(320)) == {"precision", "ap", "recall"}


def two_classes():
    """The blobs, the last two of each image of another class."""
    store = blob_store()
    store.classes[:, 2:] = 1
    return store


def test_classes_are_scored_apart():
    store = two_classes()
    augmenter = Augmenter(store, SIZE, AugmentSettings(), 0)
    scores = validate(Oracle(store, 3, True), augmenter, torch.arange(4), ["person", "bag"])
    assert (scores["ap/person"], scores["recall/person"]) == (1, 1)
    assert (scores["ap/bag"], scores["recall/bag"]) == (0.5, 0.5)
    assert scores["ap"] == scores["recall"] == scores["recall_small"] == 0.75
    assert scores["precision"] == 1


def test_a_class_that_is_not_labeled_has_no_false_positives():
    store = two_classes()
    oracle = Oracle(store, 4, True)
    unlabeled = two_classes()
    unlabeled.kinds[:2, 2:] = Kind.IGNORE
    unlabeled.tlbr[:2, 2] = torch.tensor([0.0, 0.0, *SIZE])  # these two images, in the class bag
    augmenter = Augmenter(unlabeled, SIZE, AugmentSettings(), 0)
    scores = validate(oracle, augmenter, torch.arange(4), ["person", "bag"])
    assert (scores["ap/person"], scores["ap/bag"], scores["precision"]) == (1, 1, 1)
    unlabeled.classes[:2, 2:] = 0  # of people instead
    scores = validate(oracle, augmenter, torch.arange(4), ["person", "bag"])
    assert (scores["ap/person"], scores["precision"]) == (1, 0.75)


def test_the_wrong_class_is_no_hit():
    store = two_classes()
    oracle = Oracle(store, 4, True)
    augmenter = Augmenter(two_classes(), SIZE, AugmentSettings(), 0)
    store.classes[:, 0] = 1  # the network's outputs
    scores = validate(oracle, augmenter, torch.arange(4), ["person", "bag"])
    assert (scores["recall/person"], scores["recall/bag"]) == (0.5, 1)
    assert scores["ap/bag"] < 1
    assert scores["precision"] == pytest.approx((1 + 2 / 3) / 2)


def test_a_class_without_objects_has_no_score():
    store = blob_store()
    augmenter = Augmenter(store, SIZE, AugmentSettings(), 0)
    oracle = Oracle(store, 4, True)
    oracle.channels = 2
    scores = validate(oracle, augmenter, torch.arange(4), ["person", "bag"])
    assert scores["ap"] == scores["ap/person"] == 1
    assert "ap/bag" not in scores
