"""Views of an image, averaging with the mirror image, and suppression, against CenterNet's arithmetic."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from support import blob_network, coco_set, tiny_network

from fairmot.app.coco.flip import average_mirrored, with_mirror_image
from fairmot.app.coco.geometry import view_of
from fairmot.app.coco.networks import OnnxNetwork
from fairmot.app.coco.settings import DetectionSettings
from fairmot.app.coco.suppression import nms, soft_nms
from fairmot.core.errors import ConfigError, ModelError
from fairmot.core.records import Detections
from fairmot.engine.decode import HeadOutputs, map_boxes, peaks
from fairmot.engine.letterbox import letterbox
from fairmot.engine.model import ModelInfo


def detections(boxes: list[list[float]], scores: list[float], class_ids: list[int] | None = None) -> Detections:
    ids = np.array(class_ids or [0] * len(scores), np.int64)
    return Detections(np.float32(boxes), np.float32(scores), ids, np.zeros((len(scores), 0), np.float32))


def noise(width: int, height: int) -> np.ndarray:
    image = np.random.default_rng(1).integers(0, 255, (height // 4 + 1, width // 4 + 1, 3), np.uint8)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)


def centernet_input(image: np.ndarray, scale: float, keep_res: bool) -> np.ndarray:
    """`pre_process` of CenterNet, with the affine from three points as `get_affine_transform` has it."""
    height, width = image.shape[:2]
    new_height, new_width = int(height * scale), int(width * scale)
    if keep_res:
        size = ((new_width | 31) + 1, (new_height | 31) + 1)
        center, span = (new_width // 2, new_height // 2), size[0]
    else:
        size, center, span = (128, 128), (new_width / 2, new_height / 2), max(height, width)
    source = np.float32([center, (center[0], center[1] - span / 2), (center[0] - span / 2, center[1] - span / 2)])
    middle = (size[0] / 2, size[1] / 2)
    target = np.float32([middle, (middle[0], middle[1] - size[0] / 2), (0, middle[1] - size[0] / 2)])
    resized = cv2.resize(image, (new_width, new_height))
    return cv2.warpAffine(resized, cv2.getAffineTransform(source, target), size, flags=cv2.INTER_LINEAR)


@pytest.mark.parametrize("keep_res", [False, True])
@pytest.mark.parametrize("scale", [1.0, 0.5, 0.75, 1.5])
@pytest.mark.parametrize("size", [(150, 97), (64, 96)])
def test_views_are_those_of_centernet(keep_res: bool, scale: float, size: tuple[int, int]) -> None:
    image = noise(*size)
    view = view_of(image, coco_set.model_of(), coco_set.INPUT, scale, keep_res)
    made = letterbox(view.image, view.geometry, border=0)
    expected = centernet_input(image, scale, keep_res)
    assert made.shape == expected.shape
    difference = np.abs(made.astype(int) - expected)
    assert difference.mean() < 0.2  # the two matrices differ in their last digits
    assert (difference > 2).mean() < 0.01


@pytest.mark.parametrize("resize", ["area", "linear", "linear-centered"])
def test_boxes_of_a_view_return_to_the_image(resize: str) -> None:
    image = noise(151, 97)
    forward = coco_set.fixed(resize, factor=0.7)
    scale_x, scale_y, shift_x, shift_y, _ = forward((151, 97))
    box = np.float32([[20, 30, 90, 70]])
    in_cells = (box * np.tile([scale_x, scale_y], 2) + np.tile([shift_x, shift_y], 2)) / 4
    view = view_of(image, coco_set.model_of(resize), coco_set.INPUT, 0.7, False)
    found = view.to_image(detections(in_cells.tolist(), [0.5]), 4)
    assert found.tlbr == pytest.approx(box, abs=1e-3)


def test_kept_pixels_are_not_resampled() -> None:
    image = noise(70, 45)
    view = view_of(image, coco_set.model_of("area"), coco_set.INPUT, 1.0, True)
    made = letterbox(view.image, view.geometry, border=128)
    assert made.shape == (64, 96, 3)
    left, top = 96 // 2 - 70 // 2, 64 // 2 - 45 // 2
    assert np.array_equal(made[top : top + 45, left : left + 70], image)
    assert (made[0] == 128).all()
    (box,) = map_boxes(np.float32([[12, 8, 13, 9]]), view.geometry, 4).tolist()
    assert box == [48 - left, 32 - top, 52 - left, 36 - top]


def test_a_side_that_is_a_multiple_already_grows_by_a_step() -> None:
    view = view_of(noise(64, 31), coco_set.model_of(), coco_set.INPUT, 1.0, True)
    assert view.geometry.target == (96, 32)


@pytest.mark.parametrize("classes", [1, 3])
def test_heads_are_averaged_with_the_mirrored_ones(classes: int) -> None:
    """Every class's box with its own, left with right."""
    random = np.random.default_rng(3)
    heat, offset = random.random((1, 3, 6, 8), np.float32), random.random((1, 2, 6, 8), np.float32)
    box = random.random((1, classes, 4, 6, 8), np.float32)
    mirrored = box[:, :, [2, 1, 0, 3]][..., ::-1] + np.float32(0.5)
    heads = HeadOutputs(
        np.concatenate([heat, heat[..., ::-1] * np.float32(0.5)]),
        np.concatenate([box, mirrored]).reshape(2, 4 * classes, 6, 8),
        np.concatenate([offset, offset + 1]),
    )
    found = average_mirrored(heads)
    assert found.heatmap == pytest.approx(heat * 0.75, rel=1e-5)
    assert found.box.reshape(box.shape) == pytest.approx(box + 0.25, rel=1e-5)
    assert np.array_equal(found.offset, offset)


