"""Engines built on a GPU: equal to ONNX Runtime, made as asked for, cached, and refused when they do not belong."""

from __future__ import annotations

import ctypes
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from support import tiny_network

from fairmot.cli.main import main
from fairmot.core import ModelError
from fairmot.engine import ModelInfo
from fairmot.engine.onnxruntime import open_session
from fairmot.engine.trt.cache import plan_path
from fairmot.engine.trt.plan import BuildSettings, Plan

pytestmark = pytest.mark.gpu

TOLERANCE = {"fp16": 5e-3, "fp32": 1e-4}
FAST = {"progress": False, "optimization_level": 0}  # TensorRT takes the first kernel that works


def without_cublas() -> bool:
    """Return whether cuBLAS is missing or a stand-in; NVIDIA's plugin and TensorRT call it."""
    try:
        cublas, handle, major = ctypes.CDLL("libcublas.so.12"), ctypes.c_void_p(), ctypes.c_int()
        return bool(cublas.cublasCreate_v2(ctypes.byref(handle)) or cublas.cublasGetProperty(0, ctypes.byref(major)))
    except (OSError, AttributeError):
        return True


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAIRMOT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelInfo:
    return ModelInfo.read(tiny_network.save(tmp_path_factory.mktemp("model") / "tiny.onnx"))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    width, height = tiny_network.SIZE
    return np.random.default_rng(0).random((4, 3, height, width), np.float32)


@pytest.fixture(scope="module")
def wanted(model: ModelInfo, images: np.ndarray) -> dict[str, np.ndarray]:
    found = open_session(model.path, 2).run(model.output_names, {"images": images})
    return dict(zip(model.output_names, found, strict=True))


