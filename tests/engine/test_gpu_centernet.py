"""Networks in CenterNet's forms as TensorRT engines, for one and several images."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import centernet_network
from support.centernet_network import KINDS

from fairmot.core import Frame
from fairmot.engine import EngineSettings, open_engine

pytestmark = pytest.mark.gpu

ROUNDING = {"fp16": 1e-2, "fp32": 1e-3}


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
@pytest.mark.parametrize(
    "name", ["one class", "VOC, boxes of a class", "COCO, boxes of a class", "landmarks", "everything", "raw"]
)
def test_finds_squares_of_every_class(name, precision, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRMOT_CACHE", str(tmp_path / "cache"))
    kind = KINDS[name]
    weights = centernet_network.save(tmp_path / "squares.onnx", kind)
    frames = [Frame(index, 0.0, centernet_network.image_of(kind)) for index in range(1, 4)]
    with open_engine(EngineSettings(backend="tensorrt", weights=weights, precision=precision, batch=2)) as opened:
        for _ in range(3):  # with a CUDA graph from the second time on
            for found in (*opened.detect(frames), *opened.detect(frames[:1])):
                centernet_network.check_found(kind, found, ROUNDING[precision])
        on_gpu = opened.detect_on_gpu(frames[:2])
        assert tuple(on_gpu.landmarks.shape[2:]) == (kind.landmarks, 2)
        assert on_gpu.counts.tolist() == [kind.classes] * 2
