"""A small annotated set with known content, and heads that hold exactly its objects.

Objects are placed so that no two centers share a cell, with centers that are not in the middle of their boxes; the
positions in the network's input are computed here by the formulas of FairMOT, CenterNet and tensorRT_Pro.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fairmot.engine.decode import HeadOutputs
from fairmot.engine.model import ModelInfo

NAMES = ("person", "car", "dog")
CATEGORY_IDS = {"dog": 18, "person": 1, "tree": 7, "car": 3}  # in another order, and one that the model lacks
INPUT = (128, 128)
SIZES = ((160, 121), (97, 140), (128, 128), (61, 45))
STEP = 26  # pixels between centers

Forward = Callable[[tuple[int, int]], tuple[float, float, float, float, tuple[int, int]]]


@dataclass
class Object:
    class_id: int
    center: tuple[float, float]  # source pixels
    sides: tuple[float, float, float, float]  # left, top, right, bottom
    score: float
    is_annotated: bool = True

    @property
    def bbox(self) -> list[float]:
        (x, y), (left, top, right, bottom) = self.center, self.sides
        return [x - left, y - top, left + right, top + bottom]


@dataclass
class Scene:
    size: tuple[int, int]
    objects: list[Object] = field(default_factory=list)
    crowds: list[tuple[int, list[float]]] = field(default_factory=list)  # class and box


def scenes(seed: int = 4) -> list[Scene]:
    """Objects on a jittered grid; the first image has a crowd in which things are found that are not annotated."""
    random = np.random.default_rng(seed)
    found = []
    for size in SIZES:
        scene = Scene(size)
        for y in np.arange(8, size[1] - 8, STEP):
            for x in np.arange(8, size[0] - 8, STEP):
                center = (float(x + random.uniform(0, 8)), float(y + random.uniform(0, 8)))
                sides = tuple(random.uniform(5, 20, 4).tolist())
                scene.objects.append(Object(int(random.integers(3)), center, sides, float(random.uniform(0.5, 0.95))))
        found.append(scene)
    crowd = [100.0, 60.0, 55.0, 50.0]
    for each in found[0].objects:
        if 105 < each.center[0] < 150 and 65 < each.center[1] < 105:
            each.class_id, each.is_annotated = 0, False
            each.sides, each.score = (4.0, 4.0, 4.0, 4.0), 0.97
    found[0].crowds.append((0, crowd))
    assert sum(not each.is_annotated for each in found[0].objects) >= 2
    return found


def write_set(folder: Path, content: Iterable[Scene], **changes: Any) -> Path:
    """Write images and annotations; return the annotation file."""
    images, annotations = [], []
    (folder / "images").mkdir(parents=True)
    for number, scene in enumerate(content):
        name = f"{number:03}.png"
        cv2.imwrite(str(folder / "images" / name), np.full((scene.size[1], scene.size[0], 3), 90, np.uint8))
        images.append({"id": 500 + number, "file_name": name, "width": scene.size[0], "height": scene.size[1]})
        boxes = [(each.class_id, each.bbox, 0) for each in scene.objects if each.is_annotated]
        boxes += [(class_id, box, 1) for class_id, box in scene.crowds]
        for class_id, box, is_crowd in boxes:
            annotations.append(
                {
                    "id": len(annotations),  # from 0, which COCOeval takes for no match
                    "image_id": 500 + number,
                    "category_id": CATEGORY_IDS[NAMES[class_id]],
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": is_crowd,
                }
            )
    categories = [{"id": id_, "name": name} for name, id_ in CATEGORY_IDS.items()]
    data = {"images": images, "annotations": annotations, "categories": categories} | changes
    path = folder / "annotations.json"
    path.write_text(json.dumps({key: value for key, value in data.items() if value is not None}))
    return path


def model_of(
    resize: str = "linear", *, raw: bool = False, class_boxes: bool = False, size: tuple[int, int] = INPUT
) -> ModelInfo:
    return ModelInfo(
        path=Path("made.onnx"), size=size, architecture="made", stride=4, size_multiple=32, channel_order="bgr",
        mean=(0.4, 0.4, 0.4), std=(0.3, 0.3, 0.3), border=128 if resize == "area" else 0, class_names=NAMES,
        raw_heads=raw, embedding_size=0, resize=resize, class_boxes=class_boxes,
    )  # fmt: skip


def fixed(resize: str, size: tuple[int, int] = INPUT, factor: float = 1.0) -> Forward:
    """Scale x, y and shift x, y from pixels of an image to those of a fixed input, at a scale of the image."""

    def forward(source: tuple[int, int]) -> tuple[float, float, float, float, tuple[int, int]]:
        ratio = min(size[0] / source[0], size[1] / source[1])
        scales, shifts = [], []
        for side, own in zip(size, source, strict=True):
            if resize == "area":
                resized = round(round(own * ratio) * factor)
                scales.append(resized / own)
                shifts.append(round((side - resized) / 2 - 0.1))
                continue
            copy = own if factor == 1 else int(own * factor)
            scales.append(ratio * copy / own)
            half = (ratio - 1) / 2 if resize == "linear-centered" else 0.0
            shifts.append(side / 2 - ratio * copy / 2 + half)
        return scales[0], scales[1], shifts[0], shifts[1], size

    return forward


def kept(factor: float = 1.0) -> Forward:
    """The same at an image's own resolution."""

    def forward(source: tuple[int, int]) -> tuple[float, float, float, float, tuple[int, int]]:
        copy = tuple(int(own * factor) for own in source)
        size = tuple((own | 31) + 1 for own in copy)
        scales = [own / side for own, side in zip(copy, source, strict=True)]
        shifts = [(side / 2) - own // 2 for side, own in zip(size, copy, strict=True)]
        return scales[0], scales[1], shifts[0], shifts[1], (size[0], size[1])

    return forward


class MadeHeads:
    """A network that returns the heads of one scene after the other, each at all scales; see `HeadsNetwork`."""

    description = "made heads"

    def __init__(self, model: ModelInfo, content: Iterable[Scene], forwards: Iterable[Forward]) -> None:
        self.model = model
        self._waiting = deque((scene, forward) for scene in content for forward in forwards)

    def __call__(self, images: np.ndarray) -> HeadOutputs[np.ndarray]:
        scene, forward = self._waiting.popleft()
        heatmap, box, offset = heads_of(scene, forward, images.shape[:1:-1], self.model.class_boxes)
        parts = [(heatmap, box, offset)]
        if len(images) == 2:
            assert np.array_equal(images[0], images[1][..., ::-1])
            mirrored = (heatmap[..., ::-1], box[:, [2, 1, 0, 3], :, ::-1], offset[..., ::-1])
            parts.append(mirrored)
        heatmap, box, offset = (np.stack(each) for each in zip(*parts, strict=True))
        if self.model.raw_heads:
            heatmap = np.log(np.maximum(heatmap, 1e-6) / (1 - heatmap))
        return HeadOutputs(heatmap, box.reshape(len(images), -1, *box.shape[3:]), offset)


def heads_of(
    scene: Scene, forward: Forward, size: tuple[int, ...], class_boxes: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return heatmap, box `(boxes, 4, rows, columns)` and offset that hold a scene's objects inside the input."""
    scale_x, scale_y, shift_x, shift_y, expected = forward(scene.size)
    assert tuple(size) == expected
    columns, rows = size[0] // 4, size[1] // 4
    heatmap = np.zeros((len(NAMES), rows, columns), np.float32)
    box = np.full((len(NAMES) if class_boxes else 1, 4, rows, columns), 9.0, np.float32)
    offset = np.zeros((2, rows, columns), np.float32)
    for each in sorted(scene.objects, key=lambda each: each.score):
        x, y = (each.center[0] * scale_x + shift_x) / 4, (each.center[1] * scale_y + shift_y) / 4
        column, row = int(np.floor(x)), int(np.floor(y))
        if 0 <= column < columns and 0 <= row < rows:
            heatmap[each.class_id, row, column] = each.score
            box[each.class_id if class_boxes else 0, :, row, column] = (
                np.array(each.sides) * [scale_x, scale_y, scale_x, scale_y] / 4
            )
            offset[:, row, column] = x - column, y - row
    return heatmap, box, offset
