"""Deformable convolutions of other exporters: each attribute of each operator against the definition, and misfits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.dcn_reference import deform_conv

from fairmot.core import ModelError
from fairmot.engine.graph.dialects.read import to_deform_convs
from fairmot.engine.graph.graph import Graph
from fairmot.engine.graph.shapes import raise_opset
from fairmot.engine.onnxruntime import open_session

SIZE = (9, 8)  # rows, columns of the input map
CHANNELS, OUTPUTS = 4, 6


def layer(
    operator: str,
    attributes: dict[str, Any],
    *,
    out: tuple[int, int] = SIZE,
    kernel: int = 3,
    groups: int = 1,
    offset_groups: int = 1,
    without: int = 99,
    extra: int = 0,
    domain: str = "",
    opset: int = 11,
) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """Return a network of one deformable convolution whose maps are inputs, and their values.

    `out` is the size of offsets and masks, `without` the first input that is left out, `extra` channels too many.
    """
    random = np.random.default_rng(4)
    positions = kernel * kernel * offset_groups
    parts = {
        "x": random.normal(size=(1, CHANNELS, *SIZE)),
        "offset": 1.5 * random.normal(size=(1, 2 * positions + extra, *out)),
        "mask": random.random(size=(1, positions, *out)),
    }
    weights = {
        "weight": random.normal(size=(OUTPUTS, CHANNELS // groups, kernel, kernel)),
        "bias": random.normal(size=OUTPUTS),
    }
    logits = np.log(parts["mask"] / (1 - parts["mask"]))
    if operator == "Plugin":
        parts["predicted"] = np.concatenate([parts["offset"], logits], 1)
        names = ["x", "predicted", "weight", "bias"]
    elif operator == "DeformableConv2D":
        parts["predicted"] = np.concatenate([parts["offset"][:, 1::2], parts["offset"][:, ::2], parts["mask"]], 1)
        names = ["x", "weight", "predicted", "bias"]
    elif operator == "DeformConv":
        names = ["x", "weight", "offset", "bias", "mask"]
    else:
        names = ["x", "offset", "mask", "weight", "bias"]
    names = names[:without]
    values = {name: array.astype(np.float32) for name, array in (parts | weights).items()}
    inputs = [name for name in names if name in parts]
    node = helper.make_node(operator, names, ["y"], domain=domain)
    node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
    model = helper.make_model(
        helper.make_graph(
            [node],
            "layer",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, values[name].shape) for name in inputs],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(values[name], name) for name in weights if name in names],
        ),
        opset_imports=[helper.make_opsetid("", 19 if operator == "DeformConv" else opset)],
        ir_version=9,
    )
    return model, values


def standard(model: onnx.ModelProto) -> onnx.ModelProto:
    graph = Graph(raise_opset(model, 19))
    graph.infer()
    to_deform_convs(graph)
    assert {node.op_type for node in graph.nodes} <= {"DeformConv", "Slice", "Sigmoid", "Gather"}
    return graph.to_model()


OLD = ("DCNv2", "DCNv2_2", "Plugin", "DeformableConv2D")
NAMES = {
    "DCNv2": ("stride", "padding", "dilation", "deformable_group"),
    "DCNv2_2": ("stride", "padding", "dilation", "deformable_groups"),
    "Plugin": ("stride", "padding", "dilation", "deformable_groups"),
    "DeformableConv2D": ("strides", "pads", "dilations", "deformable_groups"),
    "DeformConv": ("strides", "pads", "dilations", "offset_group"),
}


@pytest.mark.parametrize("operator", [*OLD, "DeformConv"])
@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "offset_groups", "out"),
    [
        ([1, 1], [1, 1], [1, 1], 1, (9, 8)),
        ([2, 1], [1, 0], [1, 2], 2, (5, 4)),
        ([2, 2], [2, 2], [2, 2], 1, (5, 4)),
    ],
)
def test_every_attribute(
    operator: str, stride: list[int], padding: list[int], dilation: list[int], offset_groups: int, out: tuple[int, int]
) -> None:
    pads = padding if operator != "DeformConv" else padding * 2
    settings = dict(zip(NAMES[operator], (stride, pads, dilation, offset_groups), strict=True))
    settings = {"name": "DCNv2", "info": json.dumps(settings)} if operator == "Plugin" else settings
    domain = "" if operator == "DeformConv" else "elsewhere.org"
    model, values = layer(operator, settings, out=out, offset_groups=offset_groups, domain=domain)
    graph = standard(model)
    inputs = {value.name: values[value.name] for value in graph.graph.input}
    (found,) = open_session(Path("layer"), 1, graph).run(["y"], inputs)
    wanted = deform_conv(
        values["x"], values["offset"], values["mask"], values["weight"], values["bias"], tuple(stride),
        (*padding, *padding), tuple(dilation), 1, offset_groups,
    )  # fmt: skip
    np.testing.assert_allclose(found, wanted, atol=2e-5)


def read_only(operator: str, attributes: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return the attributes of the standard node that an operator becomes."""
    nodes = standard(layer(operator, attributes, **changes)[0]).graph.node
    (node,) = [node for node in nodes if node.op_type == "DeformConv"]
    return {each.name: helper.get_attribute_value(each) for each in node.attribute}


