"""How the camera moved since the last frame, told by the pictures: sparse optical flow of the background.

Corners of the last frame, away from the people in it, are followed into this one (Lucas and Kanade, 1981, in
pyramids), and the shift, turn and scale on which most of them agree is what the camera did; BoT-SORT (Aharon et al.,
2022) does the same. Where there are detections alone, `fairmot.tracker.gmc.shift` tells the shift.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from fairmot.core.records import ByteArray, FloatArray

# The search runs on a small picture: corners need no more, and LK's pyramids reach farther there.
_WIDTH = 640
_CORNERS = 400
_CORNER_QUALITY = 0.01
_CORNER_DISTANCE = 8
_LEAST_FOLLOWED = 12
_RANSAC_PIXELS = 1.5


class CameraMotion:
    """Follows the camera from frame to frame; some 9 ms per frame of 1920x1080 on one core.

    Example:
        camera = CameraMotion()
        for frame in source:
            tracker.move(camera.update(frame.bgr, tracks.tlwh))
            tracks = tracker.update(detect(frame))
    """

    def __init__(self) -> None:
        self._last: ByteArray | None = None

    def update(self, picture: ByteArray, people: FloatArray | None = None) -> npt.NDArray[np.float64]:
        """Return the matrix `(2, 3)` that maps x, y, 1 of the last frame to x, y of this one, in source pixels.

        It is that of a camera that stood still for the first frame, for one of another size than the last, and where
        too little can be followed (a plain wall, a cut).

        Args:
            picture: uint8, `(height, width, 3)` in BGR or `(height, width)` grey.
            people: `(n, 4)`, left, top, width, height of those in the last frame, whose own steps do not count.
        """
        width = picture.shape[1]
        factor = min(1.0, _WIDTH / width)
        small = (
            picture if factor == 1 else cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        )
        grey = np.asarray(small if small.ndim == 2 else cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.uint8)
        last, self._last = self._last, grey
        if last is None or last.shape != grey.shape:
            return np.eye(2, 3)
        moved = _between(last, grey, None if people is None else people * np.float32(factor))
        if moved is None:
            return np.eye(2, 3)
        moved[:, 2] /= factor
        return moved


def _between(last: ByteArray, grey: ByteArray, people: FloatArray | None) -> npt.NDArray[np.float64] | None:
    """Return the transform `(2, 3)` from `last` to `grey`, or none where too little can be followed."""
    background = np.full(last.shape, 255, np.uint8)
    if people is not None:
        height, width = last.shape
        corners = np.concatenate((people[:, :2], people[:, :2] + people[:, 2:]), axis=1)
        for left, top, right, bottom in corners.clip(0, [width, height, width, height]).astype(np.int64).tolist():
            background[top : bottom + 1, left : right + 1] = 0
    points = cv2.goodFeaturesToTrack(last, _CORNERS, _CORNER_QUALITY, _CORNER_DISTANCE, mask=background)
    if points is None or len(points) < _LEAST_FOLLOWED:
        return None
    followed, found, _ = cv2.calcOpticalFlowPyrLK(last, grey, points, np.empty_like(points))
    kept = found.ravel() == 1
    if kept.sum() < _LEAST_FOLLOWED:
        return None
    transform, agreed = cv2.estimateAffinePartial2D(
        points[kept], followed[kept], method=cv2.RANSAC, ransacReprojThreshold=_RANSAC_PIXELS
    )
    if transform is None or agreed.sum() < _LEAST_FOLLOWED:
        return None
    return np.asarray(transform, np.float64)
