"""`fairmot adopt`: files of every operator and layout, what they find afterwards, and files that are refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.old_models import LAYOUTS, OPERATORS, SIZE, STRIDE, OldModel, read_detections

from fairmot.cli.main import main
from fairmot.core import ModelError
from fairmot.engine import ModelInfo
from fairmot.engine.onnxruntime import open_session

ROOT = Path(__file__).resolve().parents[2]
THRESHOLD = 0.3

MODELS = [
    *(OldModel(operator=operator) for operator in OPERATORS),
    *(OldModel(layout=layout) for layout in LAYOUTS),
    OldModel(operator="Plugin", layout="concat", opset=9, domain="plugins.org"),
    OldModel(operator="DCNv2_2", layout="concat", is_fixed=False, opset=11),
    OldModel(layout="pooled", is_fixed=False),
    OldModel(layout="fairmot", wh=4, classes=1),
    OldModel(layout="logits", wh=6),
    OldModel(layout="logits", wh=4, has_reg=False),
    OldModel(layout="fairmot", wh=6, has_reg=False, is_fixed=False),
]


def adopt(folder: Path, model: OldModel | onnx.ModelProto, *words: str) -> int:
    content = model.build() if isinstance(model, OldModel) else model
    (folder / "old.onnx").write_bytes(content.SerializeToString())
    return main(["adopt", str(folder / "old.onnx"), "-o", str(folder / "new.onnx"), *words])


def assert_found(model: OldModel, path: Path, images: np.ndarray, tolerance: float = 2e-3) -> None:
    info = ModelInfo.read(path)
    session = open_session(path, 1)
    outputs = dict(zip(info.output_names, session.run(info.output_names, {"images": images}), strict=True))
    for found, wanted in zip(read_detections(outputs, THRESHOLD), model.detections(images, THRESHOLD), strict=True):
        assert len(found) == len(wanted) > 3
        for one, other in zip(found, wanted, strict=True):
            assert one[1] == other[1]
            for value, expected in zip(one, other, strict=True):
                np.testing.assert_allclose(value, expected, atol=tolerance)


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_every_operator_and_layout(model: OldModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    size = () if model.is_fixed else ("--size", f"{SIZE[0]}x{SIZE[1]}")
    assert adopt(tmp_path, model, *size) == 0
    printed = capsys.readouterr().out
    assert f"1 {model.operator} to DeformConv" in printed or model.operator == "DeformConv"
    assert printed.count("maximum error") == 3 + (model.layout in ("fairmot", "pooled", "centerface"))
    assert ("reg: absent" in printed) is not model.has_reg
    info = ModelInfo.read(tmp_path / "new.onnx")
    assert (info.size, info.stride, info.size_multiple) == (SIZE, STRIDE, STRIDE)
    assert info.embedding_size == model.channels.get("id", 0)
    assert info.landmark_count == (5 if model.layout == "centerface" else 0)
    assert info.class_boxes is (model.wh == 6)
    assert_found(model, tmp_path / "new.onnx", model.images(1))
    assert_found(model, tmp_path / "new.onnx", model.images(2, (40, 56)))  # any number of images of any size


@pytest.mark.parametrize(
    ("layout", "words", "expected"),
    [
        ("logits", (), ("bgr", (0.408, 0.447, 0.47), 0, "linear", ("class_0", "class_1", "class_2"))),
        ("logits", ("--preprocess", "fairmot"), ("rgb", (0, 0, 0), 128, "area", ("class_0", "class_1", "class_2"))),
        ("logits", ("--preprocess", "fairmot", "--resize", "linear"), ("rgb", (0, 0, 0), 0, "linear", None)),
        ("concat", ("--resize", "linear-centered"), ("bgr", (0.408, 0.447, 0.47), 0, "linear-centered", None)),
        ("fairmot", ("--classes", "a,b,c"), ("rgb", (0, 0, 0), 128, "area", ("a", "b", "c"))),
        ("centerface", (), ("rgb", (0, 0, 0), 0, "linear", ("face",))),
    ],
)
def test_metadata(layout: str, words: tuple[str, ...], expected: tuple[Any, ...], tmp_path: Path) -> None:
    assert adopt(tmp_path, OldModel(layout=layout), *words) == 0
    info = ModelInfo.read(tmp_path / "new.onnx")
    *facts, names = expected
    assert [info.channel_order, info.mean, info.border, info.resize] == facts
    assert names is None or info.class_names == names
    if layout == "centerface":
        assert np.float32(255) / np.float32(255) / np.float32(info.std[0]) == pytest.approx(255)
    assert info.architecture == "old"


def test_class_names_of_coco_by_their_number(tmp_path: Path) -> None:
    assert adopt(tmp_path, OldModel(layout="concat", classes=80)) == 0
    names = ModelInfo.read(tmp_path / "new.onnx").class_names
    assert (len(names), names[0], names[79]) == (80, "person", "toothbrush")


def test_outputs_without_names_are_named_by_the_user(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = OldModel(layout="centerface", names=("537", "538", "539", "540"))
    assert adopt(tmp_path, model) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert 'outputs "537" 1x1x12x16, "538" 1x2x12x16' in error
    assert "pass --outputs hm=...,wh=...,reg=...,id=..." in error
    assert adopt(tmp_path, model, "--outputs", "hm=537,wh=538,reg=539,landmarks=540") == 0
    assert_found(model, tmp_path / "new.onnx", model.images(1))


def test_order_does_not_decide(tmp_path: Path) -> None:
    """reg and wh have the same shape: with their names swapped, the boxes are others."""
    model = OldModel(names=("hm", "wh", "reg"))
    assert adopt(tmp_path, model) == 0
    with pytest.raises(AssertionError):
        assert_found(model, tmp_path / "new.onnx", model.images(1))
    assert adopt(tmp_path, model, "--outputs", "hm=hm,wh=reg,reg=wh") == 0
    assert_found(model, tmp_path / "new.onnx", model.images(1))


def suppressed(form: str) -> onnx.ModelProto:
    """Return a file whose hm is finished by other nodes than the usual ones."""
    model = OldModel(layout="logits").build()
    (last,) = [node for node in model.graph.node if node.output[0] == "hm"]
    model.graph.node.remove(last)
    pool = {"kernel_shape": [3, 3], "pads": [1] * 4, "strides": [1, 1]}

    def add(operator: str, *inputs: str, output: str, **attributes: Any) -> str:
        model.graph.node.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    scores = add("Sigmoid", "hm_raw", output="scores")
    greatest = add("MaxPool", scores, output="greatest", **pool)
    for name, value in (("nought", np.zeros((1, 3, 12, 16), np.float32)), ("one", np.float32(1))):
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    if form == "where":
        add("Where", add("Equal", scores, greatest, output="same"), scores, "nought", output="hm")
    elif form == "times":
        add("Cast", add("Equal", scores, greatest, output="same"), output="keep", to=TensorProto.FLOAT)
        add("Mul", scores, "keep", output="hm")
    elif form == "ceil":
        distance = add("Ceil", add("Sub", greatest, scores, output="below"), output="rounded")
        add("Mul", scores, add("Sub", "one", distance, output="keep"), output="hm")
    else:
        add("Clip", scores, "least", "most", output="hm")
        for name, value in (("least", 1e-4), ("most", 1 - 1e-4)):
            model.graph.initializer.append(numpy_helper.from_array(np.float32(value), name))
    return model


@pytest.mark.parametrize("form", ["where", "times", "ceil", "clip"])
def test_finished_heatmaps_are_not_finished_twice(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert adopt(tmp_path, suppressed(form)) == 0
    assert 'hm: output "hm", 3 channels, by its name; scores behind a sigmoid' in capsys.readouterr().out
    assert_found(OldModel(layout="logits"), tmp_path / "new.onnx", OldModel().images(2))
    graph = onnx.load(tmp_path / "new.onnx").graph
    assert [node.op_type for node in graph.node].count("Sigmoid") == 2  # of the mask and of the scores


def test_half_precision_files(tmp_path: Path) -> None:
    model = OldModel(layout="pooled").build()
    for value in model.graph.input:
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    assert adopt(tmp_path, model) == 0
    assert_found(OldModel(layout="pooled"), tmp_path / "new.onnx", OldModel().images(1), 0.05)


def test_weights_that_are_inputs_or_constant_nodes(tmp_path: Path) -> None:
    model = OldModel(operator="Plugin", layout="concat").build()
    for tensor in list(model.graph.initializer):
        if tensor.name in ("dcn.weight", "flat"):
            model.graph.initializer.remove(tensor)
            model.graph.node.insert(0, helper.make_node("Constant", [], [tensor.name], value=tensor))
        else:
            kind, shape = tensor.data_type, list(tensor.dims)
            model.graph.input.append(helper.make_tensor_value_info(tensor.name, kind, shape))
    assert adopt(tmp_path, model) == 0
    assert_found(OldModel(layout="concat"), tmp_path / "new.onnx", OldModel().images(2))


def changed(model: OldModel, operator: str, **changes: Any) -> onnx.ModelProto:
    """Return a file one of whose nodes has other attributes, or another operator."""
    content = model.build()
    node = next(node for node in content.graph.node if node.op_type == operator)
    node.op_type = changes.pop("op_type", operator)
    kept = [attribute for attribute in node.attribute if attribute.name not in changes]
    del node.attribute[:]
    node.attribute.extend([*kept, *(helper.make_attribute(name, value) for name, value in changes.items())])
    return content


def rewired(output: str, source: str, **changes: Any) -> onnx.ModelProto:
    """Return a file whose output comes from another tensor, or has another name."""
    content = OldModel(**changes).build()
    node = next(node for node in content.graph.node if node.output[0] == output)
    node.input[0] = source
    return content


def reshaped() -> onnx.ModelProto:
    """Return a file that mixes cells by a Reshape of the traced size."""
    content = OldModel().build()
    node = next(node for node in content.graph.node if node.op_type == "Relu")
    node.output[0] = "before"
    shapes = {"halves": [1, 2, 4, 12, 16], "whole": [1, 8, 12, 16]}
    nodes = [
        helper.make_node("Reshape", ["before", "halves"], ["parts"]),
        helper.make_node("Transpose", ["parts"], ["mixed"], perm=[0, 2, 1, 3, 4]),
        helper.make_node("Reshape", ["mixed", "whole"], ["stem_relu"]),
    ]
    content.graph.initializer.extend(numpy_helper.from_array(np.int64(value), name) for name, value in shapes.items())
    rest = list(content.graph.node)
    del content.graph.node[:]
    content.graph.node.extend([*rest[:2], *nodes, *rest[2:]])
    return content


def with_metadata() -> onnx.ModelProto:
    content = OldModel().build()
    helper.set_model_props(content, {"fairmot.format": "1"})
    return content


REFUSED = [
    (lambda: changed(OldModel(), "DCNv2", stride=2), (), "The DCNv2 that makes"),
    (lambda: changed(OldModel(operator="Plugin"), "Plugin", info='{"a": 1}'), (), 'has "a" in its info: pass a JSON'),
    (lambda: changed(OldModel(), "DCNv2", op_type="DCNv3"), (), 'operator "DCNv3"'),
    (
        lambda: changed(OldModel(layout="concat"), "MaxPool", op_type="AveragePool"),
        (),
        "does not concatenate reg, wh, hm",
    ),
    (lambda: OldModel(layout="logits", wh=3).build(), (), "has 3 channels, but wh has 2 (width, height), 4"),
    (lambda: OldModel(names=("a", "b", "c")).build(), (), "pass --outputs hm=...,wh=...,reg=..."),
    (lambda: OldModel(names=("hm", "b", "c")).build(), (), "is not clear from their names: pass --outputs"),
    (lambda: OldModel(names=("hm", "wh", "extra")).build(), (), "is not clear from their names: pass --outputs"),
    (lambda: OldModel().build(), ("--outputs", "hm=hm,wh=what"), 'no output "what", only "hm" 1x3x12x16'),
    (lambda: OldModel().build(), ("--outputs", "hm=reg,wh=hm"), "but wh has 2 (width, height), 4"),
    (lambda: OldModel().build(), ("--outputs", "hm"), "outputs should assign hm, wh, reg, id"),
    (lambda: OldModel().build(), ("--outputs", "hm=hm"), "outputs lacks wh"),
    (lambda: OldModel().build(), ("--outputs", "hm=hm,wh=hm"), 'assigns "wh" or "hm" twice'),
    (lambda: OldModel().build(), ("--classes", "a,b"), "3 classes but --classes names 2"),
    (lambda: OldModel().build(), ("--size", "30x30"), "pass --size in multiples of 4"),
    (lambda: OldModel().build(), ("--size", "0x30"), "size must be above 0"),
    (lambda: rewired("hm", "stem_relu"), (), "passed a sigmoid is not clear from its operator Relu"),
    (with_metadata, (), "carries FairMOT metadata already"),
    (reshaped, (), "works at 1x3x48x64 alone: export it again with dynamic axes for batch, height and width"),
]


@pytest.mark.parametrize(("build", "words", "message"), REFUSED, ids=[case[2] for case in REFUSED])
def test_refused(
    build: Any, words: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert adopt(tmp_path, build(), *words) in (1, 2)
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert len(error) < 600 + 3 * len(str(tmp_path))
    assert not (tmp_path / "new.onnx").exists()


def test_files_that_were_not_adopted_point_to_it(tmp_path: Path) -> None:
    path = OldModel().save(tmp_path / "old.onnx")
    with pytest.raises(ModelError, match=r"rewrite it with `fairmot adopt old\.onnx -o OUT\.onnx`"):
        ModelInfo.read(path)


def hostile(name: str) -> onnx.ModelProto:
    """Return a file that claims, loops or nests."""
    content = OldModel().build()
    graph = content.graph
    if name == "input":
        graph.input[0].type.tensor_type.shape.dim[2].dim_value = 2**40
    elif name == "negative":
        graph.input[0].type.tensor_type.shape.dim[3].dim_value = -5
    elif name in ("fill", "tile", "range", "expand"):
        numbers = {"many": np.int64([2**20, 2**20]), "first": np.int64(0), "last": np.int64(2**40), "step": np.int64(1)}
        graph.initializer.extend(numpy_helper.from_array(value, key) for key, value in numbers.items())
        graph.initializer.append(numpy_helper.from_array(np.ones((2, 2), np.float32), "ones"))
        graph.initializer.append(numpy_helper.from_array(np.ones((1, 1), np.int64), "counts"))
        node = {
            "fill": helper.make_node("ConstantOfShape", ["many"], ["huge"]),
            "tile": helper.make_node("Tile", ["ones", "many"], ["huge"]),
            "range": helper.make_node("Range", ["first", "last", "step"], ["huge"]),
            "expand": helper.make_node("Expand", ["counts", "many"], ["huge"]),
        }[name]
        graph.node.insert(0, node)
        last = next(node for node in graph.node if node.output[0] == "wh")
        graph.node.insert(1, helper.make_node("ReduceMin", ["huge"], ["small"], keepdims=0))
        graph.node.insert(2, helper.make_node("Cast", ["small"], ["number"], to=TensorProto.FLOAT))
        last.op_type = "Mul"
        last.input.append("number")
    elif name == "circle":
        graph.node[0].input[0] = "hm"
    elif name == "branch":
        inner = helper.make_graph([], "inner", [], [])
        graph.node.append(helper.make_node("If", ["hm"], ["more"], then_branch=inner, else_branch=inner))
    elif name == "opset":
        content.opset_import[0].version = 2**40
    elif name == "text":
        graph.node[0].op_type = "\x1b[31m" + "x" * 10_000
    return content


HOSTILE = ("input", "negative", "fill", "tile", "range", "expand", "circle", "branch", "opset", "text")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_end_in_one_line(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert adopt(tmp_path, hostile(name)) in (1, 2)
    error = capfd.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert error.rstrip("\n").isprintable()
    assert len(error) < 800 + 3 * len(str(tmp_path))


MUTANTS = """
import random, resource, sys
sys.path[:0] = sys.argv[1:3]
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
from pathlib import Path
from support.old_models import OldModel
from fairmot.core import UserError
from fairmot.export.foreign.adopt import Choices, adopt
content, rng, path = OldModel(layout="pooled").build().SerializeToString(), random.Random(3), Path(sys.argv[3])
refused = 0
for number in range(60):
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 4, 16])):
        data[rng.randrange(len(data))] = rng.choice([0, 127, 255, rng.randrange(256)])
    path.write_bytes(data)
    try:
        adopt(path, path.with_name("new.onnx"), Choices())
    except UserError as error:
        assert "\\n" not in str(error), error
        refused += 1
print("survived", refused)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_mutants_end_in_one_line(tmp_path: Path) -> None:
    """Flipped bytes: no traceback, no signal, no hang."""
    command = [sys.executable, "-c", MUTANTS, ROOT, ROOT / "tests", tmp_path / "old.onnx"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[-1]) > 10
