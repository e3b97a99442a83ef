"""Drawing of tracks into an image: boxes, ids in stable colors, trails, a caption."""

from __future__ import annotations

import colorsys
from collections import deque
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from fairmot.core import Tracks
from fairmot.core.records import ByteArray
from fairmot.core.tracked_classes import class_name
from fairmot.video.canvas import Canvas, Color

TRAIL_LENGTH = 45

_FARTHEST = 2**14  # boxes may lie outside the image; OpenCV's integer coordinates must not overflow
_GOLDEN_RATIO = 0.618033988749895
_CAPTION_COLOR = (32, 32, 32)


class Trails:
    """The positions of tracks in the last frames: the middles of the lower edges of their boxes.

    Args:
        length: points kept for each track; a track not seen for as many frames is forgotten.
    """

    def __init__(self, length: int = TRAIL_LENGTH) -> None:
        self._length = length
        self._points: dict[int, deque[int]] = {}  # x and y in turn, which become an array fastest
        self._last_seen: dict[int, int] = {}
        self._time = 0

    def update(self, tracks: Tracks) -> None:
        """Add the tracks of one frame."""
        self._time += 1
        feet = np.rint(tracks.tlwh[:, :2] + tracks.tlwh[:, 2:] * (0.5, 1.0)).clip(-_FARTHEST, _FARTHEST).astype(int)
        for id_, (x, y) in zip(tracks.ids.tolist(), feet.tolist(), strict=True):
            if self._time - self._last_seen.get(id_, self._time) > 1:
                self._points[id_].clear()  # no line across the gap of a track that was lost
            self._points.setdefault(id_, deque(maxlen=2 * self._length)).extend((x, y))
            self._last_seen[id_] = self._time
        for id_ in [id_ for id_, seen in self._last_seen.items() if self._time - seen > self._length]:
            del self._points[id_], self._last_seen[id_]

    def __len__(self) -> int:
        return len(self._points)

    def of(self, id_: int) -> npt.NDArray[np.int32]:
        """Return the points of a track, oldest first: `(n, 2)`, x and y in pixels."""
        points = self._points.get(id_, ())
        return np.fromiter(points, np.int32, len(points)).reshape(-1, 2)


@lru_cache(maxsize=4096)
def color_of(id_: int) -> Color:
    """Return the color of an id in BGR: the same in every run, and far in hue from its neighbors'."""
    # Steps of the golden ratio spread hues evenly however many there are.
    hue = (id_ * _GOLDEN_RATIO) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, 1.0 if id_ % 2 else 0.85)
    return round(255 * blue), round(255 * green), round(255 * red)


def draw_tracks(
    image: ByteArray | Canvas,
    tracks: Tracks,
    trails: Trails | None = None,
    caption: str = "",
    class_names: Sequence[str] = (),
) -> None:
    """Draw into `image`, in place.

    Args:
        image: `(height, width, 3)` uint8, BGR, contiguous; or a canvas, which may be one of YUV planes.
        tracks: the tracks of this frame.
        trails: draws the trails of these tracks under their boxes.
        caption: text for the upper left corner.
        class_names: by class id; of two or more, labels show that of the track before its id.
    """
    ids = tracks.ids.tolist()
    canvas = image if isinstance(image, Canvas) else Canvas.of_bgr(image)
    shorter = min(canvas.width, canvas.height)
    thickness = max(1, round(shorter / 270))
    scale = float(np.clip(shorter / 900, 0.4, 2.0))
    boxes = np.concatenate([tracks.tlwh[:, :2], tracks.tlwh[:, :2] + tracks.tlwh[:, 2:]], axis=1)
    corners = np.rint(boxes).clip(-_FARTHEST, _FARTHEST).astype(int).tolist()
    if trails is not None:
        for id_ in ids:
            canvas.line(trails.of(id_), color_of(id_), thickness)
    for id_, (left, top, right, bottom) in zip(ids, corners, strict=True):
        canvas.rectangle((left, top), (right, bottom), color_of(id_), thickness)
    # Labels last, so that no box crosses a number.
    labels = [str(id_) for id_ in ids]
    if len(class_names) > 1:
        names = [class_name(class_names, class_id) for class_id in tracks.class_ids.tolist()]
        labels = [f"{name} {label}" for name, label in zip(names, labels, strict=True)]
    for label, id_, (left, top, _, _) in zip(labels, ids, corners, strict=True):
        canvas.label(label, (left, top), scale, color_of(id_))
    if caption:
        canvas.label(caption, (0, 0), scale, _CAPTION_COLOR, keep=False)
