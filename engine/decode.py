"""From the network's heads to boxes in source pixels: the NumPy reference that faster decoders are held to.

CenterNet's decoding with FairMOT's four-sided boxes (`mot_decode` in `src/lib/models/decode.py`): a peak of
the heatmap is an object, its box and embedding are read at the same cell. Every step is deterministic:
scores are compared in float32 and equal scores are ordered by their cell.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, cast

import cv2
import numpy as np
import numpy.typing as npt

from fairmot.core.records import Detections, FloatArray
from fairmot.engine.letterbox import Letterbox

BackProjection = Literal["exact", "reference"]


class HeadOutputs(NamedTuple):
    """What the network returns for a batch; all float32 `(n, channels, rows, columns)`, one cell per stride.

    Attributes:
        heatmap: score per class; 0 where a cell is not a peak.
        box: distances left, top, right, bottom from the centre, in cells.
        offset: x and y of the centre within its cell, in cells.
        embedding: appearance, length 1 over the channels; None for a model without.
    """

    heatmap: FloatArray
    box: FloatArray
    offset: FloatArray
    embedding: FloatArray | None = None


def decode(
    heads: HeadOutputs, score_threshold: float, max_detections: int, raw_heads: bool = False
) -> list[Detections]:
    """Read the objects off the heads.

    Args:
        heads: outputs for `n` images.
        score_threshold: keep scores strictly above this, compared in float32.
        max_detections: keep at most this many per image, the best scores first; equal scores are taken by
            rising cell index (row times columns plus column), then by rising class.
        raw_heads: the heatmap is logits and the embedding has any length; finish both here.

    Returns:
        One record per image, boxes in cells and not clipped.
    """
    return [
        _decode_one(
            peaks(_sigmoid(heatmap)) if raw_heads else heatmap,
            heads.box[image],
            heads.offset[image],
            None if heads.embedding is None else heads.embedding[image],
            score_threshold,
            max_detections,
            raw_heads,
        )
        for image, heatmap in enumerate(heads.heatmap)
    ]


def _decode_one(
    heatmap: FloatArray,
    box: FloatArray,
    offset: FloatArray,
    embedding: FloatArray | None,
    score_threshold: float,
    max_detections: int,
    normalise: bool,
) -> Detections:
    class_ids, rows, columns = np.nonzero(heatmap > np.float32(score_threshold))
    scores = heatmap[class_ids, rows, columns]
    best = np.lexsort((class_ids, columns, rows, -scores))[:max_detections]
    class_ids, rows, columns, scores = class_ids[best], rows[best], columns[best], scores[best]

    centre_x = columns.astype(np.float32) + offset[0, rows, columns]
    centre_y = rows.astype(np.float32) + offset[1, rows, columns]
    left, top, right, bottom = box[:, rows, columns]
    tlbr = np.stack([centre_x - left, centre_y - top, centre_x + right, centre_y + bottom], axis=1)

    if embedding is None:
        vectors = np.zeros((len(scores), 0), np.float32)
    else:
        vectors = np.ascontiguousarray(embedding[:, rows, columns].T)
        if normalise:
            length = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors /= np.maximum(length, np.float32(1e-12))
    return Detections(tlbr, scores, class_ids.astype(np.int64), vectors)


def peaks(heatmap: FloatArray) -> FloatArray:
    """Set every cell to 0 that is not the greatest of its 3x3 neighbourhood; equal neighbours all stay.

    Args:
        heatmap: `(classes, rows, columns)` float32.
    """
    kernel = np.ones((3, 3), np.uint8)
    greatest = np.stack([cv2.dilate(channel, kernel) for channel in heatmap])  # beyond the edge counts as -inf
    return np.where(heatmap == greatest, heatmap, np.float32(0))


def _sigmoid(logits: FloatArray) -> FloatArray:
    with np.errstate(over="ignore"):  # exp of a large number is inf, and 1 / inf the right 0
        return cast(FloatArray, np.float32(1) / (np.float32(1) + np.exp(-logits)))


def back_project(tlbr: FloatArray, geometry: Letterbox, stride: int, mode: BackProjection = "exact") -> FloatArray:
    """Turn boxes in cells into boxes in source pixels.

    Args:
        tlbr: `(n, 4)` float32 in cells.
        geometry: how the frame was placed in the network's input.
        stride: input pixels per cell.
        mode: `exact` inverts the letterbox as it was done, with its rounded size and padding. `reference` is
            FairMOT's affine (`ctdet_post_process`, `get_affine_transform` without rotation), which maps the
            middle of the cells to the middle of the frame and knows no rounding; up to 1 px apart at 1080p.

    Returns:
        `(n, 4)` float32.
    """
    scale, shift = cell_transform(geometry, stride, mode)
    # In float64, rounded once: at 1920 px a float32 step is 1.2e-4 px already.
    return (tlbr * np.tile(scale, 2) + np.tile(shift, 2)).astype(np.float32)


def cell_transform(
    geometry: Letterbox, stride: int, mode: BackProjection
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the scale and the shift, each `(x, y)`, that turn cells into source pixels; see `back_project`."""
    source = np.array(geometry.source, np.float64)
    target = np.array(geometry.target, np.float64)
    if mode == "exact":
        scale = source / np.array(geometry.resized, np.float64)
        return scale * stride, -scale * (geometry.left, geometry.top)
    scale = np.full(2, max(target[0] / target[1] * source[1], source[0]) / target[0])
    return scale * stride, source / 2 - scale * target / 2
