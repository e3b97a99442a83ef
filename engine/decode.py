"""Decoding of the network's heads to boxes in source pixels: the NumPy reference of every faster decoder.

CenterNet's decoding (`ctdet_decode` in `src/lib/models/decode.py`, `cat_spec_wh` included) with FairMOT's four-sided
boxes (`mot_decode`): a peak of the heatmap is an object; its box, embedding and landmarks are read at the same cell.
Every step is deterministic: scores are compared in float32 and equal scores are ordered by their cell.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

import cv2
import numpy as np
import numpy.typing as npt

from fairmot.core.records import Detections, FloatArray
from fairmot.engine.letterbox import Letterbox
from fairmot.engine.settings import BoxMapping

Head = TypeVar("Head")


@dataclass(frozen=True, eq=False)
class HeadOutputs(Generic[Head]):
    """Outputs of the network for a batch; all float32 `(n, channels, rows, columns)`, one cell per stride.

    They are arrays of NumPy, or contiguous tensors on the GPU.

    Attributes:
        heatmap: score per class; 0 where a cell is not a peak.
        box: distances left, top, right, bottom from the center, in cells; 4 channels, or 4 for each class one after
            the other (`cat_spec_wh`), read at the class of the detection.
        offset: x and y of the center within its cell, in cells.
        embedding: appearance, length 1 over the channels; None for a model without.
        landmarks: x and y of each point from the center, in cells; None for a model without.
    """

    heatmap: Head
    box: Head
    offset: Head
    embedding: Head | None = None
    landmarks: Head | None = None

    def named(self) -> Iterator[tuple[str, Head]]:
        """Yield name and values of every output that the model has."""
        yield from (("heatmap", self.heatmap), ("box", self.box), ("offset", self.offset))
        if self.embedding is not None:
            yield "embedding", self.embedding
        if self.landmarks is not None:
            yield "landmarks", self.landmarks


def decode(
    heads: HeadOutputs[FloatArray], score_threshold: float, max_detections: int, raw_heads: bool = False
) -> list[Detections]:
    """Return the detections that the heads contain.

    Args:
        heads: outputs for `n` images.
        score_threshold: keep scores strictly above this, compared in float32.
        max_detections: keep at most this many per image, the best scores first; equal scores are taken by
            rising cell index (row times columns plus column), then by rising class.
        raw_heads: the heatmap is logits and the embedding has any length; finish both here.

    Returns:
        One record per image, boxes and landmarks in cells and not clipped.
    """
    return [
        _decode_one(
            HeadOutputs(**{name: head[image] for name, head in heads.named()}),
            score_threshold,
            max_detections,
            raw_heads,
        )
        for image in range(len(heads.heatmap))
    ]


def _decode_one(
    heads: HeadOutputs[FloatArray], score_threshold: float, max_detections: int, raw_heads: bool
) -> Detections:
    """Return the detections of one image, whose heads are `(channels, rows, columns)`."""
    heatmap = peaks(_sigmoid(heads.heatmap)) if raw_heads else heads.heatmap
    class_ids, rows, columns = np.nonzero(heatmap > np.float32(score_threshold))
    scores = heatmap[class_ids, rows, columns]
    best = np.lexsort((class_ids, columns, rows, -scores))[:max_detections]
    class_ids, rows, columns, scores = class_ids[best], rows[best], columns[best], scores[best]

    center = np.stack([columns, rows], axis=1).astype(np.float32) + heads.offset[:, rows, columns].T
    boxes = heads.box.reshape(-1, 4, *heatmap.shape[1:])  # one box for all classes, or one for each
    box_ids = class_ids if len(boxes) > 1 else 0
    left, top, right, bottom = boxes[box_ids, :, rows, columns].T
    tlbr = np.stack([center[:, 0] - left, center[:, 1] - top, center[:, 0] + right, center[:, 1] + bottom], axis=1)

    if heads.embedding is None:
        vectors = np.zeros((len(scores), 0), np.float32)
    else:
        vectors = np.ascontiguousarray(heads.embedding[:, rows, columns].T)
        if raw_heads:
            length = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors /= np.maximum(length, np.float32(1e-12))
    if heads.landmarks is None:
        points = np.zeros((len(scores), 0, 2), np.float32)
    else:
        values = heads.landmarks[:, rows, columns].T
        points = center[:, None] + values.reshape(len(scores), len(heads.landmarks) // 2, 2)
    return Detections(tlbr, scores, class_ids.astype(np.int64), vectors, points)


def peaks(heatmap: FloatArray) -> FloatArray:
    """Set every cell to 0 that is not the greatest of its 3x3 neighborhood; equal neighbors all stay.

    Args:
        heatmap: `(classes, rows, columns)` float32.
    """
    kernel = np.ones((3, 3), np.uint8)
    greatest = np.stack([cv2.dilate(channel, kernel) for channel in heatmap])  # beyond the edge counts as -inf
    return np.where(heatmap == greatest, heatmap, np.float32(0))


def _sigmoid(logits: FloatArray) -> FloatArray:
    with np.errstate(over="ignore"):  # exp of a large number is inf, and 1 / inf the right 0
        return cast(FloatArray, np.float32(1) / (np.float32(1) + np.exp(-logits)))


def map_boxes(tlbr: FloatArray, geometry: Letterbox, stride: int, mode: BoxMapping = "exact") -> FloatArray:
    """Return boxes in cells as boxes in source pixels.

    Args:
        tlbr: `(n, 4)` float32 in cells.
        geometry: position and size of the frame in the network's input.
        stride: input pixels per cell.
        mode: `exact` inverts the letterbox as it was done, with its rounded size and padding. `reference` is
            FairMOT's affine (`ctdet_post_process`, `get_affine_transform` without rotation), which maps the center
            of the cells to the center of the frame and ignores the rounding; up to 1 px apart at 1080p.
            Both are the inverse of a warp, which is not rounded (`transform_preds` of CenterNet, `d2i` of
            tensorRT_Pro).

    Returns:
        `(n, 4)` float32.
    """
    scale, shift = cell_transform(geometry, stride, mode)
    # In float64, rounded once: at 1920 px a float32 step is 1.2e-4 px already.
    return (tlbr * np.tile(scale, 2) + np.tile(shift, 2)).astype(np.float32)


def map_landmarks(landmarks: FloatArray, geometry: Letterbox, stride: int, mode: BoxMapping = "exact") -> FloatArray:
    """Return landmarks `(n, k, 2)` in cells as float32 in source pixels, by the transform of `map_boxes`."""
    scale, shift = cell_transform(geometry, stride, mode)
    return (landmarks * scale + shift).astype(np.float32)


def cell_transform(
    geometry: Letterbox, stride: int, mode: BoxMapping
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the scale and the shift, each `(x, y)`, that map cells to source pixels; see `map_boxes`."""
    if geometry.resize != "area":
        scale, shift = (np.array(each, np.float64) for each in geometry.inverse)
        return scale * stride, shift
    source = np.array(geometry.source, np.float64)
    target = np.array(geometry.target, np.float64)
    if mode == "exact":
        scale = source / np.array(geometry.resized, np.float64)
        return scale * stride, -scale * (geometry.left, geometry.top)
    scale = np.full(2, max(target[0] / target[1] * source[1], source[0]) / target[0])
    return scale * stride, source / 2 - scale * target / 2
