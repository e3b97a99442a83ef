"""Detection with networks in CenterNet's forms in ONNX Runtime: several classes, boxes of a class, landmarks."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import centernet_network
from support.centernet_network import KINDS, Kind

from fairmot.core import Frame
from fairmot.engine import EngineSettings, ModelInfo, open_engine


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_finds_squares_of_every_class(kind: Kind, tmp_path: Path) -> None:
    weights = centernet_network.save(tmp_path / "squares.onnx", kind)
    model = ModelInfo.read(weights)
    assert (model.class_boxes, model.landmark_count) == (kind.class_boxes, kind.landmarks)
    image = centernet_network.image_of(kind)
    with open_engine(EngineSettings(weights=weights, threads=1)) as opened:
        for found in opened.detect([Frame(1, 0.0, image), Frame(2, 0.0, image)]):
            centernet_network.check_found(kind, found)
