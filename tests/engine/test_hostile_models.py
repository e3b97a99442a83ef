"""ONNX files that are damaged or made to harm: one line each, in bounded time and memory."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support import blob_network

from fairmot.core import ConfigError, ModelError
from fairmot.engine import EngineSettings, ModelInfo, open_engine

ROOT = Path(__file__).resolve().parents[2]


def refused(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        open_engine(EngineSettings(weights=path, backend="onnxruntime", threads=1))
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 700 + 3 * len(str(path))
    return message


@pytest.mark.parametrize("dims", [[2**62], [2**40, 2**40], [2**62, 4]])
def test_a_shape_beyond_memory_is_refused_without_a_word_from_the_runtime(
    tmp_path: Path, dims: list[int], capfd: pytest.CaptureFixture[str]
) -> None:
    model = blob_network.build()
    tensor = next(each for each in model.graph.initializer if each.name == "channels")
    tensor.dims[:] = dims
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    refused(tmp_path / "m.onnx")
    assert capfd.readouterr() == ("", "")


def spoiled(name: str, value: float, kind: np.dtype | type | None = None, count: int = 1) -> onnx.ModelProto:
    model = blob_network.build()
    for tensor in model.graph.initializer:
        if tensor.name == name:
            values = numpy_helper.to_array(tensor).copy()
            values = values.astype(kind) if kind is not None else values
            values.reshape(-1)[:count] = value
            tensor.CopyFrom(numpy_helper.from_array(values, name))
    return model


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("name", "count", "size"),
    [("bias", 1, 1), ("embed", 3, 24), ("colors_weight_half", 2, 81), ("box_bias", 4, 4), ("zero", 1, 1)],
)
def test_weights_that_are_not_finite_are_named(tmp_path: Path, name: str, count: int, size: int, value: float) -> None:
    path = blob_network.save(tmp_path / "m.onnx", spoiled(name, value, count=count))
    assert f'{count} of the {size} weights in "{name}" are not finite' in refused(path)
    with pytest.raises(ModelError, match=f'"{name}"'):
        ModelInfo.read(path)  # so no plan is built of it either


def test_weights_of_a_constant_node(tmp_path: Path) -> None:
    model = blob_network.build()
    (bias,) = [tensor for tensor in model.graph.initializer if tensor.name == "bias"]
    model.graph.initializer.remove(bias)
    value = numpy_helper.from_array(np.float32([np.nan]), "inner")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["bias"], value=value))
    assert '1 of the 1 weights in "inner"' in refused(blob_network.save(tmp_path / "m.onnx", model))


def test_an_attribute_that_is_no_number(tmp_path: Path) -> None:
    model = blob_network.build()
    node = next(node for node in model.graph.node if node.op_type == "Sigmoid")
    node.op_type = "Elu"
    node.attribute.append(helper.make_attribute("alpha", float("nan")))
    assert 'attribute "alpha" of the node "scores"' in refused(blob_network.save(tmp_path / "m.onnx", model))


def test_outputs_that_are_not_finite_are_named(tmp_path: Path) -> None:
    """Finite weights do not make finite outputs."""
    model = blob_network.build()
    node = next(node for node in model.graph.node if "box" in node.output)
    node.output[0] = "inner"
    model.graph.node.append(helper.make_node("Log", ["negative"], ["box"]))
    model.graph.node.insert(len(model.graph.node) - 1, helper.make_node("Neg", ["inner"], ["negative"]))
    assert 'the output "box" is not finite' in refused(blob_network.save(tmp_path / "m.onnx", model))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("stride", "1e9"),
        ("stride", "1000000000"),
        ("stride", "-4"),
        ("stride", "nan"),
        ("stride", "1e400"),
        ("size", "1000000000x1000000000"),
        ("size", "32000x32000"),
        ("size", "x".join(["32"] * 100_000)),
        ("size_multiple", "1073741824"),
        ("border", "-1"),
        ("border", "1e300"),
        ("mean", "1e300,0,0"),
        ("mean", "inf,0,0"),
        ("std", "1e39,1,1"),
        ("std", ",".join("1" * 1_000_000)),
        ("architecture", "a\x1b[31mb"),
        ("architecture", "a" * 10_000),
        ("class_names", json.dumps(["person"] * 1_000_000)),
        ("class_names", json.dumps(["p" * 100_000])),
        ("class_names", json.dumps(["a\nb"])),
        ("class_names", json.dumps(["\x1b]0;title\x07"])),
        ("class_names", '["\\ud800"]'),
        ("class_names", json.dumps({"a": 1})),
        ("class_names", json.dumps([1])),
        ("class_names", "[" * 200_000),
        ("class_names", "9" * 100_000),
        ("raw_heads", "\x1b[2J"),
        ("format", "1" * 100_000),
        ("format", "\x07"),
    ],
)
def test_absurd_metadata_is_one_line(tmp_path: Path, key: str, value: str) -> None:
    model = blob_network.build(blob_network.metadata(**{key: value}))
    message = refused(blob_network.save(tmp_path / "m.onnx", model))
    assert key in message


@pytest.mark.parametrize("size", [(16416, 32), (32, 10**9), (2**40, 2**40)])
def test_sizes_that_no_machine_has_memory_for(size: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="too large: give --size with at most 16384 pixels a side"):
        open_engine(EngineSettings(size=tuple(32 * (side // 32) for side in size), backend="onnxruntime"))


def test_an_embedding_that_claims_memory(tmp_path: Path) -> None:
    model = blob_network.build()
    model.graph.output[3].type.tensor_type.shape.dim[1].dim_value = 10**12
    assert "number of channels, 1 to 4096" in refused(blob_network.save(tmp_path / "m.onnx", model))


def test_many_outputs_are_not_all_listed(tmp_path: Path) -> None:
    model = blob_network.build(without=["heatmap"])
    for number in range(1000):
        model.graph.output.append(helper.make_tensor_value_info(f"\x1b{number}", TensorProto.FLOAT, ["n"]))
    assert "and 995 more" in refused(blob_network.save(tmp_path / "m.onnx", model))


def external(location: str, offset: object = None, length: object = None, *, inside: bool = False) -> onnx.ModelProto:
    """A model one of whose weights lies in a file; `inside` that of a node's attribute."""
    model = blob_network.build()
    (tensor,) = [each for each in model.graph.initializer if each.name == "embed"]
    entries = {"location": location, "offset": offset, "length": len(tensor.raw_data) if length is None else length}
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        if value is not None:
            tensor.external_data.add(key=key, value=str(value))
    if inside:
        model.graph.node.insert(0, helper.make_node("Constant", [], ["embed"], value=tensor))
        model.graph.initializer.remove(tensor)
    return model