@pytest.fixture(scope="module")
def plans(model: ModelInfo, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Builds each engine once."""
    from fairmot.engine.trt.builder import build_plan

    built: dict[BuildSettings, Path] = {}

    def plan(**settings: Any) -> Path:
        key = BuildSettings(**settings)
        if key not in built:
            built[key] = build_plan(model, key, tmp_path_factory.mktemp("plan") / "a.plan", **FAST)
        return built[key]

    return plan


def run(path: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    import torch

    from fairmot.engine.cuda.gpu import Gpu
    from fairmot.engine.trt.network import TensorRTNetwork

    gpu = Gpu.open()
    network = TensorRTNetwork(Plan.read(path), gpu)
    network.set_images(torch.from_numpy(images).to(gpu.device))
    network.enqueue(len(images))
    gpu.synchronize()
    heads = network.heads(len(images))
    return {name: value.cpu().numpy() for name, value in vars(heads).items() if value is not None}


def errors(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> dict[str, float]:
    """Error of every output relative to its size; of the heatmap, only where both have a peak."""
    assert found.keys() == wanted.keys()
    result = {}
    for name, value in wanted.items():
        assert found[name].shape == value.shape
        kept = (value > 0) & (found[name] > 0) if name == "heatmap" else np.ones(value.shape, bool)
        assert kept.sum() > 0.9 * (value != 0).sum()
        result[name] = float(np.linalg.norm((found[name] - value)[kept]) / np.linalg.norm(value[kept]))
    return result


@pytest.mark.parametrize(
    ("precision", "dcn"),
    [
        ("fp16", "plugin"),
        ("fp16", "native"),
        ("fp32", "plugin"),
        ("fp32", "native"),
        pytest.param("fp16", "nvidia", marks=pytest.mark.skipif(without_cublas(), reason="there is no cuBLAS 12")),
    ],
)
def test_equal_to_onnxruntime(precision, dcn, plans, images, wanted):
    batches = (1, 4) if (precision, dcn) == ("fp16", "plugin") else (1,)
    path = plans(precision=precision, dcn=dcn, batches=batches)
    found = errors(run(path, images[:1]), {name: value[:1] for name, value in wanted.items()})
    print(precision, dcn, found)
    assert max(found.values()) < TOLERANCE[precision], found


def test_a_batch_equals_its_images_one_by_one(plans, images, wanted):
    path = plans(batches=(1, 4))
    together = run(path, images)
    assert max(errors(together, wanted).values()) < TOLERANCE["fp16"]
    for index in range(4):
        alone = run(path, images[index : index + 1])
        found = errors({name: value[index : index + 1] for name, value in together.items()}, alone)
        assert max(found.values()) < 3e-3, found  # each batch size has its own kernels: up to 2.2e-3 on an H100


def test_an_fp16_engine_is_one(plans):
    plan = Plan.read(plans(batches=(1, 4)))
    convolutions = [layer for layer in plan.layers if layer.is_convolution]
    assert convolutions
    assert all(form.startswith("half") for layer in convolutions for form in layer.inputs[:1])
    fused = [layer for layer in plan.layers if layer.name.startswith(("proj", "node", "up"))]
    fused = [layer for layer in fused if "lugin" in layer.kind]
    assert len(fused) >= 3
    assert all(layer.inputs[0] == "half HWC8" == layer.outputs[0] for layer in fused), fused


def test_an_fp32_engine_is_one(plans):
    plan = Plan.read(plans(precision="fp32", dcn="plugin"))
    assert not any("half" in form for layer in plan.layers for form in (*layer.inputs, *layer.outputs))


def test_inspect_shows_layers_and_times(plans, capsys):
    from fairmot.engine.trt.runtime import load_engine

    path = plans(batches=(1, 4), aux_streams=0)
    assert load_engine(Plan.read(path)).num_aux_streams == 0
    assert main(["inspect", str(path), "--times", "--batch", "4", "--runs", "5"]) == 0
    printed = capsys.readouterr().out
    total = re.search(r"sum of the layers: ([\d.]+) ms", printed)
    assert total
    assert float(total[1]) > 0
    assert re.search(r"^proj.*half HWC8.* \d\.\d+$", printed, re.MULTILINE), printed


def test_times_of_a_plan_with_auxiliary_streams_are_refused(plans, capsys):
    from fairmot.engine.trt.runtime import load_engine

    path = plans(batches=(1, 4))
    streams = load_engine(Plan.read(path)).num_aux_streams
    assert streams <= 3
    if streams == 0:
        pytest.skip("TensorRT runs this network on one stream here")
    assert main(["inspect", str(path)]) == 0
    capsys.readouterr()
    assert main(["inspect", str(path), "--times"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1
    assert captured.err.strip().endswith("build it again with `fairmot build --aux-streams 0`.")


def test_the_command_builds(model, tmp_path, capsys, plans):
    plans(batches=(1, 4))  # its timings help this one
    path = tmp_path / "b.plan"
    options = ["--precision", "fp32", "--dcn", "plugin", "--aux-streams", "1", "-o", str(path)]
    assert main(["build", str(model.path), *options]) == 0
    assert capsys.readouterr().out.strip() == str(path)
    assert Plan.read(path).settings == BuildSettings((96, 64), (1,), "fp32", "plugin", aux_streams=1)


def test_the_cache(model, plans):
    from fairmot.engine.trt.builder import cached_plan

    settings = BuildSettings(batches=(1,), precision="fp32", dcn="native")
    plan = Plan.read(plans(batches=(1,), precision="fp32", dcn="native"))
    place = plan_path(model, plan.model_sha256, settings, plan.host)
    plan.write(place)
    before = place.stat().st_mtime_ns
    assert cached_plan(model, settings, **FAST) == place
    assert place.stat().st_mtime_ns == before
    place.write_bytes(place.read_bytes()[:-10])
    assert cached_plan(model, settings, **FAST) == place
    assert Plan.read(place).settings == plan.settings


def test_plans_that_do_not_belong_here(plans):
    from fairmot.engine.trt.runtime import load_engine

    plan = Plan.read(plans(batches=(1, 4)))
    for change, words in (({"gpu": "NVIDIA X1"}, "built on a NVIDIA X1"), ({"tensorrt": "7.0.0"}, "TensorRT 7.0.0")):
        with pytest.raises(ModelError, match=f"cannot run here: .*{words}.*build it again"):
            load_engine(replace(plan, host=replace(plan.host, **change)))
    with pytest.raises(ModelError, match=r"TensorRT .* refuses the plan"):
        load_engine(replace(plan, engine=plan.engine[: len(plan.engine) // 2]))


def test_an_unknown_operator_is_named(model, tmp_path):
    from fairmot.engine.trt.builder import build_plan

    proto = onnx.load(model.path)
    box = next(node for node in proto.graph.node if "box" in node.output)
    box.output[0] = "plain_box"
    proto.graph.node.append(helper.make_node("Sorcery", ["plain_box"], ["box"], name="trick", domain="magic"))
    proto.opset_import.append(helper.make_opsetid("magic", 1))
    onnx.save(proto, tmp_path / "odd.onnx")
    with pytest.raises(ModelError, match=r'does not know the operator "Sorcery".*export the model without it'):
        build_plan(ModelInfo.read(tmp_path / "odd.onnx"), BuildSettings(), tmp_path / "a.plan", **FAST)
