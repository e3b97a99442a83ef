"""Averaging of the heads over an image and its mirror image (CenterNet, `process` in `src/lib/detectors/ctdet.py`)."""

from __future__ import annotations

import numpy as np

from fairmot.core.records import FloatArray
from fairmot.engine.decode import HeadOutputs

_MIRRORED_SIDES = [2, 1, 0, 3]  # of left, top, right, bottom


def with_mirror_image(images: FloatArray) -> FloatArray:
    """Return an image of the network's input, `(1, 3, h, w)`, and its mirror image as a batch of two."""
    return np.concatenate([images, images[..., ::-1]])


def average_mirrored(heads: HeadOutputs[FloatArray]) -> HeadOutputs[FloatArray]:
    """Return the heads of an image, averaged with those of its mirror image.

    Scores and boxes are averages, the left side of a box being the right one of its mirror image; offsets are those of
    the image itself.

    Args:
        heads: for the batch of `with_mirror_image`. The heatmap holds the scores of all cells, since peaks of an
            average are not those of its parts.

    Returns:
        Heads for one image, without embedding and landmarks.
    """
    count, channels, rows, columns = heads.box.shape
    mirrored = heads.box[1].reshape(channels // 4, 4, rows, columns)[:, _MIRRORED_SIDES, :, ::-1]
    box = (heads.box[:1] + mirrored.reshape(1, channels, rows, columns)) / np.float32(count)
    heatmap = (heads.heatmap[:1] + heads.heatmap[1:, ..., ::-1]) / np.float32(count)
    return HeadOutputs(heatmap, box, heads.offset[:1])
