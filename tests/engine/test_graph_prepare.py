"""Graphs rewritten for TensorRT compute what the model computes, in forms and types that TensorRT takes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import plugin_ops
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NotImplementedByRuntime
from support import blob_network, centernet_network, tiny_network
from support.centernet_network import Kind

import fairmot.engine.graph.prepare
from benchmarks.plain_graph import with_plain_convolutions
from fairmot.core import ConfigError, ModelError
from fairmot.engine import BUNDLED_WEIGHTS
from fairmot.engine.graph.fusion import pack_weight
from fairmot.engine.graph.graph import Graph
from fairmot.engine.graph.grid_sample import deform_conv_to_grid_sample
from fairmot.engine.graph.prepare import PLUGINS, prepare
from fairmot.engine.graph.shapes import fold, lower_opset
from fairmot.engine.graph.upsample import phase_kernels, upsample_by_phases

ROOT = Path(__file__).resolve().parents[2]
SIZE = (96, 64)
TOLERANCE = {"fp16": 5e-3, "fp32": 2e-5}
MODES = [(precision, dcn) for precision in ("fp16", "fp32") for dcn in ("plugin", "native", "nvidia")]


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    providers = ["CPUExecutionProvider"]
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers)
    except NotImplementedByRuntime:  # older versions have no DeformConv on the CPU
        standard = deform_conv_to_grid_sample(model)
        return onnxruntime.InferenceSession(standard.SerializeToString(), options, providers=providers)


def run_standard(model: onnx.ModelProto, images: np.ndarray) -> dict[str, np.ndarray]:
    """Run a graph of standard operators in ONNX Runtime."""
    names = [output.name for output in model.graph.output]
    return dict(zip(names, session(model).run(names, {"images": plugin_ops.as_input(model, images)}), strict=True))


def run(model: onnx.ModelProto, images: np.ndarray) -> dict[str, np.ndarray]:
    own = any(not onnx.defs.has(node.op_type, max_inclusive_version=17) for node in model.graph.node)
    return (plugin_ops.run if own else run_standard)(model, images)


def errors(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> dict[str, float]:
    """Frobenius error of every output relative to its size; of the heatmap, only where both have a peak."""
    assert found.keys() == wanted.keys()
    result = {}
    for name, value in wanted.items():
        assert found[name].dtype == np.float32
        assert found[name].shape == value.shape
        kept = (value > 0) & (found[name] > 0) if name == "heatmap" else np.ones(value.shape, bool)
        assert kept.sum() > 0.9 * (value != 0).sum()
        result[name] = float(np.linalg.norm((found[name] - value)[kept]) / np.linalg.norm(value[kept]))
    return result


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).random((2, 3, SIZE[1], SIZE[0]), np.float32)


@pytest.fixture(scope="module")
def bundled() -> onnx.ModelProto:
    return onnx.load(BUNDLED_WEIGHTS)


@pytest.fixture(scope="module")
def tiny() -> onnx.ModelProto:
    return tiny_network.build(classes=2)


@pytest.mark.parametrize(("precision", "dcn"), MODES)
def test_the_bundled_model_stays_equal(bundled, images, precision, dcn):
    wanted = run_standard(bundled, images)
    found = errors(run(prepare(bundled, SIZE, (2,), precision, dcn), images), wanted)
    assert max(found.values()) < TOLERANCE[precision], found


@pytest.mark.parametrize(("precision", "dcn"), MODES)
def test_a_lively_network_stays_equal(tiny, images, precision, dcn):
    wanted = run_standard(tiny, images)
    found = errors(run(prepare(tiny, SIZE, (2,), precision, dcn), images), wanted)
    assert max(found.values()) < TOLERANCE[precision], found


def operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def test_every_pattern_of_the_bundled_model_is_found(bundled):
    found = operators(prepare(bundled, SIZE))
    assert found["DeformConvBlock"] == operators(bundled)["DeformConv"] > 0
    assert found["UpsampleAdd"] == 8
    assert found["NormalizeEmbedding"] == 1
    gone = ("DeformConv", "ConvTranspose", "Slice", "Expand", "Shape", "Reshape", "ReduceL2")
    assert not any(found[name] for name in gone), found
    assert found["Sigmoid"] == 1  # of the heatmap
    assert found["Cast"] == 3  # of box, offset and heatmap


def test_what_does_not_fit_the_plugins_stays_standard(tiny):
    model = prepare(tiny, SIZE)
    found = operators(model)
    counts = [found[name] for name in ("DeformConvBlock", "FusedDeformConv", "DeformConv")]
    assert counts == [1, 1, 1]  # offsets from a 1x1 kernel are not for the block, 12 channels for neither
    assert (found["UpsampleAdd"], found["DepthToSpace"]) == (1, 1)  # one is not added to anything
    assert found["ConvTranspose"] == 0
    for node in model.graph.node:
        if node.op_type == "DeformConv":
            assert len(node.input) == 5
            assert all(node.input)
            assert {attribute.name for attribute in node.attribute} == {
                "kernel_shape", "strides", "pads", "dilations", "group", "offset_group",
            }  # fmt: skip


@pytest.mark.parametrize(("precision", "dcn"), MODES)
def test_forms_that_the_parser_of_tensorrt_8_6_takes(bundled, precision, dcn):
    model = prepare(bundled, SIZE, (1,), precision, dcn)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    plugins = {"plugin": PLUGINS, "native": set(), "nvidia": PLUGINS | {"ModulatedDeformConv2d"}}[dcn]
    for node in model.graph.node:
        assert all(node.input), "an absent optional input"
        if node.op_type in plugins:
            continue
        schema = onnx.defs.get_schema(node.op_type, 17)
        assert len(node.input) <= schema.max_input
        assert {attribute.name for attribute in node.attribute} <= set(schema.attributes)
    names = {node.name for node in model.graph.node}
    assert len(names) == len(model.graph.node)
    assert {"network.hm.0", "network.ida_up.proj_1.conv"} <= names


def types(model: onnx.ModelProto) -> dict[str, int]:
    known = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    ends = (*model.graph.input, *model.graph.output)
    known |= {value.name: value.type.tensor_type.elem_type for value in ends}
    return known | {tensor.name: tensor.data_type for tensor in model.graph.initializer}


def test_half_precision_types(bundled):
    model = prepare(bundled, SIZE)
    kinds = types(model)
    half, single = TensorProto.FLOAT16, TensorProto.FLOAT
    assert kinds["images"] == half
    assert all(value.type.tensor_type.elem_type == single for value in model.graph.output)
    floating = ("Sigmoid", "MaxPool", "Equal", "Where")
    tail = [node for node in model.graph.node if node.op_type in floating and kinds[node.input[0]] == single]
    assert sorted(node.op_type for node in tail if node.op_type != "Where") == ["Equal", "MaxPool", "Sigmoid"]
    for node in model.graph.node:
        if node.op_type in ("Conv", "UpsampleAdd"):
            assert {kinds[name] for name in (*node.input, *node.output)} == {half}, node.name
        if node.op_type == "DeformConvBlock":
            assert [kinds[name] for name in node.input] == [half, half, single, half, single]


def test_native_coordinates_are_single_precision(bundled):
    model = prepare(bundled, SIZE, (1,), "fp16", "native")
    kinds = types(model)
    producers = {output: node for node in model.graph.node for output in node.output}
    samplings = [node for node in model.graph.node if node.op_type == "GridSample"]
    assert len(samplings) == operators(bundled)["DeformConv"] > 0
    for node in samplings:
        waiting, seen = [node.input[1]], []
        while waiting:
            name = waiting.pop()
            if name in producers and producers[name].op_type != "Cast":
                assert kinds[name] == TensorProto.FLOAT
                seen.append(producers[name].op_type)
                waiting += producers[name].input
        assert {"Clip", "Add", "Mul", "Concat"} <= set(seen)


def test_several_batches_make_the_batch_dynamic(bundled, images):
    for dcn in ("plugin", "native"):
        model = prepare(bundled, SIZE, (1, 2, 4), "fp32", dcn)
        assert [dim.dim_param or dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim] == [
            "batch", 3, SIZE[1], SIZE[0],
        ]  # fmt: skip
    wanted = run_standard(bundled, images)
    assert max(errors(run_standard(model, images), wanted).values()) < 2e-5
    assert max(errors(run_standard(model, images[:1]), {k: v[:1] for k, v in wanted.items()}).values()) < 2e-5


def test_a_graph_that_computes_with_its_batch_needs_one_engine_per_batch():
    model = blob_network.build()
    nodes = [
        helper.make_node("Shape", ["images"], ["shape"], start=0, end=1),
        helper.make_node("Cast", ["shape"], ["count"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["cells", "count"], ["scaled"]),
    ]
    for node in model.graph.node:
        node.input[:] = ["scaled" if name == "cells" else name for name in node.input]
    model.graph.node.extend(nodes)
    order = sorted(model.graph.node, key=lambda node: node.op_type not in ("AveragePool", "Shape"))
    order.sort(key=lambda node: {"cells": 0, "shape": 1, "count": 2, "scaled": 3}.get(node.output[0], 4))
    del model.graph.node[:]
    model.graph.node.extend(order)
    prepare(model, SIZE, (2,), "fp32")
    with pytest.raises(ModelError, match="one engine per batch"):
        prepare(model, SIZE, (1, 2), "fp32")


def test_the_model_is_left_alone(bundled):
    before = bundled.SerializeToString()
    for precision, dcn in MODES:
        prepare(bundled, SIZE, (1,), precision, dcn)
    assert bundled.SerializeToString() == before


def test_the_graph_is_the_same_in_every_process() -> None:
    """Whatever Python hashes strings to: a plan stands for one graph."""
    code = (
        "import hashlib, onnx, sys\n"
        "from fairmot.engine import BUNDLED_WEIGHTS\n"
        "from fairmot.engine.graph.prepare import prepare\n"
        f"graph = prepare(onnx.load(BUNDLED_WEIGHTS), {SIZE})\n"
        "print(hashlib.sha256(graph.SerializeToString(deterministic=True)).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in range(1, 4)
    }
    assert len(digests) == 1


def test_an_older_dialect_is_read_too(images):
    """A DCNv2 node of an older exporter, opset 11, behind two Slices: fused like any other."""
    random = np.random.default_rng(1)
    weights = {
        "first.weight": random.normal(size=(16, 3, 4, 4)) / 7,
        "predict.weight": random.normal(size=(27, 16, 3, 3)) / 30,
        "predict.bias": random.normal(size=27),
        "dcn.weight": random.normal(size=(8, 16, 3, 3)) / 12,
        "dcn.bias": random.normal(size=8),
    }
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    integers = {"zero": [0], "one": [1], "offsets": [18], "all": [2**31 - 1]}
    tensors += [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in integers.items()]
    nodes = [
        helper.make_node("Conv", ["images", "first.weight"], ["x"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Conv", ["x", "predict.weight", "predict.bias"], ["p"], kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Slice", ["p", "zero", "offsets", "one"], ["offset"]),
        helper.make_node("Slice", ["p", "offsets", "all", "one"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["mask"]),
        helper.make_node(
            "DCNv2", ["x", "offset", "mask", "dcn.weight", "dcn.bias"], ["y"], domain="",
            stride=[1, 1], padding=[1, 1], dilation=[1, 1], groups=1, deformable_group=1,
        ),
        helper.make_node("Relu", ["y"], ["out"]),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "old",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 8, "rows", "columns"])],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=7)
    fused = prepare(model, SIZE, (2,))
    assert operators(fused) == {"Conv": 1, "DeformConvBlock": 1, "Cast": 1}
    wanted = run(prepare(model, SIZE, (2,), "fp32", "native"), images)["out"]
    assert wanted.min() == 0 < wanted.max()
    for mode in (("fp16", "plugin"), ("fp16", "native"), ("fp16", "nvidia"), ("fp32", "plugin")):
        found = run(prepare(model, SIZE, (2,), *mode), images)["out"]
        np.testing.assert_allclose(found, wanted, atol=5e-3 * wanted.max())


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_phases_equal_the_transposed_convolution(factor):
    random = np.random.default_rng(factor)
    weight = random.normal(size=(3, 1, 2 * factor, 2 * factor)).astype(np.float32)
    node = helper.make_node(
        "ConvTranspose", ["images", "w", "b"], ["out"], group=3, kernel_shape=[2 * factor] * 2, strides=[factor] * 2,
        pads=[factor // 2] * 4,
    )  # fmt: skip
    graph = helper.make_graph(
        [node],
        "up",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [2, 3, 5, 7])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [2, 3, 5 * factor, 7 * factor])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(random.random(3).astype(np.float32), "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    rewritten = Graph(model)
    rewritten.infer()
    upsample_by_phases(rewritten)
    rewritten.prune()
    assert operators(rewritten.to_model()) == {"Conv": factor**2, "Concat": 1, "DepthToSpace": 1}
    images = random.normal(size=(2, 3, 5, 7)).astype(np.float32)
    found = run_standard(rewritten.to_model(), images)["out"]
    np.testing.assert_allclose(found, run_standard(model, images)["out"], rtol=1e-5, atol=1e-5)
    assert sum((kernel != 0).sum() for kernel in phase_kernels(weight, factor)) == weight.size


def test_packed_weights():
    weight = np.arange(8 * 16 * 9, dtype=np.float32).reshape(8, 16, 3, 3)
    packed = pack_weight(weight)
    assert packed.shape == (3, 8, 64)  # 144 values of k in 3 stages of 64
    for s, o, j in [(0, 0, 0), (1, 3, 5), (2, 7, 15)]:
        k = 64 * s + j
        assert packed[s, o, j] == weight[o, k % 16, k // 16 // 3, k // 16 % 3]
    assert (packed[2, :, 16:] == 0).all()


def small(
    nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], opset: int = 19, output: str = "out"
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def test_a_weight_beyond_half_precision_is_named():
    weight = np.full((8, 3, 1, 1), 1e5, np.float32)
    model = small([helper.make_node("Conv", ["images", "big.weight"], ["out"])], {"big.weight": weight})
    with pytest.raises(ModelError, match=r'"big.weight" is beyond the range of half precision.*--precision fp32'):
        prepare(model, SIZE)
    prepare(model, SIZE, (1,), "fp32")


def test_what_the_older_opset_lacks_is_named():
    node = helper.make_node("Pad", ["images", "pads", "value", "axes"], ["out"], mode="wrap")
    constants = {"pads": np.int64([1, 1]), "value": np.float32(0), "axes": np.int64([3])}
    graph = Graph(small([node], constants, 19))
    with pytest.raises(ModelError, match=r'Pad "out" uses .* opset 17'):
        lower_opset(graph)


def test_reductions_get_their_axes_as_an_attribute(images):
    nodes = [helper.make_node("ReduceMax", ["images", "axes"], ["out"], keepdims=1)]
    model = small(nodes, {"axes": np.int64([1])})
    wanted = run_standard(model, images)["out"]
    graph = Graph(model)
    fold(graph)
    lower_opset(graph)
    (node,) = graph.nodes
    assert list(node.input) == ["images"]
    np.testing.assert_array_equal(run_standard(graph.to_model(), images)["out"], wanted)


def test_reductions_over_everything_have_no_axes(images):
    model = small([helper.make_node("ReduceMean", ["images", ""], ["out"], keepdims=1)], {}, 19)
    wanted = run_standard(model, images)["out"]
    graph = Graph(model)
    fold(graph)
    lower_opset(graph)
    np.testing.assert_allclose(run_standard(graph.to_model(), images)["out"], wanted, rtol=1e-5)


def test_computed_axes_are_refused():
    nodes = [
        helper.make_node("NonZero", ["images"], ["places"]),
        helper.make_node("ReduceMax", ["images", "places"], ["out"]),
    ]
    graph = Graph(small(nodes, {}, 19))
    with pytest.raises(ModelError, match=r'ReduceMax "out" computes its axes'):
        lower_opset(graph)


@pytest.mark.parametrize(("precision", "dcn"), MODES)
def test_an_unknown_operator_anywhere_inside_is_named(precision, dcn):
    whole = tiny_network.build()
    ends = {output.name for output in whole.graph.output}
    for index, node in enumerate(whole.graph.node):
        if not ends.isdisjoint(node.output):
            continue
        model = onnx.ModelProto()
        model.CopyFrom(whole)
        name = node.output[0]
        for reader in model.graph.node:
            reader.input[:] = ["trick" if each == name else each for each in reader.input]
        model.graph.node.insert(index + 1, helper.make_node("Sorcery", [name], ["trick"], domain="magic"))
        model.opset_import.append(helper.make_opsetid("magic", 1))
        with pytest.raises(ModelError, match=r'the operator "Sorcery" \(for "trick"\), which ONNX does not define'):
            prepare(model, SIZE, (1,), precision, dcn)


@pytest.mark.parametrize(("operator", "count", "least"), [("DeformConv", 2, 3), ("DCNv2", 3, 4)])
def test_a_deformable_convolution_that_lacks_inputs(operator, count, least):
    names = ["images", "weight", "weight", "weight"][:count]
    model = small([helper.make_node(operator, names, ["out"])], {"weight": np.ones((8, 3, 3, 3), np.float32)})
    with pytest.raises(ModelError, match=rf'The {operator} that makes "out" has {count} of at least {least} inputs'):
        prepare(model, SIZE)


def test_uneven_padding_is_not_for_nvidia():
    weight = np.ones((8, 3, 3, 3), np.float32)
    predict = np.zeros((18, 3, 3, 3), np.float32)
    nodes = [
        helper.make_node("Conv", ["images", "predict"], ["offset"], pads=[1, 1, 1, 1]),
        helper.make_node("DeformConv", ["images", "w", "offset"], ["out"], pads=[0, 0, 2, 2]),
    ]
    model = small(nodes, {"w": weight, "predict": predict})
    with pytest.raises(ModelError, match=r'makes "out" \(uneven padding.*--dcn plugin'):
        prepare(model, SIZE, (1,), "fp16", "nvidia")
    (node,) = [node for node in prepare(model, SIZE).graph.node if node.op_type == "DeformConv"]
    assert len(node.input) == 3  # neither bias nor mask: both may be absent at the end


def test_the_floor_of_the_benchmark(bundled, images):
    floor = with_plain_convolutions(bundled)
    onnx.checker.check_model(floor, full_check=True)
    found = operators(prepare(floor, SIZE))
    assert found["Conv"] == 61  # 45 others and 16 in place of deformable ones
    assert found["UpsampleAdd"] == 8
    assert not found["DeformConvBlock"] + found["FusedDeformConv"] + found["DeformConv"] + found["Slice"]
    zeros = onnx.ModelProto()
    zeros.CopyFrom(bundled)
    for tensor in zeros.graph.initializer:  # no offsets, and masks of sigmoid(30) = 1: the same function
        if "conv_offset_mask" in tensor.name:
            values = np.zeros_like(numpy_helper.to_array(tensor))
            if "bias" in tensor.name:
                values[18:] = 30
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    assert max(errors(run_standard(floor, images), run_standard(zeros, images)).values()) < 1e-3


def ties(heatmap: np.ndarray) -> int:
    """Neighboring cells that are both peaks, so equal."""
    peak = heatmap > 0
    return int((peak[..., 1:] & peak[..., :-1]).sum() + (peak[..., 1:, :] & peak[..., :-1, :]).sum())


@pytest.mark.parametrize(("classes", "most"), [(1, 1.1), (3, 1.1), (20, 1.15)])  # 4 parts instead of 8 of many classes
def test_flat_peaks_stay_single_peaks(classes, most, monkeypatch):
    """Broad hills, whose cells near the top differ by about what half precision resolves."""
    noise = np.random.default_rng(1).random((16, 24, 3), np.float32)
    hills = cv2.resize(noise, (384, 256), interpolation=cv2.INTER_CUBIC).transpose(2, 0, 1)[None]
    random = np.random.default_rng(2)
    constants = {
        "features.weight": random.uniform(0.2, 1, (32, 3, 1, 1)).astype(np.float32),
        "hm.weight": random.uniform(0.02, 0.1, (classes, 32, 1, 1)).astype(np.float32),
        "hm.bias": random.normal(size=classes).astype(np.float32),
        "zero": np.float32(0),
    }
    nodes = [
        helper.make_node("Conv", ["images", "features.weight"], ["features"]),
        helper.make_node("Conv", ["features", "hm.weight", "hm.bias"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
        helper.make_node("MaxPool", ["scores"], ["greatest"], kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Equal", ["scores", "greatest"], ["peak"]),
        helper.make_node("Where", ["peak", "scores", "zero"], ["heatmap"]),
    ]
    model = small(nodes, constants, output="heatmap")
    wanted = run_standard(model, hills)["heatmap"]
    found = plugin_ops.run(prepare(model, (384, 256)), hills)["heatmap"]  # rounds after every layer
    monkeypatch.setattr(fairmot.engine.graph.prepare, "split_heatmap_sums", lambda graph: None)
    plain = plugin_ops.run(prepare(model, (384, 256)), hills)["heatmap"]
    assert ties(wanted) == 0
    assert ties(plain) > 20
    assert ties(found) < ties(plain) / 5
    assert (found > 0).sum() < most * (wanted > 0).sum()
    assert np.abs(found - wanted)[(found > 0) & (wanted > 0)].max(initial=0) < 2e-3


CENTERNET = {
    "one class": Kind(classes=1),
    "two classes and embeddings": Kind(classes=2, class_boxes=True, embedding=8),
    "VOC, boxes of a class, no offset": Kind(classes=20, class_boxes=True, offset=False),
    "COCO, no offset": Kind(classes=80, offset=False),
    "COCO, boxes of a class": Kind(classes=80, class_boxes=True),
    "landmarks": Kind(classes=1, landmarks=5),
}


@pytest.mark.parametrize("kind", CENTERNET.values(), ids=CENTERNET)
def test_forms_of_centernet_stay_equal_for_any_batch(kind):
    model = centernet_network.build(kind)
    blocks = np.random.default_rng(3).uniform(-1.5, 1.5, (2, 3, 16, 24)).astype(np.float32)
    colors = blocks.repeat(4, axis=2).repeat(4, axis=3)
    wanted = run_standard(model, colors)
    for precision in ("fp16", "fp32"):
        prepared = prepare(model, SIZE, (1, 2), precision)
        for count in (1, 2):
            first = {name: value[:count] for name, value in wanted.items()}
            found = errors(run(prepared, colors[:count]), first)
            # Each logit is a difference of numbers that are ten times as large, rounded to half before.
            assert found.pop("heatmap") < 2 * TOLERANCE[precision]
            assert max(found.values()) < TOLERANCE[precision] / 2, found
        assert all(value.type.tensor_type.shape.dim[0].dim_param == "batch" for value in prepared.graph.output)


@pytest.mark.parametrize("kind", CENTERNET.values(), ids=CENTERNET)
def test_what_follows_the_convolutions_is_computed_in_single_precision(kind):
    graph = prepare(centernet_network.build(kind), SIZE)
    kinds = types(graph)
    found = operators(graph)
    ends = [node for node in graph.graph.node if node.op_type in ("Exp", "Concat", "Gather", "Sub")]
    ends += [node for node in graph.graph.node if node.op_type == "Mul" and node.input[0] != "images"]
    assert {kinds[name] for node in ends for name in node.output} == {TensorProto.FLOAT}
    assert {kinds[name] for node in graph.graph.node if node.op_type == "Conv" for name in node.output} == {
        TensorProto.FLOAT16
    }
    # One Cast behind each convolution of a head: nothing is rounded to half again, nor cast back.
    heads = 2 + kind.offset + 1 * (kind.landmarks > 0)
    assert (found["Cast"], found["NormalizeEmbedding"]) == (heads, kind.embedding > 0)


@pytest.mark.parametrize("form", ["initializer", "expanded and multiplied", "one value per cell"])
def test_outputs_that_do_not_depend_on_the_images(form):
    """For another number of images too, and finite where the map that they take their shape from is not."""
    model = centernet_network.build(Kind(classes=1))
    nodes = [node for node in model.graph.node if "offset" not in node.output]
    value = np.full((1, 2, 16, 24), 0.5, np.float32)
    if form == "one value per cell":
        value[:] = np.random.default_rng(4).random(value.shape)
    if form == "expanded and multiplied":
        nodes += [
            helper.make_node("Expand", ["one_half", "offset_shape"], ["ones"]),
            helper.make_node("Mul", ["ones", "twice"], ["offset"]),
        ]
        shape = numpy_helper.from_array(np.int64([1, 2, 16, 24]), "offset_shape")
        model.graph.initializer.extend([shape, numpy_helper.from_array(np.float32(1), "twice")])
    else:
        model.graph.initializer.append(numpy_helper.from_array(value, "offset"))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    prepared = prepare(model, SIZE, (1,), "fp32")
    assert "offset" in {name for node in prepared.graph.node for name in node.output}
    images = np.zeros((1, 3, SIZE[1], SIZE[0]), np.float32)
    images[..., :8] = np.inf
    np.testing.assert_array_equal(run_standard(prepared, images)["offset"], value)


def test_settings_out_of_range(bundled):
    with pytest.raises(ConfigError, match="fp16 or fp32"):
        prepare(bundled, SIZE, (1,), "int8")
    with pytest.raises(ConfigError, match="plugin or native or nvidia"):
        prepare(bundled, SIZE, (1,), "fp16", "mine")


def test_raw_heads_become_float_too(images, tmp_path: Path):
    raw = blob_network.build(raw=True)
    model = prepare(raw, SIZE, (2,))
    assert types(model)["heatmap"] == TensorProto.FLOAT
    wanted = run(prepare(raw, SIZE, (2,), "fp32", "native"), images)
    for name, value in run(model, images).items():
        np.testing.assert_allclose(value, wanted[name], atol=2e-2 * np.abs(wanted[name]).max())
