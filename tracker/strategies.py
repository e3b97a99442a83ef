"""The exchangeable parts of the cascade, each selected by a setting in `TrackerSettings` before the first frame."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from fairmot.tracker.costs import (
    Array,
    FloatArray,
    IntArray,
    cosine_distance,
    cosine_distance_by_pair,
    fuse_motion,
    fuse_overlap,
    fuse_scores,
    height_iou_distance,
    iou_distance,
)
from fairmot.tracker.gmc.shift import camera_shift
from fairmot.tracker.kalman import KalmanFilter, WidthKalmanFilter
from fairmot.tracker.settings import TrackerSettings

Distance = Callable[[Array, Array], Array]
AppearanceCost = Callable[[FloatArray, FloatArray, Array, Callable[[], Array]], Array]
CameraShift = Callable[[Array, Array, "tuple[IntArray, IntArray] | None"], "Array | None"]


def kalman_filter(settings: TrackerSettings) -> KalmanFilter:
    """Return the filter of `settings.box_model`."""
    kind = {"xyah": KalmanFilter, "xywh": WidthKalmanFilter}[settings.box_model]
    return kind(settings.position_weight, settings.velocity_weight)


def box_distance(settings: TrackerSettings) -> Distance:
    """Return the distance of `settings.overlap`, a function of boxes `(4, n)` and `(4, m)` to distances `(n, m)`."""
    if settings.overlap == "iou":
        return iou_distance
    return partial(height_iou_distance, margin=settings.box_margin)


def score_fusion(settings: TrackerSettings) -> Callable[[Array, FloatArray], Array]:
    """Return a function of distances `(n, m)` of high-score detections and their scores `(m,)` to new distances."""
    return fuse_scores if settings.score_fusion else _unchanged


def appearance_cost(settings: TrackerSettings) -> AppearanceCost:
    """Return the cost of `settings.appearance_cost`.

    It is a function of embeddings `(n, d)` and `(m, d)`, their gating distances `(n, m)` and a function without
    arguments that computes the distances of the boxes `(n, m)`, to costs `(n, m)`.
    """
    weight, threshold = settings.motion_weight, settings.gating_threshold
    cosine = cosine_distance_by_pair if settings.reference_quirks else cosine_distance

    def with_gating(tracks: FloatArray, detections: FloatArray, gating: Array, _: Callable[[], Array]) -> Array:
        return fuse_motion(cosine(tracks, detections), gating, weight, threshold)

    def with_overlap(tracks: FloatArray, detections: FloatArray, gating: Array, overlap: Callable[[], Array]) -> Array:
        return fuse_overlap(cosine_distance(tracks, detections), overlap(), gating, weight, threshold)

    return {"gating": with_gating, "overlap": with_overlap}[settings.appearance_cost]


def gmc_from_detections(settings: TrackerSettings) -> CameraShift:
    """Return a function of predicted boxes, detections and their classes to the camera shift; see `camera_shift`."""
    if not settings.gmc_from_detections:
        return lambda tracks, detections, classes: None
    distance = box_distance(settings)
    return lambda tracks, detections, classes: camera_shift(tracks, detections, distance, classes)


def _unchanged(distance: Array, _: FloatArray) -> Array:
    return distance
