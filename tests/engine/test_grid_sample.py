"""DeformConv rewritten with GridSample against a plain float64 loop and ONNX Runtime's own DeformConv."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from support import blob_network

from fairmot.core import ModelError
from fairmot.engine.graph.grid_sample import deform_conv_to_grid_sample


def build(weight, bias, masked, strides, pads, dilations, group, offset_group, opset=19, kernel_attribute=True):
    taps = weight.shape[2] * weight.shape[3]
    channels = weight.shape[1] * group
    initializers = [numpy_helper.from_array(weight, "w")]
    if bias is not None:
        initializers.append(numpy_helper.from_array(bias, "b"))
    maps = {"x": channels, "o": 2 * taps * offset_group} | ({"m": taps * offset_group} if masked else {})
    names = ["x", "w", "o", "b" if bias is not None else "", "m" if masked else ""]
    while not names[-1]:
        names.pop()
    attributes = {"kernel_shape": list(weight.shape[2:])} if kernel_attribute else {}
    node = helper.make_node(
        "DeformConv", names, ["y"], strides=strides, pads=pads, dilations=dilations, group=group,
        offset_group=offset_group, **attributes,
    )  # fmt: skip
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", c, f"{n}h", f"{n}w"]) for n, c in maps.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", weight.shape[0], "yh", "yw"])],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def run(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]


def plain(x, weight, offset, bias, mask, strides, pads, dilations, group, offset_group) -> np.ndarray:
    """The definition, in float64."""
    n, channels, height, width = x.shape
    out_channels, per_group, kernel_h, kernel_w = weight.shape
    rows, columns = offset.shape[2:]
    taps = kernel_h * kernel_w
    y = np.zeros((n, out_channels, rows, columns))

    def pixel(i, c, r, q):
        return float(x[i, c, r, q]) if 0 <= r < height and 0 <= q < width else 0.0

    def sample(i, c, r, q):
        r0, q0 = int(np.floor(r)), int(np.floor(q))
        a, b = r - r0, q - q0
        return (1 - a) * ((1 - b) * pixel(i, c, r0, q0) + b * pixel(i, c, r0, q0 + 1)) + a * (
            (1 - b) * pixel(i, c, r0 + 1, q0) + b * pixel(i, c, r0 + 1, q0 + 1)
        )

    for i, c, r, q in np.ndindex(n, channels, rows, columns):
        for tap in range(taps):
            of = (c // (channels // offset_group)) * taps + tap
            dy, dx = (float(v) for v in offset[i, 2 * of : 2 * of + 2, r, q])
            row = r * strides[0] - pads[0] + tap // kernel_w * dilations[0] + dy
            column = q * strides[1] - pads[1] + tap % kernel_w * dilations[1] + dx
            value = sample(i, c, row, column) * (1.0 if mask is None else float(mask[i, of, r, q]))
            g = c // per_group
            outs = slice(g * out_channels // group, (g + 1) * out_channels // group)
            y[i, outs, r, q] += value * weight[outs, c % per_group, tap // kernel_w, tap % kernel_w].astype(float)
    return y if bias is None else y + bias.reshape(1, -1, 1, 1)


@st.composite
def cases(draw):
    group, offset_group = draw(st.sampled_from([(1, 1), (1, 2), (2, 1), (2, 2), (3, 1)]))
    channels = draw(st.integers(1, 2)) * int(np.lcm(group, offset_group))
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    strides, dilations = (
        draw(st.tuples(st.integers(1, 2), st.integers(1, 3))),
        draw(st.tuples(*[st.integers(1, 2)] * 2)),
    )
    pads = draw(st.tuples(*[st.integers(0, 2)] * 4))
    least = [d * (k - 1) + 1 - p - q for d, k, p, q in zip(dilations, kernel, pads[:2], pads[2:], strict=True)]
    height, width = (max(1, side) + draw(st.integers(0, 4)) for side in least)
    return {
        "seed": draw(st.integers(0, 2**32 - 1)),
        "shape": (draw(st.integers(1, 2)), channels, height, width),
        "out_channels": draw(st.integers(1, 2)) * group,
        "kernel": kernel,
        "strides": list(strides),
        "pads": list(pads),
        "dilations": list(dilations),
        "group": group,
        "offset_group": offset_group,
        "masked": draw(st.booleans()),
        "biased": draw(st.booleans()),
        "reach": draw(st.sampled_from([0.0, 0.7, 3.0, 1e3, 1e20])),
    }


@given(case=cases())
@settings(max_examples=60, deadline=None)
def test_equals_the_definition(case) -> None:
    random = np.random.default_rng(case["seed"])
    n, channels, height, width = case["shape"]
    kernel, strides, pads, dilations = case["kernel"], case["strides"], case["pads"], case["dilations"]
    group, offset_group = case["group"], case["offset_group"]
    taps = kernel[0] * kernel[1]
    rows = (height + pads[0] + pads[2] - dilations[0] * (kernel[0] - 1) - 1) // strides[0] + 1
    columns = (width + pads[1] + pads[3] - dilations[1] * (kernel[1] - 1) - 1) // strides[1] + 1

    def normal(*shape):
        return random.normal(size=shape).astype(np.float32)

    weight = normal(case["out_channels"], channels // group, *kernel)
    bias = normal(case["out_channels"]) if case["biased"] else None
    feeds = {"x": normal(*case["shape"]), "o": normal(n, 2 * taps * offset_group, rows, columns) * case["reach"]}
    if case["masked"]:
        feeds["m"] = random.random((n, taps * offset_group, rows, columns)).astype(np.float32)
    model = build(weight, bias, case["masked"], strides, pads, dilations, group, offset_group)
    rewritten = deform_conv_to_grid_sample(model)
    onnx.checker.check_model(rewritten, full_check=True)
    found = run(rewritten, feeds)
    options = (strides, pads, dilations, group, offset_group)
    expected = plain(feeds["x"], weight, feeds["o"], bias, feeds.get("m"), *options)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("opset", [19, 20, 22])
def test_equals_the_runtime_on_large_maps_at_every_size(opset: int) -> None:
    """One session for all sizes: batch, height and width stay dynamic."""
    random = np.random.default_rng(4)
    weight = random.normal(size=(16, 8, 3, 3)).astype(np.float32) / 8
    model = build(weight, None, True, [1, 1], [1, 1, 1, 1], [1, 1], 1, 1, opset)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    try:
        own = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        pytest.skip(f"this ONNX Runtime has no DeformConv: {str(error)[:80]}")
    rewritten = deform_conv_to_grid_sample(model).SerializeToString()
    ours = onnxruntime.InferenceSession(rewritten, options, providers=["CPUExecutionProvider"])
    for n, height, width in [(1, 152, 272), (2, 40, 30), (3, 1, 1)]:
        feeds = {
            "x": random.normal(size=(n, 8, height, width)).astype(np.float32),
            "o": 4 * random.normal(size=(n, 18, height, width)).astype(np.float32),
            "m": random.random((n, 9, height, width)).astype(np.float32),
        }
        np.testing.assert_allclose(ours.run(None, feeds)[0], own.run(None, feeds)[0], atol=1e-4)


def test_a_whole_network_with_cast_weights() -> None:
    model = blob_network.build()
    before = model.SerializeToString()
    rewritten = deform_conv_to_grid_sample(model)
    assert model.SerializeToString() == before
    operators = [node.op_type for node in rewritten.graph.node]
    assert "DeformConv" not in operators
    assert operators.count("GridSample") == 1
    assert [entry.key for entry in rewritten.metadata_props] == [entry.key for entry in model.metadata_props]
    image = np.random.default_rng(0).random((2, 3, 64, 96)).astype(np.float32)
    cells = image.reshape(2, 3, 16, 4, 24, 4).mean(axis=(3, 5))
    shifted = np.zeros_like(cells)
    shifted[:, :, :-1, :-2] = cells[:, :, 1:, 2:]
    logits = blob_network.GAIN * (shifted.mean(axis=1) - blob_network.BRIGHT)
    scores = run(rewritten, {"images": image})[:, 0]
    is_peak = scores > 0
    assert is_peak.any()
    np.testing.assert_allclose(scores[is_peak], 1 / (1 + np.exp(-logits[is_peak])), atol=1e-3)


def test_a_graph_without_the_operator_is_copied() -> None:
    model = blob_network.build()
    rewritten = deform_conv_to_grid_sample(model)
    assert deform_conv_to_grid_sample(rewritten) == rewritten


def test_the_kernel_size_may_come_from_the_weight_only() -> None:
    weight = np.ones((1, 1, 2, 3), np.float32)
    model = build(weight, None, False, [1, 1], [0] * 4, [1, 1], 1, 1, kernel_attribute=False)
    feeds = {"x": np.ones((1, 1, 4, 5), np.float32), "o": np.zeros((1, 12, 3, 3), np.float32)}
    np.testing.assert_allclose(run(deform_conv_to_grid_sample(model), feeds), np.full((1, 1, 3, 3), 6.0), atol=1e-5)


def test_an_unknown_kernel_size_is_an_error() -> None:
    model = build(np.ones((1, 1, 3, 3), np.float32), None, False, [1, 1], [0] * 4, [1, 1], 1, 1, kernel_attribute=False)
    del model.graph.initializer[:]
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, ["a", "b", "c", "d"]))
    with pytest.raises(ModelError, match="kernel_shape"):
        deform_conv_to_grid_sample(model)
