"""Engines of ONNX files that were made elsewhere, with `DCNv2` nodes: built by the command, run as TensorRT engines."""

from __future__ import annotations

from pathlib import Path

import foreign_network
import numpy as np
import pytest

from core import ModelError
from engine.__main__ import main
from engine.plan import Plan, load_engine

pytestmark = pytest.mark.gpu

SIZE = foreign_network.SIZE
TOLERANCE = {"fp16": 5e-3, "fp32": 1e-4}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRMOT_CACHE", str(tmp_path_factory.getbasetemp() / "foreign_cache"))


def run(path: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    """Run the engine by TensorRT's own names alone."""
    import tensorrt as trt
    import torch

    from plugins.gpu import Gpu

    gpu = Gpu.open()
    engine = load_engine(Plan.read(path))
    context = engine.create_execution_context()
    buffers = {}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        assert engine.get_tensor_dtype(name) == trt.float32
        assert engine.get_tensor_format(name) == trt.TensorFormat.LINEAR
        buffers[name] = torch.zeros(tuple(engine.get_tensor_shape(name)), device=gpu.device)
        context.set_tensor_address(name, buffers[name].data_ptr())
    buffers["input.1"].copy_(torch.from_numpy(images))
    torch.cuda.synchronize()
    assert context.execute_async_v3(gpu.handle)
    gpu.synchronize()
    return {name: buffer.cpu().numpy() for name, buffer in buffers.items() if name != "input.1"}


def wanted(images: np.ndarray) -> dict[str, np.ndarray]:
    """The answer of ONNX Runtime, the DCNv2 nodes in native layers."""
    import onnxruntime

    from engine.trt_graph import prepare

    model = prepare(foreign_network.build(), SIZE, (1,), "fp32", "native")
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"input.1": images}), strict=True))


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_an_engine_of_a_file_made_elsewhere(precision: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, path = foreign_network.save(tmp_path / "old.onnx", SIZE), tmp_path / "a.plan"
    assert main(["build", str(model), "--precision", precision, "-o", str(path)]) == 0
    images = np.random.default_rng(0).random((1, 3, SIZE[1], SIZE[0]), np.float32)
    found = run(path, images)
    expected = wanted(images)
    assert found.keys() == expected.keys() == {"hm", "wh", "reg"}
    for name, value in expected.items():
        assert np.linalg.norm(found[name] - value) < TOLERANCE[precision] * np.linalg.norm(value), name
    assert main(["inspect", str(path), "--times", "--runs", "3"]) == 0
    assert "old.onnx (made elsewhere)" in capsys.readouterr().out


def test_it_cannot_track(tmp_path: Path) -> None:
    from engine.trt_network import TensorRTNetwork
    from plugins.gpu import Gpu

    model, path = foreign_network.save(tmp_path / "old.onnx"), tmp_path / "a.plan"
    size = f"{SIZE[0]}x{SIZE[1]}"
    assert main(["build", str(model), "--size", size, "--batch", "1,2", "-o", str(path)]) == 0
    with pytest.raises(ModelError, match=r"old\.onnx carries no FairMOT metadata, so its engine cannot track"):
        TensorRTNetwork(Plan.read(path), Gpu.open())
