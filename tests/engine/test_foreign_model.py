"""ONNX files of other exporters: read, rewritten and described without this project's metadata."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import plugin_ops
import pytest
from onnx import TensorProto, helper, numpy_helper
from support import foreign_network, tiny_network
from support.old_models import SIZE as OLD_SIZE
from support.old_models import OldModel, assert_detections_near, read_detections

from fairmot.cli.main import main
from fairmot.core import ConfigError, ModelError
from fairmot.engine import ModelInfo
from fairmot.engine.cuda.gpu import gpu_unavailable_reason
from fairmot.engine.graph.prepare import VERSION, prepare
from fairmot.engine.model import ModelFile, read_for_build
from fairmot.engine.trt.inspect import print_plan
from fairmot.engine.trt.plan import BuildSettings, Host, Plan
from fairmot.export.foreign.adopt import Choices, adopt

SIZE = foreign_network.SIZE
TOLERANCE = {"fp16": 5e-3, "fp32": 2e-5}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return foreign_network.save(tmp_path_factory.mktemp("model") / "old.onnx")


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return foreign_network.save(tmp_path_factory.mktemp("model") / "fixed.onnx", SIZE)


def test_an_open_size_must_be_given(file):
    assert read_for_build(file, (96, 64), (1, 4)) == ModelFile(file, (96, 64))
    with pytest.raises(ConfigError, match=r"old\.onnx does not state the size of its input: give --size WIDTHxHEIGHT"):
        read_for_build(file, None, (1,))


def test_a_fixed_size_is_kept(fixed):
    assert read_for_build(fixed, None, (1,)) == read_for_build(fixed, SIZE, (1,)) == ModelFile(fixed, SIZE)
    with pytest.raises(ConfigError, match="fixed at 48x32, not 96x64: leave --size out"):
        read_for_build(fixed, (96, 64), (1,))
    with pytest.raises(ConfigError, match="fixed at 1 images: give --batch 1"):
        read_for_build(fixed, None, (1, 4))


def test_our_own_files_keep_their_facts(tmp_path):
    path = tiny_network.save(tmp_path / "tiny.onnx")
    assert read_for_build(path, None, (1,)) == ModelInfo.read(path)
    assert read_for_build(None, None, (1,)) == ModelInfo.read()


@pytest.mark.parametrize("wrong", ["type", "channels", "rank", "second"])
def test_other_inputs_are_refused(wrong, tmp_path):
    model = foreign_network.build(SIZE)
    tensor = model.graph.input[0].type.tensor_type
    if wrong == "type":
        tensor.elem_type = TensorProto.UINT8
    elif wrong == "channels":
        tensor.shape.dim[1].dim_param = "c"
    elif wrong == "rank":
        del tensor.shape.dim[0]
    else:
        model.graph.input.append(helper.make_tensor_value_info("scale", TensorProto.FLOAT, [1]))
    onnx.save(model, tmp_path / "odd.onnx")
    with pytest.raises(ModelError, match=r"odd\.onnx should have one input, float32"):
        read_for_build(tmp_path / "odd.onnx", SIZE, (1,))


@pytest.mark.parametrize(
    ("precision", "dcn"),
    [("fp16", "plugin"), ("fp16", "native"), ("fp16", "nvidia"), ("fp32", "plugin"), ("fp32", "native")],
)
def test_the_graph_keeps_its_ends(precision, dcn):
    model = foreign_network.build()
    images = np.random.default_rng(0).random((2, 3, SIZE[1], SIZE[0]), np.float32)
    wanted = _standard(prepare(model, SIZE, (2,), "fp32", "native"), images)
    graph = prepare(model, SIZE, (2,), precision, dcn, half_images=False)
    ends = [(value.name, value.type.tensor_type.elem_type) for value in (*graph.graph.input, *graph.graph.output)]
    assert ends == [(name, TensorProto.FLOAT) for name in ("input.1", "hm", "wh", "reg")]
    found = (_standard if dcn == "native" else plugin_ops.run)(graph, images)
    for name, value in wanted.items():
        assert np.abs(found[name] - value).max() < TOLERANCE[precision] * np.abs(value).max()


def _standard(model: onnx.ModelProto, images: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"input.1": images}), strict=True))


def test_offsets_that_were_split_and_joined_are_fused():
    graph = prepare(foreign_network.build(), SIZE, half_images=False).graph
    found = Counter(node.op_type for node in graph.node)
    assert found == {"Conv": 4, "DeformConvBlock": 2, "Cast": 4, "Sigmoid": 1, "Identity": 2}
    assert [node.name for node in graph.node if node.op_type == "DeformConvBlock"] == ["first", "second"]


def test_offsets_that_were_joined_in_another_order_are_not():
    model = foreign_network.build()
    for node in model.graph.node:
        if node.op_type == "Concat":
            node.input[:] = node.input[::-1]
    found = Counter(node.op_type for node in prepare(model, SIZE, half_images=False).graph.node)
    assert (found["DeformConv"], found["Split"], found["Concat"]) == (2, 2, 2)


def test_a_size_that_does_not_fit_the_network():
    model = foreign_network.build()
    stem = model.graph.node[0]
    weight = np.ones((16, 1, 4, 4), np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weight, "up.weight"))
    nodes = [
        helper.make_node("MaxPool", ["stem_out"], ["small"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node(
            "ConvTranspose", ["small", "up.weight"], ["large"], group=16, kernel_shape=[4, 4], strides=[2, 2],
            pads=[1] * 4,
        ),
        helper.make_node("Add", ["stem_out", "large"], ["merged"]),
    ]  # fmt: skip
    others = list(model.graph.node)[1:]
    for node in others:
        node.input[:] = ["merged" if name == "stem_out" else name for name in node.input]
    del model.graph.node[:]
    model.graph.node.extend([stem, *nodes, *others])
    prepare(model, SIZE)
    with pytest.raises(ModelError, match=r'At 44x28 the maps before the DCNv2 that makes "first_dcn" do not fit'):
        prepare(model, (44, 28))


def test_the_command(file, fixed, capsys):
    assert main(["build", str(file)]) == 2
    assert "give --size WIDTHxHEIGHT" in capsys.readouterr().err
    assert main(["build", str(file), "--size", "0x64"]) == 2
    assert "above 0" in capsys.readouterr().err
    if gpu_unavailable_reason() is not None:  # everything else is in order
        assert main(["build", str(fixed)]) == 2
        assert capsys.readouterr().err.strip() == f"error: {gpu_unavailable_reason()}"


def test_a_plan_without_the_facts_of_a_model(fixed, tmp_path, capsys):
    host = Host("NVIDIA H200", (9, 0), "8.6.0", "abc123")
    settings = BuildSettings(SIZE, (1,))
    plan = Plan(ModelFile(fixed, SIZE), "f" * 64, settings, host, VERSION, (), b"engine")
    plan.write(tmp_path / "a.plan")
    assert Plan.read(tmp_path / "a.plan") == plan
    print_plan(plan)
    assert "model: fixed.onnx (made elsewhere)" in capsys.readouterr().out


@pytest.mark.parametrize(
    "model",
    [
        OldModel(operator="Plugin", layout="concat"),
        OldModel(operator="DeformableConv2D"),
        OldModel(layout="centerface"),
    ],
    ids=str,
)
def test_adopted_files_in_half_precision(model, tmp_path):
    assert adopt(model.save(tmp_path / "old.onnx"), tmp_path / "new.onnx", Choices())
    images = model.images(1)
    graph = prepare(onnx.load(tmp_path / "new.onnx"), OLD_SIZE, half_images=False)
    found = read_detections(plugin_ops.run(graph, images), 0.0)
    assert_detections_near(found, model.detections(images, 0.5))


@pytest.mark.parametrize("operator", ["DCNv2", "DCNv2_2", "Plugin", "DeformableConv2D"])
def test_files_that_were_not_adopted_build_too(operator, tmp_path):
    """The same rewrite, and 1 for absent attributes, the padding included."""
    model = OldModel(operator=operator)
    images = model.images(1)
    found = plugin_ops.run(prepare(model.build(), OLD_SIZE, precision="fp32"), images)
    for name, wanted in model.heads(images).items():
        np.testing.assert_allclose(found[name], wanted, atol=1e-4)
