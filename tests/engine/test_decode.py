"""The decoder against a plain loop over cells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairmot.engine.decode import HeadOutputs, decode, map_boxes, map_landmarks, peaks
from fairmot.engine.letterbox import Letterbox


def random_heads(
    seed: int,
    shape: tuple[int, int, int, int],
    size: int | None,
    levels: int,
    raw: bool,
    class_boxes: bool = False,
    points: int | None = None,
) -> HeadOutputs:
    """Heads whose scores take few values, so that many are equal."""
    random = np.random.default_rng(seed)
    n, classes, rows, columns = shape
    heatmap = random.integers(0, levels + 1, shape).astype(np.float32) / np.float32(levels)
    if raw:
        heatmap = 12 * heatmap - 6
    embedding = None if size is None else random.normal(size=(n, size, rows, columns)).astype(np.float32)
    return HeadOutputs(
        heatmap,
        random.normal(4, 3, (n, 4 * classes if class_boxes else 4, rows, columns)).astype(np.float32),
        random.random((n, 2, rows, columns)).astype(np.float32),
        embedding,
        None if points is None else random.normal(0, 3, (n, 2 * points, rows, columns)).astype(np.float32),
    )


def plain_decode(heads: HeadOutputs, image: int, threshold: float, limit: int, raw: bool) -> list[tuple]:
    """Rows of score, class, box, embedding, landmarks, by visiting every cell."""
    heatmap = heads.heatmap[image]
    if raw:
        heatmap = np.float32(1) / (np.float32(1) + np.exp(-heatmap))
    classes, rows, columns = heatmap.shape
    found = []
    for y in range(rows):
        for x in range(columns):
            for c in range(classes):
                score = heatmap[c, y, x]
                around = heatmap[c, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
                if score > np.float32(threshold) and (not raw or score == around.max()):
                    found.append((score, y * columns + x, c))
    found.sort(key=lambda row: (-row[0], row[1], row[2]))
    result = []
    for score, cell, c in found[:limit]:
        y, x = divmod(cell, columns)
        first = 4 * c if heads.box.shape[1] > 4 else 0
        left, top, right, bottom = heads.box[image, first : first + 4, y, x]
        cx, cy = np.float32(x) + heads.offset[image, 0, y, x], np.float32(y) + heads.offset[image, 1, y, x]
        vector = np.zeros(0) if heads.embedding is None else heads.embedding[image, :, y, x]
        if raw and heads.embedding is not None:
            vector = vector / np.linalg.norm(vector)
        marks = [] if heads.landmarks is None else heads.landmarks[image, :, y, x].tolist()
        points = [(cx + marks[i], cy + marks[i + 1]) for i in range(0, len(marks), 2)]
        result.append((score, c, [cx - left, cy - top, cx + right, cy + bottom], vector, points))
    return result


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)),
    size=st.sampled_from([None, 1, 5]),
    levels=st.integers(1, 10),
    limit=st.integers(1, 40),
    raw=st.booleans(),
    class_boxes=st.booleans(),
    points=st.sampled_from([None, 1, 5]),
)
@settings(max_examples=200, deadline=None)
def test_equals_the_plain_loop(seed, shape, size, levels, limit, raw, class_boxes, points) -> None:
    heads = random_heads(seed, shape, size, levels, raw, class_boxes, points)
    found = decode(heads, 0.4, limit, raw_heads=raw)
    assert len(found) == shape[0]
    for image, record in enumerate(found):
        expected = plain_decode(heads, image, 0.4, limit, raw)
        assert len(record) == len(expected)
        assert record.embeddings.shape == (len(expected), size or 0)
        assert record.landmarks.shape == (len(expected), points or 0, 2)
        assert record.embeddings.dtype == record.tlbr.dtype == record.landmarks.dtype == np.float32
        for row, (score, class_id, box, vector, marks) in enumerate(expected):
            np.testing.assert_allclose(record.scores[row], score, rtol=1e-6)
            assert record.class_ids[row] == class_id
            np.testing.assert_allclose(record.tlbr[row], box, rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(record.embeddings[row], vector, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(
                record.landmarks[row].reshape(-1, 2), np.reshape(marks, (-1, 2)), rtol=1e-5, atol=1e-5
            )


def test_the_threshold_is_strict_in_float32() -> None:
    heads = random_heads(1, (1, 1, 1, 3), None, 1, False)
    at = np.float32(0.4)
    heads.heatmap[0, 0, 0] = [np.nextafter(at, np.float32(0)), at, np.nextafter(at, np.float32(1))]
    (found,) = decode(heads, 0.4, 500)
    assert found.scores.tolist() == [heads.heatmap[0, 0, 0, 2]]


def test_equal_scores_are_taken_by_cell_and_the_rest_dropped() -> None:
    heads = random_heads(2, (1, 1, 20, 30), None, 1, False)
    heads.heatmap[:] = 0.5
    (found,) = decode(heads, 0.4, 45)
    centers = found.tlbr[:, :2] + heads.box[0, :2].reshape(2, -1).T[:45] - heads.offset[0].reshape(2, -1).T[:45]
    rows, columns = np.divmod(np.arange(45), 30)
    np.testing.assert_allclose(centers, np.stack([columns, rows], axis=1), atol=1e-5)


def test_not_a_number_is_no_detection() -> None:
    heads = random_heads(3, (1, 1, 4, 4), 2, 1, False)
    heads.heatmap[:] = np.nan
    (found,) = decode(heads, 0.0, 500)
    assert len(found) == 0


def test_large_logits_do_not_warn() -> None:
    heads = random_heads(4, (1, 1, 1, 5), 3, 1, True)
    heads.heatmap[0, 0, 0] = [-1e4, 0, 1e4, -90, 90]
    with np.errstate(all="raise", under="ignore"):
        (found,) = decode(heads, 0.4, 500, raw_heads=True)
    assert found.scores.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 5, 7), (3, 1, 9)])
def test_peaks_beside_the_border_and_plateaus(shape: tuple[int, int, int]) -> None:
    heatmap = np.random.default_rng(6).integers(-3, 3, shape).astype(np.float32)
    padded = np.pad(heatmap, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    greatest = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2)).max(axis=(3, 4))
    np.testing.assert_array_equal(peaks(heatmap), np.where(heatmap == greatest, heatmap, 0))


def test_outputs_by_name() -> None:
    heads = HeadOutputs("h", "b", "o")  # whatever they are
    assert list(heads.named()) == [("heatmap", "h"), ("box", "b"), ("offset", "o")]
    assert list(replace(heads, embedding="e").named())[3:] == [("embedding", "e")]
    assert list(replace(heads, landmarks="l").named())[3:] == [("landmarks", "l")]


@pytest.mark.parametrize("mode", ["exact", "reference"])
def test_landmarks_are_mapped_as_the_corners_of_boxes(mode) -> None:
    boxes = np.random.default_rng(8).normal(20, 9, (6, 4)).astype(np.float32)
    geometry = Letterbox.fit((1280, 719), (576, 320))
    corners = map_landmarks(boxes.reshape(6, 2, 2), geometry, 4, mode)
    np.testing.assert_array_equal(corners.reshape(6, 4), map_boxes(boxes, geometry, 4, mode))
