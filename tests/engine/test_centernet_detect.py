"""Detection with networks in CenterNet's forms in ONNX Runtime: several classes, boxes of a class, landmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import blob_network, centernet_network
from support.centernet_network import SIZE, Expected, Kind

from fairmot.core import Frame
from fairmot.engine import EngineSettings, ModelInfo, open_engine

KINDS = {
    "one class": Kind(classes=1),
    "two, with embeddings": Kind(classes=2, embedding=8),
    "VOC, boxes of a class": Kind(classes=20, class_boxes=True, offset=False),
    "COCO": Kind(classes=80),
    "COCO, boxes of a class": Kind(classes=80, class_boxes=True),
    "landmarks": Kind(classes=1, landmarks=5),
    "everything": Kind(classes=3, class_boxes=True, offset=False, embedding=8),
    "raw": Kind(classes=3, class_boxes=True, embedding=8, raw=True),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_finds_squares_of_every_class(kind: Kind, tmp_path: Path) -> None:
    weights = centernet_network.save(tmp_path / "squares.onnx", kind)
    model = ModelInfo.read(weights)
    assert (model.class_boxes, model.landmark_count) == (kind.class_boxes, kind.landmarks)
    places = [(column, row) for row in range(1, 16, 2) for column in range(1, 24, 2)]
    squares = {places[index]: centernet_network.color_of(index) for index in range(kind.classes)}
    image = blob_network.image_of(SIZE, squares)
    with open_engine(EngineSettings(weights=weights, threads=1)) as opened:
        found, _ = opened.detect([Frame(1, 0.0, image), Frame(2, 0.0, image)])
    found = found[np.argsort(found.class_ids)]  # their scores differ by rounding only
    assert found.class_ids.tolist() == list(range(kind.classes))
    expected = [Expected.of(kind, index, *place) for index, place in enumerate(squares)]
    np.testing.assert_allclose(found.scores, [each.score for each in expected], atol=1e-5)
    np.testing.assert_allclose(found.tlbr, [4 * each.tlbr for each in expected], atol=1e-3)
    np.testing.assert_allclose(found.embeddings, [each.embedding for each in expected], atol=1e-4)
    np.testing.assert_allclose(found.landmarks, [4 * each.landmarks for each in expected], atol=1e-3)
    assert found.landmarks.shape == (kind.classes, kind.landmarks, 2)
