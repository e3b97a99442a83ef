"""Files of other exporters, adopted, built in half precision and run as TensorRT engines: boxes against NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.old_models import LAYOUTS, OPERATORS, SIZE, OldModel, assert_detections_near, read_detections

from fairmot.export.foreign.adopt import Choices, adopt

pytestmark = pytest.mark.gpu

MODELS = [
    *(OldModel(operator=operator, layout="concat") for operator in OPERATORS if operator != "DeformConv"),
    OldModel(operator="DeformConv"),
    *(OldModel(layout=layout) for layout in LAYOUTS if layout != "concat"),
    OldModel(layout="logits", wh=6, has_reg=False),
]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAIRMOT_CACHE", str(tmp_path_factory.mktemp("adopted") / "cache"))
        yield


def run(path: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    """Build an engine with the ends of the file as they are, in float32 by TensorRT's own names, and run it."""
    import torch

    from fairmot.engine.cuda.gpu import Gpu
    from fairmot.engine.model import ModelFile
    from fairmot.engine.trt.builder import build_plan
    from fairmot.engine.trt.plan import BuildSettings, Plan
    from fairmot.engine.trt.runtime import load_engine

    settings = BuildSettings(SIZE, (len(images),), "fp16")
    output = path.with_suffix(".plan")
    plan = build_plan(ModelFile(path, SIZE), settings, output, progress=False, optimization_level=0)
    gpu = Gpu.open()
    engine = load_engine(Plan.read(plan))
    context = engine.create_execution_context()
    buffers = {}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        buffers[name] = torch.zeros(tuple(context.get_tensor_shape(name)), device=gpu.device)
        context.set_tensor_address(name, buffers[name].data_ptr())
    buffers["images"].copy_(torch.from_numpy(images))
    torch.cuda.synchronize()
    assert context.execute_async_v3(gpu.handle)
    gpu.synchronize()
    return {name: buffer.cpu().numpy() for name, buffer in buffers.items() if name != "images"}


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_boxes_are_those_of_numpy(model: OldModel, tmp_path: Path) -> None:
    assert adopt(model.save(tmp_path / "old.onnx"), tmp_path / "new.onnx", Choices())
    images = model.images(1)
    found = read_detections(run(tmp_path / "new.onnx", images), 0.0)
    assert_detections_near(found, model.detections(images, 0.5))


@pytest.mark.parametrize("operator", ["DCNv2", "Plugin", "DeformableConv2D"])
def test_files_that_were_not_adopted_build_too(operator: str, tmp_path: Path) -> None:
    model = OldModel(operator=operator)
    path = model.save(tmp_path / "old.onnx")
    images = model.images(1)
    found = run(path, images)
    for name, wanted in model.heads(images).items():
        assert np.linalg.norm(found[name] - wanted) < 0.02 * np.linalg.norm(wanted), name