@pytest.mark.parametrize("inside", [False, True], ids=["initializer", "attribute"])
@pytest.mark.parametrize(
    ("location", "offset", "length"),
    [
        ("../secret", None, None),
        ("sub/../../secret", None, None),
        ("/etc/passwd", None, None),
        ("ABSOLUTE", None, None),
        ("link", None, None),
        ("linked/secret", None, None),
        ("", None, None),
        (".", None, None),
        ("absent", None, None),
        ("beside", 0, 10**15),
        ("beside", 10**18, None),
        ("beside", -1, None),
        ("beside", 0, -5),
        ("beside", "x", None),
        ("\x1b[31m", None, None),
        ("a\nb", None, None),
    ],
)
def test_weights_are_read_from_the_folder_of_the_model_alone(
    tmp_path: Path, location: str, offset: object, length: object, inside: bool
) -> None:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    for path in (tmp_path / "secret", folder / "beside"):
        path.write_bytes(bytes(1000))
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "linked").symlink_to(tmp_path)
    location = str(tmp_path / "secret") if location == "ABSOLUTE" else location
    path = folder / "m.onnx"
    path.write_bytes(external(location, offset, length, inside=inside).SerializeToString())
    assert "files beside" in refused(path)
    good = folder / "good.onnx"
    good.write_bytes(external("beside", inside=inside).SerializeToString())
    ModelInfo.read(good)


@pytest.mark.parametrize("dims", [[10**12], [2**40, 2**40], [-5, 5], [0], [8, 3, 1, 2], []])
def test_weights_of_other_sizes_than_their_bytes(tmp_path: Path, dims: list[int]) -> None:
    model = blob_network.build()
    (tensor,) = [each for each in model.graph.initializer if each.name == "embed"]
    del tensor.dims[:]
    tensor.dims.extend(dims)
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    assert '"embed" do not fit their shape' in refused(path)


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    content = blob_network.build().SerializeToString()
    for word in (b"heatmap", b"fairmot.format", b"AveragePool", b"embed", b"images"):
        path = tmp_path / "m.onnx"
        path.write_bytes(content.replace(word, b"\xff" + word[1:]))
        assert "truncated or damaged" in refused(path)


def test_deep_graphs(tmp_path: Path) -> None:
    """Graphs within nodes within graphs, deeper than protobuf reads."""

    def wrapped(field: int, content: bytes) -> bytes:
        length, size = len(content), b""
        while length > 127:
            size, length = size + bytes([length & 127 | 128]), length >> 7
        return bytes([field << 3 | 2]) + size + bytes([length]) + content

    graph = b""
    for _ in range(1000):
        graph = wrapped(1, wrapped(5, wrapped(6, graph)))  # GraphProto.node, NodeProto.attribute, AttributeProto.g
    path = tmp_path / "m.onnx"
    path.write_bytes(b"\x08\x09" + wrapped(7, graph))
    assert "truncated or damaged" in refused(path)


MUTANTS = """
import random, sys, resource
sys.path[:0] = sys.argv[1:3]
import numpy as np
from fairmot.core import Frame, UserError
from fairmot.engine import open_engine, EngineSettings
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
for path in sys.argv[3:]:
    try:
        with open_engine(EngineSettings("onnxruntime", path, threads=1)) as opened:
            opened.detect([Frame(1, 0.0, np.zeros((64, 96, 3), np.uint8))])
    except UserError as error:
        assert "\\n" not in str(error), error
print("survived")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
@pytest.mark.parametrize("seed", range(3))
def test_mutants_end_in_one_line(tmp_path: Path, seed: int) -> None:
    """Flipped, cut and dropped bytes: no traceback, no signal, no hang."""
    content, rng = blob_network.build().SerializeToString(), random.Random(seed)
    paths = []
    for number in range(40):
        data = bytearray(content)
        for _ in range(rng.choice([1, 1, 4, 16])):
            data[rng.randrange(len(data))] = rng.choice([0, 127, 255, rng.randrange(256)])
        place = rng.randrange(len(data))
        if number % 4 == 1:
            del data[place:]
        elif number % 4 == 2:
            del data[place : place + rng.randrange(64)]
        paths.append(tmp_path / f"{number}.onnx")
        paths[-1].write_bytes(data)
    command = [sys.executable, "-c", MUTANTS, ROOT, ROOT / "tests", *paths]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == "survived\n"
