"""Heads of a foreign network finished in the graph: the outputs that `fairmot.engine.decode` describes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from fairmot.engine.graph.graph import Graph
from fairmot.engine.model import EMBEDDING, INPUT, LANDMARKS, OUTPUTS
from fairmot.export.foreign.heads import Head
from fairmot.export.foreign.recognize import Layout

_NAMES = (INPUT, *OUTPUTS, EMBEDDING, LANDMARKS)
_PREFIX = "finished/"


def finish(graph: Graph, layout: Layout, is_centerface: bool) -> None:
    """Let a graph return finished heads, with batch, height and width left open.

    The heatmap passes the sigmoid unless it did, and keeps the cells that equal their 3x3 maximum ("Objects as Points",
    section 4). Width and height become half of them to each side of the center (CenterNet, `ctdet_decode`). The
    embedding is divided by its length (FairMOT, section 3.3). CenterFace (`prj-python/centerface.py`, `decode`): its
    size is a logarithm, height first; its offset is y, x from the middle of a cell; its landmarks are y, x from the
    upper left corner in heights and widths.

    Args:
        graph: with the operators of the network; what only its outputs need is removed.
        layout: its heads.
        is_centerface: whether they mean what CenterFace's do.
    """
    head = dict(layout.heads)
    renamed = _free_names(graph)
    adding = _Nodes(graph, renamed)
    scores = adding.source(head["hm"])
    if not head["hm"].is_finished:
        scores = adding.add("Sigmoid", scores)
    greatest = adding.add("MaxPool", scores, kernel_shape=[3, 3], pads=[1] * 4, strides=[1, 1])
    is_peak = adding.add("Equal", scores, greatest)
    adding.add("Where", is_peak, scores, adding.number(0), output=OUTPUTS[0])

    size = adding.source(head["wh"])
    if is_centerface:
        size = adding.channels(adding.add("Exp", size), [1, 0])
    channels = head["wh"].channels
    is_distances = channels == 4 and not is_centerface
    if is_distances:
        adding.add("Identity", size, output="box")
    else:
        half = adding.add("Mul", size, adding.number(0.5))
        pairs = np.arange(channels).reshape(-1, 1, 2).repeat(2, axis=1)  # w, h of each class twice
        adding.channels(half, pairs.reshape(-1).tolist(), output="box")
    if "reg" not in head:  # the middle of each cell
        none = adding.add("Mul", adding.channels(size, [0, 1]), adding.number(0))
        adding.add("Add", none, adding.number(0.5), output="offset")
    elif is_centerface:
        offset = adding.channels(adding.source(head["reg"]), [1, 0])
        adding.add("Add", offset, adding.number(0.5), output="offset")
    else:
        adding.add("Identity", adding.source(head["reg"]), output="offset")
    counts = {OUTPUTS[0]: layout.classes, "box": 4 if is_distances else 2 * channels, "offset": 2}
    if "id" in head:
        vectors = adding.source(head["id"])
        length = adding.add("ReduceL2", vectors, adding.integers("axis", [1]), keepdims=1)
        length = adding.add("Max", length, adding.number(1e-12))
        adding.add("Div", vectors, length, output=EMBEDDING)
        counts[EMBEDDING] = head["id"].channels
    if "landmarks" in head:
        points = head["landmarks"].channels // 2
        swapped = adding.channels(adding.source(head["landmarks"]), np.arange(2 * points).reshape(-1, 2)[:, ::-1])
        centered = adding.add("Sub", swapped, adding.number(0.5))
        adding.add("Mul", centered, adding.channels(size, [0, 1] * points), output=LANDMARKS)
        counts[LANDMARKS] = 2 * points
    graph.nodes += adding.nodes
    shapes: dict[str, list[int | str | None]] = {
        name: ["batch", count, "rows", "columns"] for name, count in counts.items()
    }
    graph.outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    (images,) = graph.inputs
    graph.rename(images.name, INPUT)
    graph.inputs = [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", 3, "height", "width"])]
    graph.prune()


class _Nodes:
    """Nodes to be added to a graph.

    Args:
        graph: gets the constants.
        renamed: tensors that were renamed since the heads were recognized.
    """

    def __init__(self, graph: Graph, renamed: dict[str, str]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._graph = graph
        self._renamed = renamed

    def source(self, head: Head) -> str:
        """Return the tensor of a head as `(n, channels, rows, columns)`."""
        name = self._renamed.get(head.source, head.source)
        return self.add("Transpose", name, perm=[0, 3, 1, 2]) if head.is_last else name

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node and return the name of its result."""
        output = output or f"{_PREFIX}{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def channels(self, name: str, order: npt.ArrayLike, output: str = "") -> str:
        """Return some channels of a tensor, in an order."""
        indices = np.asarray(order).reshape(-1)
        return self.add("Gather", name, self.integers("channels", indices.tolist()), output=output, axis=1)

    def number(self, value: float) -> str:
        """Return a constant."""
        return self._graph.constant(f"{_PREFIX}{value:g}", value, np.float32)

    def integers(self, name: str, values: Sequence[int]) -> str:
        """Return a constant list of whole numbers."""
        return self._graph.constant(f"{_PREFIX}{name}", list(values), np.int64)


def _free_names(graph: Graph) -> dict[str, str]:
    """Rename inner tensors that have the name of an input or output of our files; return the new names."""
    names = {output for node in graph.nodes for output in node.output} | set(graph.constants)
    taken = [name for name in names if name in _NAMES or name.startswith(_PREFIX)]
    renamed = {name: f"source/{name}" for name in sorted(taken)}
    for node in graph.nodes:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    graph.constants = {renamed.get(name, name): array for name, array in graph.constants.items()}
    return renamed
