"""Nodes of deformable convolutions, of the ONNX standard and of older exporters, read into one record.

| operator | inputs | attributes; absent means 1, the padding aside |
|---|---|---|
| `DeformConv` (ONNX 19) | x, weight, offset, bias, mask | strides, pads (0), dilations, group, offset_group |
| `DCNv2` | x, offset, mask, weight, bias | stride, padding (1), dilation, groups, deformable_group |
| `DCNv2_2` | x, offset, mask, weight, bias | stride, padding (1), dilation, deformable_groups |
| `Plugin`, name "DCNv2" | x, predicted, weight, bias | those of `DCNv2_2`, as JSON in the attribute info |
| `DeformableConv2D` | x, weight, predicted, bias | strides, pads (0), dilations, groups, deformable_groups |

Sources: `DCNv2` is the operator of CenterNet exports by mmdetection's layer (CaoWGG/TensorRT-CenterNet, readme/dcn),
`DCNv2_2` and `Plugin` those of shouxieai/tensorRT_Pro (tutorial/2.0CenterNet_from_torch_trt/dcn_v2.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx

from fairmot.core.errors import ModelError
from fairmot.core.text import one_line
from fairmot.engine.graph.attributes import attributes

_LARGEST = 1024  # of any attribute; what a damaged file claims must not determine how much is computed


@dataclass(frozen=True)
class _Dialect:
    """An operator: its inputs in order, how many it needs, and the names of its attributes."""

    inputs: tuple[str, ...]
    least: int
    strides: str = "stride"
    pads: str = "padding"
    dilations: str = "dilation"
    group: str = "groups"
    offset_group: str = "deformable_group"
    padding: int = 1


_OLD_INPUTS = ("x", "offset", "mask", "weight", "bias")
_DIALECTS = {
    "DeformConv": _Dialect(
        ("x", "weight", "offset", "bias", "mask"), 3, "strides", "pads", "dilations", "group", "offset_group", 0
    ),
    "DCNv2": _Dialect(_OLD_INPUTS, 4),
    "DCNv2_2": _Dialect(_OLD_INPUTS, 4, group="", offset_group="deformable_groups"),
    "Plugin": _Dialect(("x", "predicted", "weight", "bias"), 3, group="", offset_group="deformable_groups"),
    "DeformableConv2D": _Dialect(
        ("x", "weight", "predicted", "bias"), 3, "strides", "pads", "dilations", "groups", "deformable_groups", 0
    ),
}

_PLUGIN_NAME = b"DCNv2"
_INFO = ("stride", "padding", "dilation", "deformable_groups")


@dataclass(frozen=True)
class Deformable:
    """A deformable convolution of any dialect.

    Attributes:
        node: as it stands in the graph.
        x: input map; this and the following are names of tensors, empty if absent.
        weight: `(o, c / group, kernel height, kernel width)`.
        bias: `(o,)`.
        offset: 2 channels per tap and offset group, dy and dx in turn.
        mask: 1 channel per tap and offset group, after the sigmoid.
        predicted: offsets and masks in one tensor of 3 channels per tap and offset group, where the operator has that.
            `Plugin`: offsets as above, then logits of the masks. `DeformableConv2D`: every dx, every dy, then masks.
        strides: of rows and columns.
        pads: top, left, bottom, right.
        dilations: of rows and columns.
        group: of channels.
        offset_group: of channels that share their offsets.
    """

    node: onnx.NodeProto
    x: str
    weight: str
    bias: str
    offset: str
    mask: str
    predicted: str
    strides: list[int]
    pads: list[int]
    dilations: list[int]
    group: int
    offset_group: int

    @classmethod
    def read(cls, node: onnx.NodeProto) -> Deformable:
        """Read a node for which `is_deformable` holds.

        Raises:
            ModelError: if inputs are missing or an attribute is invalid.
        """
        dialect = _DIALECTS[node.op_type]
        given = dict(zip(dialect.inputs, node.input, strict=False))
        missing = [name for name in dialect.inputs[: dialect.least] if not given.get(name)]
        if missing:
            raise ModelError(
                f"{describe(node)} has {len(node.input)} of at least {dialect.least} inputs "
                f"({', '.join(dialect.inputs)}) and lacks {' and '.join(missing)}: export the model again with them."
            )
        settings = _info(node) if node.op_type == "Plugin" else attributes(node)

        def numbers(name: str, default: int, least: int, counts: tuple[int, ...]) -> list[int]:
            return _numbers(node, name, settings.get(name, default), least, counts)

        wide = (1, 2, 4) if node.op_type == "DeformableConv2D" else (1, 2)
        pads = numbers(dialect.pads, dialect.padding, 0, (1, 2, 4))
        return cls(
            node=node,
            **{name: given.get(name, "") for name in ("x", "weight", "bias", "offset", "mask", "predicted")},
            strides=_rows_and_columns(node, dialect.strides, numbers(dialect.strides, 1, 1, wide)),
            pads=pads if len(pads) == 4 else pads * (4 // len(pads)),
            dilations=_rows_and_columns(node, dialect.dilations, numbers(dialect.dilations, 1, 1, wide)),
            group=numbers(dialect.group, 1, 1, (1,))[0] if dialect.group else 1,
            offset_group=numbers(dialect.offset_group, 1, 1, (1,))[0],
        )


def is_deformable(node: onnx.NodeProto) -> bool:
    """Return whether a node is a deformable convolution of a known dialect, in whatever domain."""
    if node.op_type != "Plugin":
        return node.op_type in _DIALECTS
    return attributes(node).get("name") == _PLUGIN_NAME


def describe(node: onnx.NodeProto) -> str:
    """Return the subject of a message about a node."""
    return f'The {node.op_type} that makes "{one_line(node.output[0] if node.output else "", 60)}"'


def _info(node: onnx.NodeProto) -> Mapping[str, Any]:
    """Return the attributes in the JSON text `info` of a `Plugin`."""
    text = attributes(node).get("info", b"")
    expected = f"pass a JSON object of {', '.join(_INFO)}, each a whole number or two of them, or an empty text"
    try:
        content = json.loads(text) if text else {}
    except (ValueError, RecursionError, TypeError):
        content = None
    if not isinstance(content, dict):
        shown = text.decode(errors="replace") if isinstance(text, bytes) else text
        raise ModelError(f'{describe(node)} has the info "{one_line(shown, 60)}": {expected}.')
    for name in content:
        if name not in _INFO:
            raise ModelError(f'{describe(node)} has "{one_line(name, 60)}" in its info: {expected}.')
    return content


def _numbers(node: onnx.NodeProto, name: str, value: Any, least: int, counts: tuple[int, ...]) -> list[int]:
    """Return an attribute as a list of whole numbers.

    Raises:
        ModelError: if it is anything else, has another count, or is out of range.
    """
    values = list(value) if isinstance(value, list | tuple) else [value]
    fits = all(type(each) is int and least <= each <= _LARGEST for each in values)
    if not fits or len(values) not in counts:
        shown = one_line(value.decode(errors="replace") if isinstance(value, bytes) else value, 60)
        allowed = " or ".join(map(str, counts))
        raise ModelError(
            f"{describe(node)} has {name} {shown}: pass {allowed} whole number{'s' * (counts != (1,))} "
            f"from {least} to {_LARGEST}."
        )
    return values


def _rows_and_columns(node: onnx.NodeProto, name: str, values: list[int]) -> list[int]:
    if len(values) == 4 and values[:2] != [1, 1]:
        raise ModelError(f"{describe(node)} has {name} {values}: pass 1 for images and channels, as in 1, 1, 2, 2.")
    return values * 2 if len(values) == 1 else values[-2:]
