"""Global motion compensation from the images: sparse optical flow of the background.

Corners of the last frame outside of the boxes in it are tracked into this one (Lucas and Kanade, 1981, in pyramids);
the similarity transform with most inliers (RANSAC) is the camera's motion, as in BoT-SORT (Aharon et al., 2022).
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from fairmot.core.records import ByteArray, FloatArray

# The images are scaled down to this width: corners need no more, and the pyramids reach farther there.
_WIDTH = 640
_CORNERS = 400
_CORNER_QUALITY = 0.01
_CORNER_DISTANCE = 8
_LEAST_CORNERS = 12
_RANSAC_PIXELS = 1.5


class OpticalFlowGMC:
    """Estimates the camera's motion from frame to frame; some 9 ms per frame of 1920x1080 on one core.

    Example:
        gmc = OpticalFlowGMC()
        for frame in source:
            tracker.move(gmc.update(frame.bgr, tracks.tlwh))
            tracks = tracker.update(detect(frame))
    """

    def __init__(self) -> None:
        self._last: ByteArray | None = None

    def update(self, image: ByteArray, boxes: FloatArray | None = None) -> npt.NDArray[np.float64]:
        """Return the matrix `(2, 3)` that maps x, y, 1 of the last frame to x, y of this one, in source pixels.

        It is the identity for the first frame, for one of another size than the last, and where too few corners can be
        tracked (a plain wall, a cut).

        Args:
            image: uint8, `(height, width, 3)` in BGR or `(height, width)` gray.
            boxes: `(n, 4)`, left, top, width, height of the tracks of the last frame, where no corners are tracked.
        """
        width = image.shape[1]
        factor = min(1.0, _WIDTH / width)
        small = image if factor == 1 else cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        gray = np.asarray(small if small.ndim == 2 else cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.uint8)
        last, self._last = self._last, gray
        if last is None or last.shape != gray.shape:
            return np.eye(2, 3)
        transform = _estimate(last, gray, None if boxes is None else boxes * np.float32(factor))
        if transform is None:
            return np.eye(2, 3)
        transform[:, 2] /= factor
        return transform


def _estimate(last: ByteArray, gray: ByteArray, boxes: FloatArray | None) -> npt.NDArray[np.float64] | None:
    """Return the transform `(2, 3)` from `last` to `gray`, or none where too few corners can be tracked."""
    background = np.full(last.shape, 255, np.uint8)
    if boxes is not None:
        height, width = last.shape
        corners = np.concatenate((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), axis=1)
        for left, top, right, bottom in corners.clip(0, [width, height, width, height]).astype(np.int64).tolist():
            background[top : bottom + 1, left : right + 1] = 0
    points = cv2.goodFeaturesToTrack(last, _CORNERS, _CORNER_QUALITY, _CORNER_DISTANCE, mask=background)
    if points is None or len(points) < _LEAST_CORNERS:
        return None
    moved, status, _ = cv2.calcOpticalFlowPyrLK(last, gray, points, np.empty_like(points))
    kept = status.ravel() == 1
    if kept.sum() < _LEAST_CORNERS:
        return None
    transform, inliers = cv2.estimateAffinePartial2D(
        points[kept], moved[kept], method=cv2.RANSAC, ransacReprojThreshold=_RANSAC_PIXELS
    )
    if transform is None or inliers.sum() < _LEAST_CORNERS:
        return None
    return np.asarray(transform, np.float64)
