"""Walks from an output back to the tensor that a head is made from, past what other exporters add to it."""

from __future__ import annotations

from dataclasses import dataclass

from fairmot.engine.graph.attributes import attributes
from fairmot.engine.graph.graph import Graph
from fairmot.export.foreign.heads import Arrangement

_MOVING = {"Cast", "Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
_COMPARING = {"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Ceil", "Floor", "Sign"}
_LIMITING = {"Clip", "Max", "Min"}
_LINEAR = {"Add", "BatchNormalization", "Conv", "ConvTranspose", "DeformConv", "Gemm", "MatMul", "Mul", "Sub", "Sum"}
_ROOTS = {"Sqrt", "Pow"}
_DEEPEST = 10_000  # nodes of one walk; graphs of a damaged file may have circles


@dataclass(frozen=True)
class Tensor:
    """A map of the graph with one row and column per cell.

    Attributes:
        name: of the tensor.
        is_last: whether the channels are its last axis, `(n, rows, columns, channels)`.
        arrangement: of the tensor from which the walk started.
    """

    name: str
    is_last: bool
    arrangement: Arrangement


class Tracer:
    """Walks in a graph of known shapes.

    Args:
        graph: with shapes inferred for one input size, shape arithmetic folded.
    """

    def __init__(self, graph: Graph) -> None:
        self.shapes = graph.shapes
        self._constants = graph.constants
        self._producers = graph.producers()

    def operator(self, name: str) -> str:
        """Return the operator that makes a tensor; empty for inputs and constants."""
        node = self._producers.get(name)
        return node.op_type if node is not None else ""

    def inputs(self, name: str) -> list[str]:
        """Return the inputs of the node that makes a tensor."""
        node = self._producers.get(name)
        return [each for each in node.input if each] if node is not None else []

    def before_moves(self, name: str) -> str:
        """Return the tensor before operators that only move values."""
        for _ in range(_DEEPEST):
            node = self._producers.get(name)
            if node is None or node.op_type not in _MOVING:
                break
            name = node.input[0]
        return name

    def concatenated(self, name: str) -> list[str]:
        """Return the parts of a tensor that a Concat made, empty if none did."""
        end = self.before_moves(name)
        return self.inputs(end) if self.operator(end) == "Concat" else []

    def map_of(self, name: str, cells: tuple[int, int]) -> Tensor | None:
        """Return the map, of so many rows and columns, that a tensor is a view of."""
        shape = self.shapes.get(name, ())
        arrangement: Arrangement = "nchw"
        if len(shape) == 3 and shape[1] == cells[0] * cells[1]:
            arrangement = "cells"
        for _ in range(_DEEPEST):
            node = self._producers.get(name)
            if node is None or node.op_type not in _MOVING:
                break
            if node.op_type == "Transpose" and list(attributes(node).get("perm", ())) == [0, 2, 3, 1]:
                arrangement = "nhwc" if arrangement == "nchw" else arrangement
            name = node.input[0]
        found = self.shapes.get(name, ())
        if len(found) != 4:
            return None
        if found[2:] == cells:
            return Tensor(name, False, arrangement)
        if found[1:3] == cells:
            return Tensor(name, True, "nhwc" if arrangement == "nchw" else arrangement)
        return None

    def heat(self, name: str) -> str | None:
        """Return the heatmap before peak suppression and pooling; None where several maps meet."""
        for _ in range(_DEEPEST):
            node = self._producers.get(name)
            if node is None:
                return name
            if node.op_type in _MOVING or node.op_type == "MaxPool":
                name = node.input[0]
            elif node.op_type in ("Mul", "Where"):
                maps = [each for each in node.input if not self._is_selection(each)]
                if len(maps) == len(node.input) and node.op_type == "Mul":
                    return name  # a product of two maps is no suppression
                ends = {self.heat(each) for each in maps}
                if len(ends) != 1:
                    return None
                return ends.pop()
            else:
                return name
        return None

    def is_score(self, name: str) -> bool | None:
        """Return whether a map passed a sigmoid; None where its operators do not tell."""
        for _ in range(_DEEPEST):
            operator = self.operator(name)
            if operator in ("Sigmoid", "HardSigmoid"):
                return True
            if operator in _LINEAR:
                return False
            if operator not in _LIMITING | _MOVING | {"MaxPool"}:
                return None
            name = self.inputs(name)[0]
        return None

    def embedding(self, name: str) -> tuple[str, bool]:
        """Return the embedding before it is divided by its length, and whether it is."""
        end = self.before_moves(name)
        operator, inputs = self.operator(end), self.inputs(end)
        if operator == "LpNormalization":
            return inputs[0], True
        if operator == "Div" and len(inputs) == 2 and self._is_length(inputs[1], inputs[0]):
            return inputs[0], True
        return end, False

    def _is_selection(self, name: str) -> bool:
        """Return whether a tensor selects cells, or is a constant, as those of peak suppression."""
        for _ in range(_DEEPEST):
            if name in self._constants:
                return True
            node = self._producers.get(name)
            if node is None:
                return False
            if node.op_type in _COMPARING or node.op_type in ("ConstantOfShape", "Constant"):
                return True
            if node.op_type == "Sub" and node.input[0] in self._constants:
                name = node.input[1]
            elif node.op_type in ("Cast", "Expand", "Identity"):
                name = node.input[0]
            else:
                return False
        return False

    def _is_length(self, name: str, x: str) -> bool:
        """Return whether a tensor is the length of the vectors in `x`, limited from below or not."""
        for _ in range(8):
            operator, inputs = self.operator(name), self.inputs(name)
            if operator == "ReduceL2":
                return inputs[0] == x
            if operator in ("Clip", "Expand", "Identity", "Max", "Unsqueeze") or (operator in _ROOTS and inputs):
                name = inputs[0]
            elif operator == "Add" and any(each in self._constants for each in inputs):
                name = next(each for each in inputs if each not in self._constants)
            else:
                square = self.operator(inputs[0]) if operator == "ReduceSum" else operator
                source = self.inputs(inputs[0]) if operator == "ReduceSum" else inputs
                return (
                    (operator == "ReduceSumSquare" and inputs[0] == x)
                    or (operator == "ReduceSum" and square == "Mul" and source == [x, x])
                    or (operator == "ReduceSum" and square == "Pow" and source[0] == x)
                )
        return False
