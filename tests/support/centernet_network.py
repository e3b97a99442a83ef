"""A network in the forms of CenterNet's exports, with hand-made weights: it finds one-cell squares by their color.

Each class has a color of its own, three of the five levels of `LEVELS`. Cells are 4x4 averages; fifteen features say
how near each color channel is to each level (1 at the level, 0 from the next one on), and every head is a 1x1
convolution of them. So boxes, landmarks and embeddings differ between classes, and `Expected` computes them from the
weights alone. It needs neither torch nor the exporter.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fairmot.core.class_names import default_class_names
from fairmot.engine.preprocessing import CENTERNET, Preprocessing, metadata_of

SIZE = (96, 64)
STRIDE = 4
LEVELS = np.array([0, 64, 128, 191, 255], np.uint8)
SLOPE = 255 / 63  # the nearest two levels
GAIN = 8.0  # the score of a class's color is sigmoid(GAIN / 2), of a color one level off sigmoid(-GAIN / 2)
MOST_CLASSES = 124

_COLORS = np.random.default_rng(2).permutation([color for color in product(range(5), repeat=3) if any(color)])


@dataclass(frozen=True)
class Kind:
    """Which of CenterNet's forms the network has.

    Attributes:
        classes: channels of the heatmap, at most `MOST_CLASSES`.
        class_boxes: width and height of every class (`cat_spec_wh`) instead of one pair for all.
        offset: a head for the offset; without it the graph computes 0.5 in the shape of the heatmap.
        embedding: channels of the embedding, 0 without.
        landmarks: points of an object, 0 without. With any, sizes are logarithms and points are fractions of the box,
            as CenterFace has them.
        raw: the heatmap is logits without peak suppression, the embedding of any length.
        preprocessing: of the images, for the weights of the first layer and the metadata.
    """

    classes: int = 3
    class_boxes: bool = False
    offset: bool = True
    embedding: int = 0
    landmarks: int = 0
    raw: bool = False
    preprocessing: Preprocessing = CENTERNET


class _Builder:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str, output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=f"node_{output}", **attributes))
        return output

    def constant(self, name: str, values: object, dtype: type = np.float32) -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def conv(self, x: str, name: str, weight: np.ndarray, bias: np.ndarray, output: str) -> str:
        parts = [self.constant(f"{name}.weight", weight[..., None, None]), self.constant(f"{name}.bias", bias)]
        return self.add("Conv", x, *parts, output=output, kernel_shape=[1, 1])


def build(kind: Kind = Kind(), size: tuple[int, int] = SIZE) -> onnx.ModelProto:
    """Build the network; `size` is the default input in the metadata."""
    make = _Builder()
    heads = head_weights(kind)
    features = _features(make, kind.preprocessing)
    logits = make.conv(features, "hm", *heads["hm"], output="heatmap" if kind.raw else "logits")
    if not kind.raw:
        scores = make.add("Sigmoid", logits, output="scores")
        greatest = make.add("MaxPool", scores, output="greatest", kernel_shape=[3, 3], pads=[1] * 4)
        is_peak = make.add("Equal", scores, greatest, output="is_peak")
        make.add("Where", is_peak, scores, make.constant("zero", 0), output="heatmap")
    sizes = make.conv(features, "wh", *heads["wh"], output="wh")
    if kind.landmarks:
        sizes = make.add("Exp", sizes, output="sizes")
    half = make.add("Mul", sizes, make.constant("one_half", 0.5), output="half_sizes")
    if kind.class_boxes:
        # Width and height of each class twice, one class after the other.
        order = np.arange(2 * kind.classes).reshape(-1, 1, 2).repeat(2, axis=1).reshape(-1)
        make.add("Gather", half, make.constant("box_order", order, np.int64), output="box", axis=1)
    else:
        make.add("Concat", half, half, output="box", axis=1)
    if kind.offset:
        make.conv(features, "reg", *heads["reg"], output="offset")
    else:
        _computed_offset(make, logits)
    if kind.embedding:
        vectors = make.conv(features, "id", *heads["id"], output="embedding" if kind.raw else "vectors")
        if not kind.raw:
            axis = make.constant("channel_axis", [1], np.int64)
            length = make.add("ReduceL2", vectors, axis, output="length", keepdims=1)
            length = make.add("Clip", length, make.constant("least", 1e-12), output="safe_length")
            make.add("Div", vectors, length, output="embedding")
    if kind.landmarks:
        points = make.conv(features, "lm", *heads["lm"], output="points")
        centered = make.add("Sub", points, make.constant("middle", 0.5), output="centered")
        many = make.add("Concat", *[sizes] * kind.landmarks, output="many_sizes", axis=1)
        make.add("Mul", centered, many, output="landmarks")
    return _model(make, kind, size)


def save(path: Path, kind: Kind = Kind(), size: tuple[int, int] = SIZE) -> Path:
    onnx.save(build(kind, size), path)
    return path


def color_of(class_id: int) -> tuple[int, int, int]:
    """Return the color, in BGR, that the network finds as this class."""
    blue, green, red = (int(level) for level in LEVELS[_COLORS[class_id]])
    return blue, green, red


def head_weights(kind: Kind) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return weight `(channels, 15)` and bias of every head."""
    random = np.random.default_rng(7)

    def head(channels: int, bias: float, spread: float) -> tuple[np.ndarray, np.ndarray]:
        weight = random.uniform(-spread, spread, (channels, 15)).astype(np.float32)
        return weight, np.full(channels, bias, np.float32)

    wanted = _levels(_COLORS[: kind.classes])
    heads = {
        "hm": (GAIN * wanted, np.full(kind.classes, -2.5 * GAIN, np.float32)),
        "wh": head(2 * kind.classes if kind.class_boxes else 2, 1.2 if kind.landmarks else 4, 0.3),
        "reg": head(2, 0.5, 0.15),
        "id": head(kind.embedding, 0, 1),
        "lm": head(2 * kind.landmarks, 0.5, 0.2),
    }
    return {name: (weight.astype(np.float32), bias) for name, (weight, bias) in heads.items()}


