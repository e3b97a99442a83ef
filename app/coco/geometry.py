"""Views of an image for test-time augmentation: at another scale, or at its own resolution.

The arithmetic is CenterNet's (`pre_process` in `src/lib/detectors/base_detector.py`), for every kind of model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from fairmot.core.records import ByteArray, Detections
from fairmot.engine.decode import map_boxes
from fairmot.engine.letterbox import Letterbox
from fairmot.engine.model import ModelInfo


@dataclass(frozen=True, eq=False)
class View:
    """A copy of an image and its position in the network's input.

    Attributes:
        image: `(height, width, 3)` uint8 BGR, the copy.
        geometry: takes the copy into the input.
        factor: pixels of the copy per pixel of the image, `(x, y)`.
    """

    image: ByteArray
    geometry: Letterbox
    factor: tuple[float, float]

    def to_image(self, detections: Detections, stride: int) -> Detections:
        """Return detections with boxes in cells as detections with boxes in pixels of the image."""
        boxes = map_boxes(detections.tlbr, self.geometry, stride) / np.tile(np.array(self.factor), 2)
        return replace(detections, tlbr=boxes.astype(np.float32))


def view_of(image: ByteArray, model: ModelInfo, size: tuple[int, int], scale: float, keep_res: bool) -> View:
    """Return a view of an image.

    Args:
        image: `(height, width, 3)` uint8 BGR.
        model: how the network wants images resized.
        size: `(width, height)` of the network's input, unless the resolution is kept.
        scale: the image in the input is so many times as large as it would be. What reaches beyond a fixed input is
            cropped, which all sides share alike.
        keep_res: leave the image, or its scaled copy, as it is, in the middle of an input of the next multiple of the
            network's step above each side: `(side | 31) + 1` for a step of 32.
    """
    if keep_res:
        return _kept(image, model, scale)
    source = (image.shape[1], image.shape[0])
    whole = Letterbox.fit(source, size, model.resize)
    if scale == 1:
        return View(image, whole, (1.0, 1.0))
    if model.resize == "area":
        copy = _resized(image, tuple(max(1, round(side * scale)) for side in whole.resized), model)
        ratio = 1.0
        shift = tuple(float(round((side - own) / 2 - 0.1)) for side, own in zip(size, _size(copy), strict=True))
    else:
        copy = _resized(image, tuple(max(1, int(side * scale)) for side in source), model)
        ratio = whole.scale[0]
        # The center of the copy goes to that of the input, as that of the image does.
        half = 0.5 * ratio - 0.5 if model.resize == "linear-centered" else 0.0
        shift = tuple(side / 2 - ratio * own / 2 + half for side, own in zip(size, _size(copy), strict=True))
    geometry = Letterbox.warp(_size(copy), size, (ratio, ratio), (shift[0], shift[1]))
    return View(copy, geometry, _factor(copy, source))


def _kept(image: ByteArray, model: ModelInfo, scale: float) -> View:
    source = (image.shape[1], image.shape[0])
    copy = image if scale == 1 else _resized(image, tuple(max(1, int(side * scale)) for side in source), model)
    width, height = _size(copy)
    step = model.size_multiple
    target = ((width // step + 1) * step, (height // step + 1) * step)
    model.check_size(target)
    shift = (target[0] / 2 - width // 2, target[1] / 2 - height // 2)
    return View(copy, Letterbox.warp((width, height), target, (1.0, 1.0), shift), _factor(copy, source))


def _size(image: ByteArray) -> tuple[int, int]:
    return image.shape[1], image.shape[0]


def _factor(copy: ByteArray, source: tuple[int, int]) -> tuple[float, float]:
    """Return the scale between the sizes as they are; CenterNet divides by that before they were cut to pixels."""
    return copy.shape[1] / source[0], copy.shape[0] / source[1]


def _resized(image: ByteArray, size: tuple[int, ...], model: ModelInfo) -> ByteArray:
    interpolation = cv2.INTER_AREA if model.resize == "area" else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=interpolation), np.uint8)
