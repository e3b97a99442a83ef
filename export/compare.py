"""Comparison of a network with a reference: of its outputs, and of the detections decoded from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fairmot.core.records import Detections, FloatArray
from fairmot.engine.decode import HeadOutputs, decode
from fairmot.engine.preprocessing import FAIRMOT

_NEAR = 1.0  # cells by which the edges of matching boxes may differ


@dataclass(frozen=True)
class OutputDifference:
    """The difference of one output from the reference.

    Attributes:
        name: of the output.
        relative: norm of the difference over the norm of the reference.
        maximum: largest difference of any element.
        ties: heatmap cells left out, see `tied_peaks`.
    """

    name: str
    relative: float
    maximum: float
    ties: int = 0

    def __str__(self) -> str:
        ties = f", {self.ties} tied peaks left out" if self.ties else ""
        return f"{self.name:<10} relative {self.relative:.2e}, maximum {self.maximum:.2e}{ties}"


@dataclass(frozen=True)
class DetectionDifference:
    """The difference of the detections of one image from the reference's.

    Attributes:
        expected: number in the reference, without the tied ones.
        found: number found, without the tied ones.
        matched: pairs of the two whose boxes differ by less than a cell.
        edge: largest difference of an edge in a pair, in pixels of the network's input.
        score: largest difference of the scores in a pair.
        cosines: of the embeddings in each pair; empty for a model without.
        unmatched: scores of those without a partner on the other side.
        tied: scores of those left out because rounding decided which of the two has them, see `tied_peaks`.
    """

    expected: int
    found: int
    matched: int
    edge: float
    score: float
    cosines: FloatArray
    unmatched: tuple[float, ...]
    tied: tuple[float, ...]

    def __str__(self) -> str:
        text = f"{self.matched} of {self.expected} detections matched, {self.found} found"
        if self.matched:
            text += f"; boxes within {self.edge:.3f} px, scores within {self.score:.4f}"
        if self.cosines.size:
            text += f", cosine at least {self.cosines.min():.6f}, mean {self.cosines.mean():.6f}"
        if self.unmatched:
            text += f"; scores without a partner: {_list(self.unmatched)}"
        if self.tied:
            text += f"; scores of tied peaks left out: {_list(self.tied)}"
        return text


def tied_peaks(
    results: FloatArray, reference: FloatArray, heat: FloatArray | None, tolerance: float
) -> npt.NDArray[np.bool_]:
    """Return the cells that are peaks in only one of two heatmaps because of rounding.

    Each heatmap is within a tolerance of the exact values, so of two neighbors that differ by less, either or both may
    be the peak.

    Args:
        results: heatmap `(n, classes, rows, columns)` of the network under test, 0 where a cell is not a peak.
        reference: the expected heatmap, likewise.
        heat: the expected heatmap before peak suppression; None for raw heads, which suppress nothing and have no ties.
        tolerance: a tied cell is less than this below the maximum of its 3x3 neighborhood, or above all other cells.
    """
    if heat is None:
        return np.zeros(reference.shape, np.bool_)
    tied: npt.NDArray[np.bool_] = ((results == 0) != (reference == 0)) & _nearly_peaks(heat, tolerance)
    return tied


def compare_outputs(
    results: HeadOutputs[FloatArray], reference: HeadOutputs[FloatArray], tied: npt.NDArray[np.bool_]
) -> list[OutputDifference]:
    """Compare every output.

    Args:
        results: of the network under test.
        reference: the expected outputs.
        tied: cells of the heatmap to leave out, see `tied_peaks`.
    """
    differences = []
    for (name, result), (_, wanted) in zip(results.named(), reference.named(), strict=True):
        error = result.astype(np.float64) - wanted
        ties = 0
        if name == "heatmap":
            error[tied] = 0
            ties = int(tied.sum())
        relative = np.linalg.norm(error) / max(float(np.linalg.norm(wanted.astype(np.float64))), 1e-30)
        differences.append(OutputDifference(name, float(relative), float(np.abs(error).max()), ties))
    return differences


def _nearly_peaks(heat: FloatArray, tolerance: float) -> npt.NDArray[np.bool_]:
    """Return where a value is within `tolerance` of the maximum of the eight cells around it."""
    padded = np.pad(heat, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    rows, columns = heat.shape[2:]
    around = np.full_like(heat, -np.inf)
    for down in range(3):
        for right in range(3):
            if (down, right) != (1, 1):
                np.maximum(around, padded[:, :, down : down + rows, right : right + columns], out=around)
    near: npt.NDArray[np.bool_] = np.abs(heat - around) < tolerance
    return near


def compare_detections(
    results: HeadOutputs[FloatArray],
    reference: HeadOutputs[FloatArray],
    tied: npt.NDArray[np.bool_],
    stride: int,
    raw_heads: bool,
    threshold: float = FAIRMOT.score_threshold,
    most: int = FAIRMOT.max_detections,
) -> list[DetectionDifference]:
    """Decode both and compare the detections of each image box by box.

    Args:
        results: of the network under test.
        reference: the expected outputs.
        tied: cells of the heatmap whose detections are left out, see `tied_peaks`.
        stride: input pixels per cell.
        raw_heads: see `fairmot.engine.decode.decode`.
        threshold: detections score above it.
        most: detections per image.
    """
    rest = [np.where(tied, np.float32(-np.inf), heads.heatmap) for heads in (reference, results)]
    wanted = decode(replace(reference, heatmap=rest[0]), threshold, most, raw_heads)
    found = decode(replace(results, heatmap=rest[1]), threshold, most, raw_heads)
    peaks = np.maximum(reference.heatmap, results.heatmap)  # a tied cell is 0 in one of them
    return [
        _compare(wanted[image], found[image], peaks[image][tied[image] & (peaks[image] > threshold)], stride)
        for image in range(len(peaks))
    ]


def _compare(wanted: Detections, found: Detections, tied: FloatArray, stride: int) -> DetectionDifference:
    """Pair mutually nearest detections of one class, and compare the pairs."""
    apart = np.abs(wanted.tlbr[:, None].astype(np.float64) - found.tlbr[None]).max(axis=2, initial=0)
    apart[wanted.class_ids[:, None] != found.class_ids[None]] = np.inf
    rows = columns = np.zeros(0, np.int64)
    if apart.size:
        rows, columns = np.arange(len(wanted)), apart.argmin(axis=1)
        mutual = (apart.argmin(axis=0)[columns] == rows) & (apart[rows, columns] < _NEAR)
        rows, columns = rows[mutual], columns[mutual]
    left = np.setdiff1d(np.arange(len(wanted)), rows), np.setdiff1d(np.arange(len(found)), columns)
    cosines = np.zeros(0, np.float32)
    if wanted.embeddings.shape[1]:
        a, b = wanted.embeddings[rows].astype(np.float64), found.embeddings[columns].astype(np.float64)
        lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        cosines = ((a * b).sum(axis=1) / np.maximum(lengths, 1e-30)).astype(np.float32)
    return DetectionDifference(
        expected=len(wanted),
        found=len(found),
        matched=len(rows),
        edge=float(stride * apart[rows, columns].max(initial=0)),
        score=float(np.abs(wanted.scores[rows] - found.scores[columns]).max(initial=0)),
        cosines=cosines,
        unmatched=(*wanted.scores[left[0]].tolist(), *found.scores[left[1]].tolist()),
        tied=tuple(tied.tolist()),
    )


def _list(scores: Iterable[float]) -> str:
    return ", ".join(f"{score:.3f}" for score in scores)