@dataclass(frozen=True)
class Expected:
    """What the network says of a square, in cells.

    Attributes:
        score: of its class.
        tlbr: `(4,)`.
        embedding: `(d,)`, of length 1.
        landmarks: `(k, 2)`.
    """

    score: float
    tlbr: np.ndarray
    embedding: np.ndarray
    landmarks: np.ndarray

    @classmethod
    def of(cls, kind: Kind, class_id: int, column: int, row: int) -> Expected:
        """Compute it for the color of a class in a cell."""
        features = _levels(_COLORS[class_id : class_id + 1])[0]
        values = {name: weight @ features + bias for name, (weight, bias) in head_weights(kind).items()}
        sizes = values["wh"].reshape(-1, 2)[class_id if kind.class_boxes else 0]
        if kind.landmarks:
            sizes = np.exp(sizes)
        center = np.array([column, row]) + (values["reg"] if kind.offset else 0.5)
        tlbr = np.concatenate([center - sizes / 2, center + sizes / 2])
        vector = values["id"]
        points = center + (values["lm"].reshape(-1, 2) - 0.5) * sizes
        return cls(float(1 / (1 + np.exp(-GAIN / 2))), tlbr, vector / max(np.linalg.norm(vector), 1e-12), points)


def _levels(colors: np.ndarray) -> np.ndarray:
    """Return the fifteen features of exact colors `(n, 3)`, given by their levels."""
    return (colors[:, :, None] == np.arange(5)).reshape(len(colors), 15).astype(np.float32)


def _features(make: _Builder, preprocessing: Preprocessing) -> str:
    """Features `1 - SLOPE |x - level|`, at least 0, of the channels in the order blue, green, red."""
    cells = make.add("AveragePool", "images", output="cells", kernel_shape=[STRIDE] * 2, strides=[STRIDE] * 2)
    steps = np.repeat(SLOPE * np.eye(3), 5, axis=0)
    levels = SLOPE * np.tile(LEVELS / 255, 3)
    if preprocessing.channel_order == "rgb":
        steps = steps[:, ::-1]
    weight, bias = steps * preprocessing.std, steps @ preprocessing.mean - levels
    sides = np.concatenate([weight, -weight]), np.concatenate([bias, -bias])
    distances = make.add("Relu", make.conv(cells, "sides", *sides, output="sides"), output="distances")
    both = np.concatenate([np.eye(15), np.eye(15)], axis=1)
    near = make.conv(distances, "near", -both, np.ones(15), output="near")
    return make.add("Relu", near, output="features")


def _computed_offset(make: _Builder, source: str) -> None:
    """0.5 everywhere, as an exporter writes `full` of a shape that it computes."""
    shape = make.add("Shape", source, output="shape")
    parts = [
        make.add("Gather", shape, make.constant(f"axis{axis}", [axis], np.int64), output=f"length{axis}")
        for axis in (0, 2, 3)
    ]
    two = make.constant("two", [2], np.int64)
    target = make.add("Concat", parts[0], two, *parts[1:], output="offset_shape", axis=0)
    make.add("Expand", make.constant("cell_middle", 0.5), target, output="offset")


def _model(make: _Builder, kind: Kind, size: tuple[int, int]) -> onnx.ModelProto:
    channels = {
        "heatmap": kind.classes,
        "box": 4 * kind.classes if kind.class_boxes else 4,
        "offset": 2,
        "embedding": kind.embedding,
        "landmarks": 2 * kind.landmarks,
    }
    graph = helper.make_graph(
        make.nodes,
        "centernet",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", count, "rows", "columns"])
            for name, count in channels.items()
            if count
        ],
        make.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    facts = metadata_of(
        kind.preprocessing,
        architecture="squares",
        size=size,
        stride=STRIDE,
        size_multiple=32,
        class_names=default_class_names(kind.classes),
        raw_heads=kind.raw,
    )
    helper.set_model_props(model, facts)
    onnx.checker.check_model(model, full_check=True)
    return model
