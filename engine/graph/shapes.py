"""Static graphs: input size fixed, shape arithmetic and weight casts folded into constants, older opset."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from onnx import helper, version_converter
from onnx.reference import ReferenceEvaluator

from fairmot.core.errors import ModelError
from fairmot.core.text import one_line
from fairmot.engine.graph.attributes import attributes
from fairmot.engine.graph.deformable import is_deformable
from fairmot.engine.graph.graph import Constant, Graph

OPSET = 17
"""Opset of the ONNX parser of TensorRT 8.6 (onnx-tensorrt, release/8.6-EA, docs/operators.md)."""

_ELSEWHERE = "elsewhere"

# Element-wise operators, which broadcast by themselves what an Expand in front of them spells out.
_BROADCASTING = {"Add", "Sub", "Mul", "Div", "Max", "Min", "Where", "Equal", "Greater", "Less", "Pow"}


def fix_input(graph: Graph, batch: int, size: tuple[int, int]) -> None:
    """Give the one input the shape `(batch, channels, height, width)`; `size` is width, height."""
    (value,) = graph.inputs
    dims = value.type.tensor_type.shape.dim
    for axis, length in ((0, batch), (2, size[1]), (3, size[0])):
        dims[axis].ClearField("dim_param")
        dims[axis].dim_value = length
    for output in graph.outputs:
        for dim in output.type.tensor_type.shape.dim:
            if dim.HasField("dim_param"):
                dim.Clear()


def fold(graph: Graph, largest: int | None = None) -> None:
    """Replace everything that is known before the network runs by constants, and bypass nodes without effect.

    Args:
        graph: to change.
        largest: elements of a constant that this may compute.

    Raises:
        ModelError: if it would have more, or is of unknown size; what a damaged file claims takes no memory.
    """
    while True:
        graph.infer()
        if not (_fold_constants(graph, largest) | drop_expands(graph) | _drop_identities(graph)):
            break
    graph.prune()


def _fold_constants(graph: Graph, largest: int | None) -> bool:
    outputs = graph.output_names()
    kept = []
    for node in graph.nodes:
        known = _value(graph, node, largest) if not outputs.intersection(node.output) else None
        if known is None:
            kept.append(node)
        else:
            graph.constants.update(zip(node.output, known, strict=True))
    changed = len(kept) < len(graph.nodes)
    graph.nodes = kept
    return changed


def _value(graph: Graph, node: onnx.NodeProto, largest: int | None) -> list[Constant] | None:
    """Return the results of a node, if they are known."""
    settings = attributes(node)
    if node.op_type == "Shape" and node.input[0] in graph.shapes:
        shape = graph.shapes[node.input[0]]
        return [np.array(shape[settings.get("start", 0) : settings.get("end", len(shape))], np.int64)]
    if node.domain or not all(name in graph.constants for name in node.input if name):
        return None
    if node.op_type == "Expand" and graph.constants[node.input[0]].dtype.kind == "f":
        return None  # a map full of one number; mostly `drop_expands` can do without
    if node.op_type == "Cast":  # the one that large weights pass through
        return [graph.constants[node.input[0]].astype(helper.tensor_dtype_to_np_dtype(settings["to"]))]
    if not graph.knows(node):
        return None
    if largest is not None and not _is_small(graph, node, largest):
        raise ModelError(
            f'{node.op_type} "{one_line(node.output[0])}" makes a constant of more than {largest} numbers: '
            "export the model without it."
        )
    return _evaluate(node, {name: graph.constants[name] for name in node.input if name}, graph.opset)


def _is_small(graph: Graph, node: onnx.NodeProto, largest: int) -> bool:
    """Return whether the results of a node have few elements: as inferred, or no more than its inputs have."""
    if node.op_type == "Range":
        start, limit, step = (float(graph.constants[name]) for name in node.input)
        return step != 0 and (limit - start) / step <= largest
    sizes = [graph.constants[name].size for name in node.input if name]
    growing = node.op_type in ("ConstantOfShape", "Expand", "Tile", "Pad", "Resize", "OneHot", "EyeLike")
    return all(
        math.prod(graph.shapes[name]) <= largest if name in graph.shapes else not growing and sum(sizes) <= largest
        for name in node.output
        if name
    )


def _evaluate(node: onnx.NodeProto, inputs: dict[str, Constant], opset: int) -> list[Constant]:
    values = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in inputs.items()
    ]
    results = [helper.make_empty_tensor_value_info(name) for name in node.output]
    model = helper.make_model(
        helper.make_graph([node], "constant", values, results), opset_imports=[helper.make_opsetid("", opset)]
    )
    return [np.asarray(result) for result in ReferenceEvaluator(model).run(None, inputs)]


def drop_expands(graph: Graph) -> bool:
    """Bypass Expands that only make the operands of element-wise operators equally large.

    `zeros_like` and `normalize` leave such Expands behind; TensorRT would fill whole maps with one number.
    """
    consumers = graph.consumers()
    changed = False
    for node in graph.nodes:
        if node.op_type != "Expand" or node.output[0] in graph.output_names():
            continue
        target = graph.shapes.get(node.output[0])
        readers = consumers.get(node.output[0], [])
        if target is None or not all(_broadcasts_without(graph, reader, node.output[0]) for reader in readers):
            continue
        source = graph.shapes.get(node.input[0], ())
        if readers and len(source) <= len(target):
            graph.rename(node.output[0], node.input[0])
            changed = True
    if changed:
        graph.prune()
    return changed


def _broadcasts_without(graph: Graph, reader: onnx.NodeProto, expanded: str) -> bool:
    if reader.op_type not in _BROADCASTING:
        return False
    others = [graph.shapes.get(name) for name in reader.input if name != expanded]
    return graph.shapes.get(reader.output[0]) in others


def _drop_identities(graph: Graph) -> bool:
    outputs = graph.output_names()
    for node in graph.nodes:
        if node.op_type == "Identity" and node.output[0] not in outputs:
            graph.rename(node.output[0], node.input[0])
            graph.nodes = [other for other in graph.nodes if other is not node]
            return True
    return False


def anchor_reshapes(graph: Graph) -> None:
    """State the target of every Reshape as `(-1, known sizes)`, so that it holds for any batch."""
    for node in graph.nodes:
        shape = graph.shapes.get(node.output[0], ())
        if node.op_type == "Reshape" and node.input[1] in graph.constants and shape:
            node.input[1] = graph.constant(f"{node.output[0]}/shape", [-1, *shape[1:]], np.int64)


def raise_opset(model: onnx.ModelProto, opset: int = OPSET) -> onnx.ModelProto:
    """Return a model of an older opset in the form of `opset`; others are returned as they are.

    Raises:
        ModelError: if ONNX's own converter cannot do it.
    """
    versions = [entry for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if not versions or versions[0].version >= opset:
        return model
    unknown = {
        node.op_type
        for node in model.graph.node
        if node.domain or is_deformable(node) or not onnx.defs.has(node.op_type, max_inclusive_version=opset)
    }
    for node in model.graph.node:
        if node.op_type in unknown:
            node.domain = _ELSEWHERE  # the converter leaves operators of other domains alone
    if unknown:
        model.opset_import.append(helper.make_opsetid(_ELSEWHERE, 1))
    try:
        converted = version_converter.convert_version(model, opset)
    except Exception as error:  # the converter's errors share no base class
        detail = " ".join(str(error).split()).rstrip(".")
        raise ModelError(
            f"The model of opset {versions[0].version} cannot be converted to opset {opset} ({detail}): "
            f"export it with opset {OPSET} or 19."
        ) from error
    for node in converted.graph.node:
        if node.domain == _ELSEWHERE:
            node.domain = ""
    kept = [entry for entry in converted.opset_import if entry.domain in ("", "ai.onnx")]
    del converted.opset_import[:]
    converted.opset_import.extend(kept)
    return converted


def lower_opset(graph: Graph) -> None:
    """Restate operators in the form that they have in opset 17.

    Operators that ONNX did not have then (`DeformConv`) are left: plugins implement them.

    Raises:
        ModelError: if an operator uses something that came later.
    """
    if graph.opset <= OPSET:
        return
    for node in graph.nodes:
        if node.domain or not onnx.defs.has(node.op_type, max_inclusive_version=OPSET):
            continue
        schema = onnx.defs.get_schema(node.op_type, OPSET)
        settings = attributes(node)
        if len(node.input) > schema.max_input and node.op_type.startswith("Reduce"):
            axes = node.input[1]
            del node.input[1:]
            if axes:
                known = graph.constants.get(axes)
                if known is None:
                    raise ModelError(
                        f'{node.op_type} "{node.output[0]}" computes its axes, which TensorRT does not allow: '
                        "export the model with fixed axes."
                    )
                node.attribute.append(helper.make_attribute("axes", [int(axis) for axis in known]))
        newest = onnx.defs.get_schema(node.op_type, graph.opset).attributes
        unknown = [name for name in settings if name not in schema.attributes]
        lost = [name for name in unknown if settings[name] != _default(newest[name])]
        if lost or len(node.input) > schema.max_input:
            raise ModelError(
                f'{node.op_type} "{node.output[0]}" uses {" and ".join(lost) or "inputs"} from after opset {OPSET}, '
                f"which TensorRT's parser does not know: export the model with opset {OPSET} or 19."
            )
        kept = [attribute for attribute in node.attribute if attribute.name in schema.attributes]
        del node.attribute[:]
        node.attribute.extend(kept)
    graph.opset = OPSET


def _default(attribute: Any) -> object:
    return helper.get_attribute_value(attribute.default_value) if attribute.default_value.name else None
