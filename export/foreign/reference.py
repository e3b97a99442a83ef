"""Heads of a foreign network finished in NumPy: what the rewritten graph is compared with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fairmot.core.records import FloatArray
from fairmot.engine.decode import HeadOutputs, peaks
from fairmot.export.foreign.heads import Head
from fairmot.export.foreign.recognize import Layout


def finished(
    outputs: Mapping[str, FloatArray], layout: Layout, is_centerface: bool
) -> tuple[HeadOutputs[FloatArray], FloatArray]:
    """Return the finished heads, and the scores before peak suppression.

    Args:
        outputs: of the file, by name.
        layout: its heads.
        is_centerface: whether they mean what CenterFace's do; see `fairmot.export.foreign.finish.finish`.
    """
    heads = {role: _map(outputs[head.output], head, layout.cells) for role, head in layout.heads.items()}
    scores = heads["hm"]
    if not layout.heads["hm"].is_finished:
        with np.errstate(over="ignore"):
            scores = np.float32(1) / (np.float32(1) + np.exp(-scores))
    size, half = heads["wh"], np.float32(0.5)
    offset = heads.get("reg")
    landmarks = None
    if is_centerface:
        height, width = np.exp(size[:, :1]), np.exp(size[:, 1:])
        box = half * np.concatenate([width, height, width, height], 1)
        if "landmarks" in heads:
            points = heads["landmarks"]
            landmarks = np.empty_like(points)
            landmarks[:, 0::2] = (points[:, 1::2] - half) * width
            landmarks[:, 1::2] = (points[:, 0::2] - half) * height
        offset = None if offset is None else offset[:, ::-1] + half
    elif size.shape[1] == 4:
        box = size
    else:
        n, channels, rows, columns = size.shape
        halves = (half * size).reshape(n, channels // 2, 2, rows, columns)
        box = np.concatenate([halves, halves], 2).reshape(n, 2 * channels, rows, columns)
    if offset is None:
        offset = np.full((len(box), 2, *box.shape[2:]), half)
    embedding = heads.get("id")
    if embedding is not None:
        embedding = embedding / np.maximum(np.linalg.norm(embedding, axis=1, keepdims=True), np.float32(1e-12))
    heatmap = np.stack([peaks(each) for each in scores])
    return HeadOutputs(heatmap, box, offset, embedding, landmarks), scores


def _map(output: FloatArray, head: Head, cells: tuple[int, int]) -> FloatArray:
    """Return a head as `(n, channels, rows, columns)`."""
    own = slice(head.first, head.first + head.channels)
    if head.arrangement == "nchw":
        planes = output.reshape(len(output), -1, *cells)[:, own]
    else:
        planes = output.reshape(len(output), *cells, -1)[..., own].transpose(0, 3, 1, 2)
    return np.ascontiguousarray(planes, np.float32)
