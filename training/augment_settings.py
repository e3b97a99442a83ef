"""Settings of the augmentation, without PyTorch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from fairmot.core.ranges import require, require_order, require_positive


@dataclass(frozen=True)
class PhotometricSettings:
    """Shares and ranges of the changes that leave boxes where they are.

    Attributes:
        motion: share of images blurred along a line, people and background alike, as when the camera moves.
        motion_length: range of that line's length in pixels.
        jpeg: share of images with JPEG artifacts.
        jpeg_quality: range of its quality on libjpeg's scale, 1 to 100.

    Raises:
        ConfigError: if a value is out of its range.
    """

    motion: float = 0.12
    motion_length: tuple[float, float] = (2.0, 11.0)
    jpeg: float = 0.3
    jpeg_quality: tuple[float, float] = (12.0, 75.0)

    def __post_init__(self) -> None:
        prefix = "settings.augment.photometric."
        require(self, prefix, "motion jpeg", 0, 1)
        require(self, prefix, "motion_length")
        require(self, prefix, "jpeg_quality", 1, 100)
        require_order(self, prefix, "motion_length jpeg_quality")


@dataclass(frozen=True)
class AugmentSettings:
    """Ranges of the random changes.

    Attributes:
        mosaic: share of images composed of four.
        whole: share of tiles that show the whole image, as at inference.
        height_range: a person of the image is scaled to a height in this range, log-uniform, px.
        scale_range: limits of that scale.
        cover: least scale of an image, as a fraction of the scale at which it fits its tile.
        rotation: largest rotation in radians.
        stretch: largest change of the aspect ratio, as a logarithm.
        boxes: most boxes kept in one image.
        minimum_height: smaller boxes become ignore regions, px.
        visible: boxes of which a smaller share than this is visible become ignore regions.
        photometric: changes that leave boxes where they are.

    Raises:
        ConfigError: if a value is out of its range.
    """

    mosaic: float = 0.5
    whole: float = 0.3
    height_range: tuple[float, float] = (14.0, 260.0)
    scale_range: tuple[float, float] = (0.25, 3.0)
    cover: float = 0.75
    rotation: float = 0.06
    stretch: float = 0.15
    boxes: int = 96
    minimum_height: float = 9.0
    visible: float = 0.35
    photometric: PhotometricSettings = field(default_factory=PhotometricSettings)

    def __post_init__(self) -> None:
        prefix = "settings.augment."
        require(self, prefix, "mosaic whole visible", 0, 1)
        require(self, prefix, "cover stretch minimum_height")
        require(self, prefix, "rotation", 0, math.pi)
        require(self, prefix, "boxes", 1)
        require_positive(self, prefix, "height_range scale_range")
        require_order(self, prefix, "height_range scale_range")


@dataclass(frozen=True)
class CrowdSettings:
    """Settings of the people pasted over images. The defaults are those of the bundled weights.

    Attributes:
        soft_edge: range of the width over which a person's border fades inwards, px of the composed image;
            at most a 25th of the person's height.
        color_match: largest fraction, 0 to 1, by which a person's colors are moved to those of the surroundings
            (mean and spread of lightness and chroma); 0: half of the people get the brightness of the image.
        rotation: largest rotation of a person, radians.
        perspective: largest inset of a corner of a person's cut-out, as a fraction of its width and height, up to 0.5.
        appearance: largest change of a person's contrast and saturation, as a logarithm.

    Raises:
        ConfigError: if a value is out of its range.
    """

    soft_edge: tuple[float, float] = (0.0, 0.0)
    color_match: float = 0.0
    rotation: float = 0.0
    perspective: float = 0.0
    appearance: float = 0.0

    def __post_init__(self) -> None:
        prefix = "settings.crowd."
        require(self, prefix, "soft_edge appearance")
        require_order(self, prefix, "soft_edge")
        require(self, prefix, "color_match", 0, 1)
        require(self, prefix, "rotation", 0, math.pi)
        require(self, prefix, "perspective", 0, 0.5)
