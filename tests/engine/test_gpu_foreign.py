"""Engines of ONNX files that were made elsewhere, with `DCNv2` nodes: built, and run as TensorRT engines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import foreign_network

from fairmot.cli.main import main
from fairmot.core import ModelError
from fairmot.engine.model import read_for_build
from fairmot.engine.trt.plan import BuildSettings, Plan

pytestmark = pytest.mark.gpu

SIZE = foreign_network.SIZE
TOLERANCE = {"fp16": 5e-3, "fp32": 1e-4}


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One plan in half precision for 1 or 2 images from a file of open size, one in single precision of a fixed one."""
    from fairmot.engine.trt.builder import build_plan

    folder = tmp_path_factory.mktemp("foreign")
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAIRMOT_CACHE", str(folder / "cache"))
        for precision, fixed, size, batches in (("fp16", None, SIZE, (1, 2)), ("fp32", SIZE, None, (1,))):
            path = foreign_network.save(folder / f"{precision}.onnx", fixed)
            settings = BuildSettings(size, batches, precision, aux_streams=0)  # so that its layers can be timed
            model = read_for_build(path, size, batches)
            output = folder / f"{precision}.plan"
            found[precision] = build_plan(model, settings, output, progress=False, optimization_level=0)
        yield found


def run(path: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    """Run the engine by TensorRT's own names alone."""
    import tensorrt as trt
    import torch

    from fairmot.engine.cuda.gpu import Gpu
    from fairmot.engine.trt.runtime import load_engine

    gpu, plan = Gpu.open(), Plan.read(path)
    engine = load_engine(plan)
    context = engine.create_execution_context()
    if len(plan.settings.batches) > 1:
        context.set_optimization_profile_async(plan.settings.batches.index(len(images)), gpu.handle)
        context.set_input_shape("input.1", images.shape)
    buffers = {}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        assert engine.get_tensor_dtype(name) == trt.float32
        assert engine.get_tensor_format(name) == trt.TensorFormat.LINEAR
        buffers[name] = torch.zeros(tuple(context.get_tensor_shape(name)), device=gpu.device)
        context.set_tensor_address(name, buffers[name].data_ptr())
    buffers["input.1"].copy_(torch.from_numpy(images))
    torch.cuda.synchronize()
    assert context.execute_async_v3(gpu.handle)
    gpu.synchronize()
    return {name: buffer.cpu().numpy() for name, buffer in buffers.items() if name != "input.1"}


def wanted(images: np.ndarray) -> dict[str, np.ndarray]:
    """The answer of ONNX Runtime, the DCNv2 nodes in native layers."""
    import onnxruntime

    from fairmot.engine.graph.prepare import prepare

    model = prepare(foreign_network.build(), SIZE, (len(images),), "fp32", "native")
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"input.1": images}), strict=True))


@pytest.mark.parametrize(("precision", "batch"), [("fp16", 1), ("fp16", 2), ("fp32", 1)])
def test_equal_to_onnxruntime(precision: str, batch: int, plans: dict[str, Path]) -> None:
    images = np.random.default_rng(0).random((batch, 3, SIZE[1], SIZE[0]), np.float32)
    found = run(plans[precision], images)
    expected = wanted(images)
    assert found.keys() == expected.keys() == {"hm", "wh", "reg"}
    for name, value in expected.items():
        assert found[name].shape == value.shape
        assert np.linalg.norm(found[name] - value) < TOLERANCE[precision] * np.linalg.norm(value), name


def test_inspect(plans: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(plans["fp16"]), "--times", "--batch", "2", "--runs", "3"]) == 0
    printed = capsys.readouterr().out
    assert "fp16.onnx (made elsewhere)" in printed
    assert "first" in printed


def test_it_cannot_track(plans: dict[str, Path]) -> None:
    from fairmot.engine.cuda.gpu import Gpu
    from fairmot.engine.trt.network import TensorRTNetwork

    with pytest.raises(ModelError, match=r"fp32\.onnx carries no FairMOT metadata, so its engine cannot track"):
        TensorRTNetwork(Plan.read(plans["fp32"]), Gpu.open())