def test_the_onnx_file_gives_the_scores_of_all_cells(tmp_path: Path) -> None:
    model = ModelInfo.read(tiny_network.save(tmp_path / "tiny.onnx", tiny_network.build(classes=3)))
    images = with_mirror_image(np.random.default_rng(2).normal(size=(1, 3, 64, 96)).astype(np.float32))
    plain, every = OnnxNetwork(model)(images), OnnxNetwork(model, all_cells=True)(images)
    assert (every.heatmap > 0).all()
    assert not (plain.heatmap > 0).all()
    for number in range(2):
        assert np.array_equal(peaks(every.heatmap[number]), plain.heatmap[number])
    assert np.array_equal(every.box, plain.box)


def test_a_file_whose_peaks_are_kept_otherwise_cannot_be_flipped(tmp_path: Path) -> None:
    graph = blob_network.build()
    where = next(node for node in graph.graph.node if node.op_type == "Where")
    where.op_type, where.input[:] = "Mul", ["scores", "scores"]
    model = ModelInfo.read(blob_network.save(tmp_path / "odd.onnx", graph))
    OnnxNetwork(model)
    with pytest.raises(ModelError, match="does not keep peaks by a Where"):
        OnnxNetwork(model, all_cells=True)


def soft_nms_by_hand(boxes: list[list[float]], scores: list[float]) -> list[tuple[float, int]]:
    """The Gaussian form box by box; returns score and number of the boxes that are left."""

    def overlap(a: list[float], b: list[float]) -> float:
        width, height = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) + 1 for i in (0, 1))
        areas = sum((box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b))
        return width * height / (areas - width * height) if width > 0 and height > 0 else 0.0

    left, found = dict(enumerate(scores)), []
    while left:
        best = max(left, key=lambda number: left[number])
        found.append((left.pop(best), best))
        for number in list(left):
            common = overlap(boxes[best], boxes[number])
            left[number] *= math.exp(-(common**2) / 0.5)
            if common and left[number] < 0.001:
                del left[number]
    return sorted(found, reverse=True)


def test_soft_nms_is_that_of_the_paper() -> None:
    random = np.random.default_rng(6)
    corners = random.uniform(0, 30, (60, 2))
    boxes = np.concatenate([corners, corners + random.uniform(5, 25, (60, 2))], axis=1).round(1).tolist()
    scores = (random.uniform(0, 1, 60) ** 3).round(4).tolist()
    found = soft_nms(detections(boxes, scores))
    expected = soft_nms_by_hand(boxes, scores)
    assert len(expected) < 60
    assert found.scores == pytest.approx(np.array([score for score, _ in expected]), rel=1e-4)
    assert found.tlbr == pytest.approx(np.array([boxes[number] for _, number in expected]))


@pytest.mark.parametrize(
    ("suppress", "class_ids", "scores"),
    [
        (soft_nms, [0, 0], [0.9, 0.8 * math.exp(-2)]),
        (soft_nms, [0, 1], [0.9, 0.8]),
        (nms, [0, 0], [0.9]),
        (nms, [0, 1], [0.9, 0.8]),
    ],
)
def test_equal_boxes_suppress_each_other_within_a_class(
    suppress: object, class_ids: list[int], scores: list[float]
) -> None:
    found = suppress(detections([[0, 0, 9, 9]] * 2, [0.9, 0.8], class_ids))
    assert found.scores == pytest.approx(scores)


@pytest.mark.parametrize(("right", "count"), [(3, 2), (4, 1)])
def test_nms_suppresses_from_half_an_overlap(right: int, count: int) -> None:
    """Boxes of 10 and of 4 or 5 of its columns, counted in pixels."""
    assert len(nms(detections([[0, 0, 9, 9], [0, 0, right, 9]], [0.9, 0.8]))) == count


def test_nothing_is_suppressed_of_nothing() -> None:
    assert len(soft_nms(Detections.empty())) == len(nms(Detections.empty())) == 0


@pytest.mark.parametrize("scales", [(0.0,), (1.0, 1.0), (), (float("nan"),), (9.0,), tuple(np.linspace(1, 2, 17))])
def test_scales_that_mean_nothing(scales: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="scales must be"):
        DetectionSettings(scales=scales)
