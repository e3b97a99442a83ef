"""Settings of test-time augmentation and suppression, by CenterNet's names (`src/lib/opts.py`)."""

from __future__ import annotations

from dataclasses import dataclass

from fairmot.core.errors import ConfigError

MAX_DETECTIONS = 100
"""Detections of an image that COCO counts (`maxDets`), and K of CenterNet."""

_LARGEST_SCALE = 8.0
_MOST_SCALES = 16


@dataclass(frozen=True)
class DetectionSettings:
    """What is done to an image and its detections beyond one run of the network.

    Attributes:
        flip: average the heads with those of the mirror image.
        scales: sizes of the image relative to its own; of several, the detections are merged by soft-NMS.
        keep_res: leave images at their own resolution.
        nms: suppress boxes that overlap a better one of their class by 0.5 or more; in place of soft-NMS.

    Raises:
        ConfigError: if a scale is out of range or given twice, or there are none or too many.
    """

    flip: bool = False
    scales: tuple[float, ...] = (1.0,)
    keep_res: bool = False
    nms: bool = False

    def __post_init__(self) -> None:
        if not all(1 / _LARGEST_SCALE <= scale <= _LARGEST_SCALE for scale in self.scales):
            raise ConfigError(f"scales must be from {1 / _LARGEST_SCALE:g} to {_LARGEST_SCALE:g}, not {self.scales}.")
        if not 0 < len(self.scales) <= _MOST_SCALES or len(set(self.scales)) < len(self.scales):
            raise ConfigError(f"scales must be 1 to {_MOST_SCALES} different numbers, not {self.scales}.")
