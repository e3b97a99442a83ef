"""An editable ONNX graph: nodes in order of execution, constants as arrays, known shapes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper, shape_inference

from fairmot.engine.graph.deformable import Deformable, is_deformable

Constant = npt.NDArray[Any]

VECTOR = 8
"""Channels in one element of kHWC8, the channels-last format of TensorRT in half precision."""

_SHAPE_CONSTANT = 64
"""Shape inference looks into constants of at most so many elements, and need not copy the others."""


class Graph:
    """The parts of a model that rewrites work on.

    Attributes:
        nodes: in order of execution.
        constants: by name; what the file stores as initializers.
        inputs: of the network, constants excluded.
        outputs: of the network.
        shapes: by tensor name, where `infer` found one; every dimension is a number.
        types: of the tensors' elements, in ONNX's numbers, where `infer` found one.
        opset: version of the standard operators.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self.nodes: list[onnx.NodeProto] = list(graph.node)
        self.constants: dict[str, Constant] = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer
        }
        self.inputs = [value for value in graph.input if value.name not in self.constants]
        self.outputs = list(graph.output)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.types: dict[str, int] = {}
        self.opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)
        self._model = model

    def infer(self) -> None:
        """Infer shapes and types again; those of operators that ONNX does not know stay as they were recorded."""
        recorded = {
            output: (self.shapes[output], self.types.get(output, onnx.TensorProto.FLOAT))
            for node in self.nodes
            if not is_deformable(node) and not self.knows(node)
            for output in node.output
            if output in self.shapes
        }
        model = self.to_model(_SHAPE_CONSTANT)
        for node in model.graph.node:
            if is_deformable(node):
                node.CopyFrom(_as_convolution(node))
        for name, (shape, kind) in recorded.items():
            model.graph.value_info.append(helper.make_tensor_value_info(name, kind, list(shape)))
        inferred = shape_inference.infer_shapes(model, data_prop=True).graph
        self.shapes = {name: array.shape for name, array in self.constants.items()}
        self.types = {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in self.constants.items()}
        for value in (*inferred.value_info, *inferred.input, *inferred.output):
            tensor = value.type.tensor_type
            self.types[value.name] = tensor.elem_type
            if tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim):
                self.shapes[value.name] = tuple(dim.dim_value for dim in tensor.shape.dim)

    def knows(self, node: onnx.NodeProto) -> bool:
        """Return whether a node is an operator of ONNX in the graph's version."""
        standard = node.domain in ("", "ai.onnx")
        return standard and bool(onnx.defs.has(node.op_type, max_inclusive_version=self.opset))

    def to_model(self, largest: int | None = None) -> onnx.ModelProto:
        """Return the graph as a model, with the metadata of the one it came from.

        Args:
            largest: constants of more elements are only declared, as inputs; all are stored if not given.
        """
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        model.ClearField("graph")
        model.graph.name = self._model.graph.name
        model.graph.node.extend(self.nodes)
        model.graph.input.extend(self.inputs)
        for name, array in self.constants.items():
            if largest is None or array.size <= largest:
                model.graph.initializer.append(numpy_helper.from_array(array, name))
            else:
                kind = helper.np_dtype_to_tensor_dtype(array.dtype)
                model.graph.input.append(helper.make_tensor_value_info(name, kind, array.shape))
        model.graph.output.extend(self.outputs)
        for entry in model.opset_import:
            if entry.domain in ("", "ai.onnx"):
                entry.version = self.opset
        return model

    def producers(self) -> dict[str, onnx.NodeProto]:
        """Return nodes by the name of the tensor that they make."""
        return {output: node for node in self.nodes for output in node.output if output}

    def consumers(self) -> dict[str, list[onnx.NodeProto]]:
        """Return nodes by the name of a tensor that they read."""
        readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(filter(None, node.input)):
                readers.setdefault(name, []).append(node)
        return readers

    def only_reader(self, name: str, operator: str) -> onnx.NodeProto | None:
        """Return the only reader of a tensor, if it has that operator and the tensor is no output of the network."""
        readers = self.consumers().get(name, [])
        if len(readers) == 1 and readers[0].op_type == operator and name not in self.output_names():
            return readers[0]
        return None

    def output_names(self) -> set[str]:
        """Return the names of the network's outputs."""
        return {value.name for value in self.outputs}

    def constant(self, name: str, values: npt.ArrayLike, dtype: npt.DTypeLike) -> str:
        """Add a constant and return the name that it got: `name`, numbered if other values have that already."""
        array = np.asarray(values, dtype)
        candidate, count = name, 0
        while candidate in self.constants:
            other = self.constants[candidate]
            if other.dtype == array.dtype and other.shape == array.shape and np.array_equal(other, array):
                return candidate
            count += 1
            candidate = f"{name}_{count}"
        self.constants[candidate] = array
        return candidate

    def replace(self, old: Iterable[onnx.NodeProto], new: Sequence[onnx.NodeProto]) -> None:
        """Replace nodes by others, which go to the position of the last of them."""
        gone = {id(node) for node in old}
        last = max(index for index, node in enumerate(self.nodes) if id(node) in gone)
        before = [node for node in self.nodes[: last + 1] if id(node) not in gone]
        self.nodes = [*before, *new, *self.nodes[last + 1 :]]

    def rename(self, old: str, new: str) -> None:
        """Let every node that reads the tensor `old` read `new`."""
        for node in self.nodes:
            for index, name in enumerate(node.input):
                if name == old:
                    node.input[index] = new

    def prune(self) -> None:
        """Drop nodes and constants that no output depends on."""
        wanted = self.output_names()
        kept = []
        for node in reversed(self.nodes):
            if any(output in wanted for output in node.output):
                kept.append(node)
                wanted.update(node.input)
        self.nodes = kept[::-1]
        self.constants = {name: array for name, array in self.constants.items() if name in wanted}

    def name_nodes(self) -> None:
        """Name every node after its (last) weight, without `.weight`, or after its output; each name once.

        TensorRT names layers after nodes, so profiles then speak of `network.hm.0` and not of `node_conv2d_53`.
        """
        taken: Counter[str] = Counter()
        for node in self.nodes:
            weights = [name for name in node.input if name in self.constants and name.endswith(".weight")]
            name = _layer_of(weights[-1]) if weights else node.output[0]
            taken[name] += 1
            node.name = name if taken[name] == 1 else f"{name}_{taken[name]}"


def _layer_of(weight: str) -> str:
    for suffix in (".weight", ".half", ".scaled", ".packed", ".parts", ".flat"):
        weight = weight.removesuffix(suffix)
    return weight


def _as_convolution(node: onnx.NodeProto) -> onnx.NodeProto:
    """Return a plain convolution whose result has the shape of a deformable one's."""
    conv = Deformable.read(node)
    return helper.make_node(
        "Conv",
        [conv.x, conv.weight],
        node.output,
        strides=conv.strides,
        pads=conv.pads,
        dilations=conv.dilations,
        group=conv.group,
    )
