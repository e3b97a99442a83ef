"""A real network with hand-made weights that finds bright 4x4 squares, as the exporter would write it.

Cells are 4x4 averages. A DeformConv whose offsets are one row down and two columns right reads every cell's
neighbor, so a square in cell (r, c) peaks in cell (r - 1, c - 2); the offset head leads back to the middle of the
square. Mixed up offsets, taps or axes anywhere move the boxes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

BOX = (2.0, 4.0, 2.5, 3.0)  # left, top, right, bottom in cells
EMBEDDING_WEIGHT = np.random.default_rng(5).normal(size=(8, 3)).astype(np.float32)
GAIN, BRIGHT = 20.0, 0.75  # score = sigmoid(GAIN * (brightness - BRIGHT)); the gray border stays far below


def metadata(**changes: str) -> dict[str, str]:
    facts = {
        "format": "1",
        "architecture": "blobs",
        "stride": "4",
        "size": "96x64",
        "size_multiple": "32",
        "channel_order": "rgb",
        "mean": "0,0,0",
        "std": "1,1,1",
        "border": "128",
        "resize": "area",
        "class_names": json.dumps(["blob"]),
        "raw_heads": "0",
    }
    return facts | changes


def build(
    facts: dict[str, str] | None = None,
    *,
    cell: int = 4,
    raw: bool = False,
    without: Iterable[str] = (),
    input_shape: tuple[str | int, ...] = ("n", 3, "h", "w"),
    opset: int = 19,
) -> onnx.ModelProto:
    """Build the network: `cell` pixels per cell, `raw` heads, some outputs missing."""
    weights: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []

    def constant(name: str, values: object) -> str:
        weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def half(name: str, values: object) -> str:
        """A weight in float16 with a Cast to float32, as exported models store them."""
        weights.append(numpy_helper.from_array(np.asarray(values, np.float16), f"{name}_half"))
        return add("Cast", f"{name}_half", output=name, to=TensorProto.FLOAT)

    def add(operator: str, *inputs: str, output: str, **attributes: object) -> str:
        nodes.append(helper.make_node(operator, list(inputs), [output], name=output, **attributes))
        return output

    def constants_from(source: str, values: Iterable[float], output: str) -> str:
        """A map of constant channels, with the rows and columns of `source` (three channels)."""
        bias = np.array(list(values), np.float32)
        weight = half(f"{output}_weight", np.zeros((len(bias), 3, 1, 1)))
        return add("Conv", source, weight, constant(f"{output}_bias", bias), output=output)

    cells = add("AveragePool", "images", output="cells", kernel_shape=[cell, cell], strides=[cell, cell])
    center_tap = np.zeros((3, 3, 3, 3))
    center_tap[range(3), range(3), 1, 1] = 1
    colors = add(
        "DeformConv",
        cells,
        half("colors_weight", center_tap),
        constants_from(cells, [1.0, 2.0] * 9, "shifts"),
        "",
        constants_from(cells, [1.0] * 9, "mask"),
        output="colors",
        kernel_shape=[3, 3],
        pads=[1, 1, 1, 1],
    )
    brightness = half("brightness_weight", np.full((1, 3, 1, 1), GAIN / 3))
    logits = add("Conv", colors, brightness, constant("bias", np.float32([-GAIN * BRIGHT])), output="logits")
    if raw:
        add("Identity", logits, output="heatmap")
        add("Conv", colors, constant("embed", 3 * EMBEDDING_WEIGHT[..., None, None]), output="embedding")
    else:
        scores = add("Sigmoid", logits, output="scores")
        greatest = add("MaxPool", scores, output="greatest", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        is_peak = add("Equal", scores, greatest, output="is_peak")
        add("Where", is_peak, scores, constant("zero", np.float32(0)), output="heatmap")
        add("Conv", colors, constant("embed", EMBEDDING_WEIGHT[..., None, None]), output="vectors")
        length = add("ReduceL2", "vectors", constant("channels", np.int64([1])), output="length", keepdims=1)
        add("Div", "vectors", add("Max", length, constant("least", np.float32(1e-12)), output="l"), output="embedding")
    constants_from(cells, BOX, "box")
    constants_from(cells, (2.5, 1.5), "offset")

    channels = {"heatmap": 1, "box": 4, "offset": 2, "embedding": 8}
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", count, "rows", "columns"])
        for name, count in channels.items()
        if name not in without
    ]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, list(input_shape))
    graph = helper.make_graph(nodes, "blobs", [images], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    facts = metadata(raw_heads=str(int(raw))) if facts is None else facts
    helper.set_model_props(model, {f"fairmot.{key}": value for key, value in facts.items()})
    onnx.checker.check_model(model)
    return model


def save(path: Path, model: onnx.ModelProto | None = None) -> Path:
    onnx.save(build() if model is None else model, path)
    return path


def image_of(size: tuple[int, int], squares: dict[tuple[int, int], tuple[int, int, int]], cell: int = 4) -> np.ndarray:
    """Return a black BGR image with squares of one cell, `{(column, row): BGR color}`."""
    image = np.zeros((size[1], size[0], 3), np.uint8)
    for (column, row), color in squares.items():
        image[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell] = color
    return image


def expected_box(column: int, row: int) -> list[float]:
    """Return the position at which the network sees a square, in pixels of its input."""
    x, y = column + 0.5, row + 0.5
    left, top, right, bottom = BOX
    return [4 * (x - left), 4 * (y - top), 4 * (x + right), 4 * (y + bottom)]


def expected_embedding(bgr: tuple[int, int, int]) -> np.ndarray:
    vector = EMBEDDING_WEIGHT @ (np.float32(bgr[::-1]) / 255)
    return vector / np.linalg.norm(vector)


def expected_score(bgr: tuple[int, int, int]) -> float:
    return float(1 / (1 + np.exp(-GAIN * (np.mean(bgr) / 255 - BRIGHT))))
