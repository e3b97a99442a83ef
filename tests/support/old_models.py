"""Small CenterNet, FairMOT and CenterFace networks as other exporters wrote them, and what they find, in NumPy.

Nodes are written by hand from the exporters' own code, not by this project's writers. The reference computes the
network in float64 by the definition of the deformable convolution and decodes it by the layouts' original semantics,
with loops over the cells.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from support.dcn_reference import deform_conv

SIZE = (64, 48)
STRIDE = 4
LAYOUTS = ("concat", "logits", "fairmot", "pooled", "centerface")
OPERATORS = ("DCNv2", "DCNv2_2", "Plugin", "DeformableConv2D", "DeformConv")
PARTS = {
    "concat": ("reg", "wh", "hm"),
    "logits": ("hm", "reg", "wh"),
    "fairmot": ("hm", "wh", "reg", "id"),
    "pooled": ("hm", "wh", "reg", "id"),
    "centerface": ("hm", "wh", "reg", "landmarks"),
}
WIDTH = 8  # channels of the network


@dataclass(frozen=True)
class OldModel:
    """A file and its meaning.

    Attributes:
        operator: of the deformable convolution.
        layout: of the outputs, one of `LAYOUTS`.
        classes: channels of hm.
        wh: channels of wh.
        has_reg: whether there is a reg.
        is_fixed: whether the input has the size `SIZE` and one image, as old exporters write it.
        opset: version of the standard operators.
        domain: of the deformable convolution.
        names: of the outputs, if not the usual ones.
    """

    operator: str = "DCNv2"
    layout: str = "logits"
    classes: int = 3
    wh: int = 2
    has_reg: bool = True
    is_fixed: bool = True
    opset: int = 11
    domain: str = ""
    names: tuple[str, ...] = ()

    @property
    def channels(self) -> dict[str, int]:
        """Channels of every head."""
        classes = 1 if self.layout == "centerface" else self.classes
        every = {"hm": classes, "wh": self.wh, "reg": 2, "id": 6, "landmarks": 10}
        return {part: every[part] for part in PARTS[self.layout] if part != "reg" or self.has_reg}

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """All weights, exact in half precision; lively: offsets of pixels, scores from 0.1 to 0.9."""
        random = np.random.default_rng(8)
        shapes = {"stem": (WIDTH, 3, 4, 4), "predict": (27, WIDTH, 3, 3), "dcn": (WIDTH, WIDTH, 3, 3)}
        shapes |= {part: (count, WIDTH, 1, 1) for part, count in self.channels.items()}
        found = {}
        for name, shape in shapes.items():
            gain = {"hm": 6.0, "wh": 0.5 if self.layout == "centerface" else 2.0}.get(name, 1.5)
            found[f"{name}.weight"] = random.normal(scale=gain / np.sqrt(np.prod(shape[1:])), size=shape)
            found[f"{name}.bias"] = random.normal(scale=0.3, size=shape[0])
        if self.layout == "centerface":  # pixels are 0 to 255
            found["stem.weight"] /= 255
        return {name: value.astype(np.float16).astype(np.float32) for name, value in found.items()}

    def build(self) -> onnx.ModelProto:
        """Return the file."""
        nodes: list[onnx.NodeProto] = []
        constants: dict[str, np.ndarray] = dict(self.weights)

        def add(operator: str, *inputs: str, outputs: tuple[str, ...], **attributes: Any) -> str:
            nodes.append(helper.make_node(operator, list(inputs), list(outputs), **attributes))
            return outputs[0]

        def conv(x: str, name: str, pads: int = 0, stride: int = 1, output: str = "") -> str:
            settings = {"pads": [pads] * 4, "strides": [stride] * 2}
            return add("Conv", x, f"{name}.weight", f"{name}.bias", outputs=(output or f"{name}_out",), **settings)

        x = add("Relu", conv("images", "stem", stride=STRIDE), outputs=("stem_relu",))
        predicted = conv(x, "predict", 1)
        if self.operator == "DeformConv":  # of opset 19
            constants["thirds"] = np.int64([9, 9, 9])
            add("Split", predicted, "thirds", outputs=("o1", "o2", "logits"), axis=1)
        else:
            add("Split", predicted, outputs=("o1", "o2", "logits"), axis=1, split=[9, 9, 9])
        offset = add("Concat", "o1", "o2", outputs=("offset",), axis=1)
        mask = add("Sigmoid", "logits", outputs=("mask",))
        weights = ("dcn.weight", "dcn.bias")
        own: dict[str, Any] = {"outputs": ("dcn_out",), "domain": self.domain}
        if self.operator == "DCNv2":  # nothing stated: everything is 1
            add("DCNv2", x, offset, mask, *weights, **own)
        elif self.operator == "DCNv2_2":
            pairs = {name: [1, 1] for name in ("stride", "padding", "dilation")}
            add("DCNv2_2", x, offset, mask, *weights, deformable_groups=1, **pairs, **own)
        elif self.operator == "Plugin":
            info = {"stride": [1, 1], "padding": [1, 1], "dilation": 1, "deformable_groups": 1}
            add("Plugin", x, predicted, *weights, info=json.dumps(info), **own)
            nodes[-1].attribute.append(helper.make_attribute("name", "DCNv2"))  # no argument of make_node
        elif self.operator == "DeformableConv2D":
            for name, first in (("dy", 0), ("dx", 1)):
                constants[f"{name}_taps"] = np.arange(first, 18, 2)
                add("Gather", offset, f"{name}_taps", outputs=(name,), axis=1)
            add("Concat", "dx", "dy", mask, outputs=("moves",), axis=1)
            settings = {"strides": [1, 1], "pads": [1, 1, 1, 1], "dilations": [1], "groups": 1, "deformable_groups": 1}
            add("DeformableConv2D", x, weights[0], "moves", weights[1], **settings, **own)
        else:
            add("DeformConv", x, weights[0], offset, weights[1], mask, pads=[1] * 4, **own)
        x = add("Relu", "dcn_out", outputs=("features",))
        raw = {part: conv(x, part, output=f"{part}_raw") for part in self.channels}
        outputs = self._finish(add, raw, constants)
        if self.names:
            for node in nodes:
                for index, name in enumerate(node.output):
                    if name in outputs:
                        node.output[index] = self.names[outputs.index(name)]
            outputs = list(self.names)
        shape = [1, 3, SIZE[1], SIZE[0]] if self.is_fixed else ["n", 3, "h", "w"]
        tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
        graph = helper.make_graph(
            nodes,
            "old",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            tensors,
        )
        opset = 19 if self.operator == "DeformConv" else self.opset
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=6)
        if self.domain:
            model.opset_import.append(helper.make_opsetid(self.domain, 1))
        return model

    def _finish(self, add: Any, raw: dict[str, str], constants: dict[str, np.ndarray]) -> list[str]:
        """Add what the layout adds to the heads and return the outputs."""
        pool = {"kernel_shape": [3, 3], "pads": [1] * 4, "strides": [1, 1]}
        if self.layout == "concat":
            pooled = add("MaxPool", raw["hm"], outputs=("pooled",), **pool)
            joined = add("Concat", raw["reg"], raw["wh"], raw["hm"], pooled, outputs=("joined",), axis=1)
            cells = SIZE[0] * SIZE[1] // STRIDE**2 if self.is_fixed else -1
            constants["flat"] = np.int64([-1 if self.is_fixed else 0, 4 + 2 * self.classes, cells])
            flat = add("Reshape", joined, "flat", outputs=("flattened",))
            return [add("Transpose", flat, outputs=("output",), perm=[0, 2, 1])]
        if self.layout in ("logits", "fairmot"):
            names = {part: "id_feature" if part == "id" else part for part in raw}
            return [add("Identity", raw[part], outputs=(name,)) for part, name in names.items()]
        scores = add("Sigmoid", raw["hm"], outputs=("hm",))
        rest = [add("Identity", raw[part], outputs=(part,)) for part in ("wh", "reg")]
        if self.layout == "centerface":
            return [scores, *rest, add("Identity", raw["landmarks"], outputs=("landmarks",))]
        pooled = add("MaxPool", scores, outputs=("hm_pool",), **pool)
        length = add("ReduceL2", raw["id"], outputs=("length",), axes=[1], keepdims=1)
        length = add("Clip", length, "tiny", outputs=("clipped",))
        constants["tiny"] = np.float32(1e-12)
        constants["full"] = np.int64([1, 6, SIZE[1] // STRIDE, SIZE[0] // STRIDE])
        length = add("Expand", length, "full", outputs=("expanded",)) if self.is_fixed else length
        unit = add("Div", raw["id"], length, outputs=("unit",))
        return [scores, *rest, pooled, add("Transpose", unit, outputs=("id_feature",), perm=[0, 2, 3, 1])]

    def save(self, path: Path) -> Path:
        onnx.save(self.build(), path)
        return path

    def images(self, count: int, size: tuple[int, int] = SIZE) -> np.ndarray:
        """Return random images as the network takes them, `(n, 3, height, width)`."""
        images = np.random.default_rng(1).random((count, 3, size[1], size[0]), np.float32)
        return images * np.float32(255) if self.layout == "centerface" else images

    def heads(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Return the raw heads `(n, channels, rows, columns)` in float64."""
        w = self.weights

        def conv(x: np.ndarray, name: str, pads: int = 0, stride: int = 1) -> np.ndarray:
            kernel = w[f"{name}.weight"].shape[2:]
            rows, columns = ((side + 2 * pads - k) // stride + 1 for side, k in zip(x.shape[2:], kernel, strict=True))
            still = np.zeros((len(x), 2 * kernel[0] * kernel[1], rows, columns))
            parts = (w[f"{name}.weight"], w[f"{name}.bias"])
            return deform_conv(x, still, None, *parts, strides=(stride, stride), pads=(pads,) * 4)

        x = np.maximum(conv(images, "stem", stride=STRIDE), 0)
        predicted = conv(x, "predict", 1)
        mask = 1 / (1 + np.exp(-predicted[:, 18:]))
        y = deform_conv(x, predicted[:, :18], mask, w["dcn.weight"], w["dcn.bias"], pads=(1, 1, 1, 1))
        return {part: conv(np.maximum(y, 0), part) for part in self.channels}

    def detections(self, images: np.ndarray, threshold: float) -> list[list[tuple[np.ndarray, ...]]]:
        """Return, for each image, `(score, class, box in pixels, embedding, landmarks in pixels)` by falling score."""
        heads = self.heads(images)
        scores = 1 / (1 + np.exp(-heads["hm"]))
        padded = np.pad(scores, ((0, 0), (0, 0), (1, 1), (1, 1)))
        found = []
        for image in range(len(images)):
            own = []
            for kind, row, column in np.argwhere(scores[image] > threshold):
                score = scores[image, kind, row, column]
                if score < padded[image, kind, row : row + 3, column : column + 3].max():
                    continue
                at = {part: values[image, :, row, column] for part, values in heads.items()}
                box, landmarks = self._box(at, int(kind), column, row)
                vector = at["id"] / np.linalg.norm(at["id"]) if "id" in at else np.zeros(0)
                own.append((score, kind, box, vector, landmarks))
            found.append(sorted(own, key=lambda each: -each[0]))
        return found

    def _box(self, at: dict[str, np.ndarray], kind: int, column: int, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the box left, top, right, bottom and the landmarks `(k, 2)` of a cell."""
        reg = at.get("reg", np.full(2, 0.5))
        if self.layout == "centerface":
            w, h = np.exp(at["wh"][1]) * 4, np.exp(at["wh"][0]) * 4
            left, top = (column + reg[1] + 0.5) * 4 - w / 2, (row + reg[0] + 0.5) * 4 - h / 2
            points = [(left + at["landmarks"][2 * k + 1] * w, top + at["landmarks"][2 * k] * h) for k in range(5)]
            return np.array([left, top, left + w, top + h]), np.array(points)
        x, y = column + reg[0], row + reg[1]
        wh = at["wh"]
        if self.wh == 4:
            box = np.array([x - wh[0], y - wh[1], x + wh[2], y + wh[3]])
        else:
            w, h = wh if self.wh == 2 else wh[2 * kind : 2 * kind + 2]
            box = np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
        return 4 * box, np.zeros((0, 2))


def read_detections(outputs: dict[str, np.ndarray], threshold: float) -> list[list[tuple[np.ndarray, ...]]]:
    """Return what `OldModel.detections` does, read from the outputs of a file of this project."""
    found = []
    heatmap, boxes = outputs["heatmap"], outputs["box"]
    for image in range(len(heatmap)):
        own = []
        for kind, row, column in np.argwhere(heatmap[image] > threshold):
            at = {name: values[image, :, row, column] for name, values in outputs.items()}
            center = np.array([column, row]) + at["offset"]
            first = 4 * kind if boxes.shape[1] > 4 else 0
            left, top, right, bottom = at["box"][first : first + 4]
            box = 4 * np.array([center[0] - left, center[1] - top, center[0] + right, center[1] + bottom])
            landmarks = 4 * (center + at["landmarks"].reshape(-1, 2)) if "landmarks" in at else np.zeros((0, 2))
            score = heatmap[image, kind, row, column]
            own.append((score, kind, box, at.get("embedding", np.zeros(0)), landmarks))
        found.append(sorted(own, key=lambda each: -each[0]))
    return found


def assert_detections_near(
    found: list[list[tuple[np.ndarray, ...]]], wanted: list[list[tuple[np.ndarray, ...]]], pixels: float = 0.5
) -> None:
    """Check that every wanted detection has a partner: of half precision, where neighbors may change their order."""
    for image, expected in zip(found, wanted, strict=True):
        assert len(expected) > 3
        for score, kind, box, vector, landmarks in expected:
            others = [each for each in image if each[1] == kind and each[0] > score - 0.02]
            apart = [float(np.abs(each[2] - box).max()) for each in others]
            assert apart, (score, kind, box)
            near = others[int(np.argmin(apart))]
            assert min(apart) < pixels, (score, kind, box, near)
            assert abs(near[0] - score) < 0.02
            np.testing.assert_allclose(near[3], vector, atol=0.02)
            np.testing.assert_allclose(near[4], landmarks, atol=2 * pixels)