@pytest.mark.parametrize(
    ("operator", "attributes", "changes", "pads"),
    [
        ("DCNv2", {}, {}, [1, 1, 1, 1]),
        ("DCNv2_2", {}, {}, [1, 1, 1, 1]),
        ("Plugin", {"name": "DCNv2"}, {}, [1, 1, 1, 1]),
        ("Plugin", {"name": "DCNv2", "info": ""}, {}, [1, 1, 1, 1]),
        ("Plugin", {"name": "DCNv2", "info": '{"padding": 1}'}, {}, [1, 1, 1, 1]),
        ("DCNv2", {"padding": 0}, {"out": (7, 6)}, [0, 0, 0, 0]),
        ("DeformableConv2D", {}, {"out": (7, 6)}, [0, 0, 0, 0]),
        ("DeformableConv2D", {"pads": [1], "strides": [1, 1, 2, 2]}, {"out": (5, 4)}, [1, 1, 1, 1]),
        ("DeformableConv2D", {"pads": [0, 1, 2, 1]}, {}, [0, 1, 2, 1]),
        ("DCNv2", {"groups": 2}, {"groups": 2}, [1, 1, 1, 1]),
    ],
)
def test_absent_attributes(operator: str, attributes: dict[str, Any], changes: dict[str, Any], pads: list[int]) -> None:
    found = read_only(operator, attributes, **changes)
    assert found["pads"] == pads
    assert found["group"] == changes.get("groups", 1)


@pytest.mark.parametrize(
    ("operator", "attributes", "changes", "message"),
    [
        ("Plugin", {"name": "DCNv2"}, {"extra": -1}, "of 26 channels but needs 27, 3 for each of the 9 taps"),
        ("DeformableConv2D", {"pads": 1}, {"extra": -2}, "of 25 channels but needs 27"),
        ("DCNv2", {}, {"extra": 1}, "offsets of 19 channels but needs 18"),
        ("DCNv2_2", {}, {"extra": -1}, "offsets of 17 channels but needs 18"),
        ("DeformConv", {"pads": [1, 1, 1, 1]}, {"extra": -1}, "offsets of 17 channels but needs 18"),
        ("DCNv2", {"padding": 0}, {}, "offsets of 9x8 cells but a result of 7x6"),
        ("DCNv2", {"stride": 2}, {}, "offsets of 9x8 cells but a result of 5x4"),
        ("Plugin", {"name": "DCNv2"}, {"out": (5, 4)}, "offsets and masks of 5x4 cells but a result of 9x8"),
        ("DeformableConv2D", {}, {}, "offsets and masks of 9x8 cells but a result of 7x6"),
        (
            "Plugin",
            {"name": "DCNv2", "info": '{"strides": 1}'},
            {},
            '"strides" in its info: pass a JSON object of',
        ),
        ("Plugin", {"name": "DCNv2", "info": "stride=1"}, {}, 'has the info "stride=1": pass a JSON object'),
        ("Plugin", {"name": "DCNv2", "info": "[1]"}, {}, "pass a JSON object"),
        ("Plugin", {"name": "DCNv2", "info": "[" * 100_000}, {}, "pass a JSON object"),
        ("Plugin", {"name": "DCNv2", "info": '{"stride": "1"}'}, {}, "stride 1: pass 1 or 2"),
        ("Plugin", {"name": "DCNv2", "info": '{"stride": true}'}, {}, "stride True: pass 1 or 2"),
        ("Plugin", {"name": "DCNv2", "info": '{"padding": [1, 1.5]}'}, {}, "pass 1 or 2 or 4 whole numbers"),
        ("Plugin", {"name": "DCNv2", "info": '{"deformable_groups": 3}'}, {}, "3 deformable and 1 other groups"),
        ("DCNv2", {"stride": 0}, {}, "stride 0: pass 1 or 2 whole numbers from 1 to 1024"),
        ("DCNv2", {"padding": [1, 1, 1]}, {}, "pass 1 or 2 or 4 whole numbers"),
        ("DCNv2", {"dilation": 2**40}, {}, "from 1 to 1024"),
        ("DCNv2", {"stride": 1.5}, {}, "stride 1.5: pass"),
        ("DCNv2", {"stride": "1"}, {}, "stride 1: pass"),
        ("DCNv2", {"deformable_group": 2}, {}, "offsets of 18 channels but needs 36"),
        ("DCNv2", {"groups": 3}, {}, "1 deformable and 3 other groups"),
        ("DeformableConv2D", {"strides": [2, 1, 1, 1]}, {}, "pass 1 for images and channels"),
        ("DCNv2", {}, {"without": 3}, "has 3 of at least 4 inputs (x, offset, mask, weight, bias) and lacks weight"),
        ("Plugin", {"name": "DCNv2"}, {"without": 2}, "lacks weight"),
        ("DeformableConv2D", {}, {"without": 2}, "lacks predicted"),
        ("DeformConv", {}, {"without": 2}, "lacks offset"),
    ],
)
def test_misfits_end_in_one_line(
    operator: str, attributes: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    model, _ = layer(operator, attributes, **changes)
    with pytest.raises(ModelError) as caught:
        standard(model)
    assert message in str(caught.value)
    assert f'The {operator} that makes "y"' in str(caught.value)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_other_plugins_are_none_of_them() -> None:
    graph = Graph(layer("Plugin", {"name": "HSwish"})[0])
    graph.infer()
    assert to_deform_convs(graph) == {}
