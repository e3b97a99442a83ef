"""The constants and strategies of the association, each with its source, and the sets of them that have a name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args, get_type_hints

from fairmot.core.errors import ConfigError
from fairmot.core.ranges import require, require_positive

USUAL_CONFIDENCE = 0.4
"""`confidence_threshold` where no model recommends one (FairMOT, `conf_thres`)."""

_FOREVER = 1e15  # frames; infinity has no whole number


@dataclass(frozen=True)
class TrackerSettings:
    """Settings of `FairMOTTracker`.

    The defaults are the best known for people (`benchmarks/association.md` shows what each adds);
    `fairmot.tracker.presets` has those of FairMOT and BYTE.

    Limits are costs: a pair that costs more is never matched. Sources: "FairMOT" is `multitracker.py` and `matching.py`
    of ifzhang/FairMOT, "BYTE" is `tutorials/fairmot` of ifzhang/ByteTrack, "DeepSORT" is `kalman_filter.py` as both
    carry it, "ours" was chosen on MOT17-05, 09 and 13.

    Attributes:
        confidence_threshold: detections scored above it take part in every stage; null means what the model recommends
            (FairMOT's 0.4, CenterNet's 0.3), and 0.4 where there is no model.
        low_score_stage: match the remaining tracks with low-score detections (BYTE's second association).
        low_score_threshold: detections scored above it, and not above `confidence_threshold`, are low-score
            detections (BYTE, 0.2). They never start a track.
        new_track_threshold: least score that starts a track; none means `confidence_threshold`, and 0.1 more when
            `low_score_stage` is on (FairMOT and BYTE, `det_thresh`).
        use_embeddings: associate by appearance first. Without it, or for detections without embeddings, boxes alone
            decide (BYTE's `byte_tracker.py`).
        appearance_cost: the term added to the cosine distance in the first stage with embeddings: the squared
            Mahalanobis distance (`gating`, FairMOT) or the distance of the boxes (`overlap`, ours).
        appearance_limit: first stage with embeddings, that sum (FairMOT, 0.4; ours 0.6).
        motion_limit: first stage without embeddings, 1 - IoU (BYTE, `match_thres` 0.8).
        overlap_limit: second stage after the first with embeddings, 1 - IoU (FairMOT, 0.5; ours 0.8).
        low_score_limit: low-score stage, 1 - IoU (BYTE on FairMOT, 0.4).
        unconfirmed_limit: tracks seen once against the remaining detections, 1 - IoU (FairMOT, 0.7).
        motion_weight: weight of that term (FairMOT, `lambda_` 0.98, so 0.02; ours 0.4).
        gating_threshold: squared Mahalanobis distance above which a pair is impossible (DeepSORT, chi-square 0.95
            quantile of 4 degrees of freedom, 9.4877).
        embedding_momentum: weight of the old embedding when a new one is blended in (FairMOT, `alpha` 0.9).
        lost_track_buffer: how long a lost track may be found again, in frames of a 30 frames/s video; scaled by the
            frame rate (FairMOT, `track_buffer` 30, so one second), and measured by timestamps where there are any.
        duplicate_distance: a tracked and a lost track closer than this, as 1 - IoU, are one object (FairMOT, 0.15).
        position_weight: standard deviation of position and height per pixel of height (DeepSORT, 1/20).
        velocity_weight: the same for their velocities (DeepSORT, 1/160).
        box_model: state of the filter besides center and height: the aspect ratio (`xyah`, DeepSORT) or the width
            (`xywh`, BoT-SORT, Aharon et al., 2022).
        overlap: distance of two boxes in every stage: 1 - `iou` (FairMOT), or `height_iou`, where the IoU is multiplied
            by that of the heights (Hybrid-SORT, Yang et al., 2024).
        box_margin: fraction of width and height by which `height_iou` first enlarges both boxes on every side (C-BIoU,
            Yang et al., 2023; ours 0.1).
        score_fusion: multiply the overlap with high-score detections by their score (ByteTrack's `fuse_score`).
        gmc_from_detections: move all tracks by the camera shift estimated from the detections (ours; see
            `fairmot.tracker.gmc.shift`).
        predict_unconfirmed: move tracks seen once like the others; FairMOT leaves them where they were.
        max_aspect_ratio: boxes of people with a larger width / height are not reported (FairMOT's `track.py`, 1.6,
            because people stand upright); `inf`, written .inf in options, reports all. Other classes are not filtered.
        min_box_area: boxes with this area in square pixels or less are not reported (FairMOT, `min_box_area` 100).
        reference_quirks: reproduce quirks of the reference, for results equal to it:

            ===================  =========================================  ====================================
            what                 reference                                  default
            ===================  =========================================  ====================================
            score = confidence   in neither set when low scores are used    a low-score detection
            expiry               one frame late; a track found in that      after `lost_track_buffer` frames
                                 frame vanishes when it is next lost
            buffer               rounded down, may be 0                     rounded to the nearest, at least 1
            duplicates           of two equally old ones the lost stays     the tracked one stays
            score of a refound   that before the loss (FairMOT only)        that of its detection
            time                 counted in frames                          measured by timestamps
            ids                  taken by tracks that are never reported    taken when a track is confirmed
            equal costs          the order of lap's search decides          any of the equal assignments
            ===================  =========================================  ====================================

    Raises:
        ConfigError: if a value is out of its range.
    """

    confidence_threshold: float | None = None
    low_score_stage: bool = True
    low_score_threshold: float = 0.2
    new_track_threshold: float | None = None
    use_embeddings: bool = True
    appearance_cost: Literal["gating", "overlap"] = "overlap"
    appearance_limit: float = 0.6
    motion_limit: float = 0.8
    overlap_limit: float = 0.8
    low_score_limit: float = 0.4
    unconfirmed_limit: float = 0.7
    motion_weight: float = 0.4
    gating_threshold: float = 9.4877
    embedding_momentum: float = 0.9
    lost_track_buffer: int = 30
    duplicate_distance: float = 0.15
    position_weight: float = 1 / 20
    velocity_weight: float = 1 / 160
    box_model: Literal["xyah", "xywh"] = "xywh"
    overlap: Literal["iou", "height_iou"] = "height_iou"
    box_margin: float = 0.1
    score_fusion: bool = True
    gmc_from_detections: bool = True
    predict_unconfirmed: bool = True
    max_aspect_ratio: float = 1.6
    min_box_area: float = 100.0
    reference_quirks: bool = False

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self)).items():
            choices, value = get_args(hint), getattr(self, name)
            if choices and type(None) not in choices and value not in choices:
                raise ConfigError(f"{name} must be {' or '.join(choices)}, not {value}.")
        require(self, "", "motion_limit overlap_limit low_score_limit unconfirmed_limit duplicate_distance", 0, 1)
        require(self, "", "low_score_threshold motion_weight embedding_momentum", 0, 1)
        require(self, "", "appearance_limit", 0, 2)
        require(self, "", "box_margin", 0, 1)
        require(self, "", "lost_track_buffer", 1, infinite=True)
        require(self, "", "min_box_area", infinite=True)
        require_positive(self, "", "gating_threshold position_weight velocity_weight max_aspect_ratio", infinite=True)
        for name in ("confidence_threshold", "new_track_threshold"):
            if getattr(self, name) is not None:
                require(self, "", name, 0, 1)
        confidence = self.confidence_threshold
        if self.low_score_stage and confidence is not None and self.low_score_threshold > confidence:
            raise ConfigError(
                f"low_score_threshold ({self.low_score_threshold}) must not be above confidence_threshold "
                f"({confidence}); lower it or set low_score_stage to false."
            )

    def resolved(self, score_threshold: float = USUAL_CONFIDENCE) -> TrackerSettings:
        """Return these settings with a number for `confidence_threshold`.

        Args:
            score_threshold: what the model recommends (`ModelInfo.score_threshold`), in place of null.

        Raises:
            ConfigError: if `low_score_threshold` is above it.
        """
        return self if self.confidence_threshold is not None else replace(self, confidence_threshold=score_threshold)

    @property
    def confidence(self) -> float:
        """The confidence threshold, 0.4 where it is null."""
        return USUAL_CONFIDENCE if self.confidence_threshold is None else self.confidence_threshold

    @property
    def minimum_score(self) -> float:
        """The score that a detection must exceed to be of any use; detectors need report no others."""
        return self.low_score_threshold if self.low_score_stage else self.confidence

    @property
    def start_score(self) -> float:
        """The least score that starts a track."""
        if self.new_track_threshold is not None:
            return self.new_track_threshold
        return self.confidence + (0.1 if self.low_score_stage else 0.0)

    def buffer_frames(self, frame_rate: float) -> int:
        """Return how many frames a track may stay lost at `frame_rate` frames per second."""
        frames = min(frame_rate / 30.0 * self.lost_track_buffer, _FOREVER)
        return int(frames) if self.reference_quirks else max(1, round(frames))
