r"""Tracks as Advanced SubStation Alpha (ASS): one event a frame, with a drawing per box and a label above it.

The format is that of libass, which mpv, VLC and FFmpeg render with (`ass_parse.c`, `ass_render.c` and `ass_drawing.c`
there; https://aegisub.org/docs/latest/ass_tags/). An event per box would be the obvious way, but players keep all
events of a file and look through all of them for every frame they show, and an hour with 40 people would be 3.6
million. So all boxes of a frame and all labels are one event of several lines:

- Line 0 holds the boxes, drawings `\p1` side by side. libass advances by the width of each and lets all stand on the
  line's lower edge, which is that of the tallest; both are subtracted from the coordinates.
- Line k holds the label of box k, behind an invisible drawing as wide as the label is far from the left. A line is as
  high as the size of its font. From there the label gets to its height by a rotation (`\frz`) about a point (`\org`)
  so far to the left that it stays level: 40 labels turn by at most two hundredths of a degree.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from fairmot.core import Tracks
from fairmot.core.text import one_line
from fairmot.core.tracked_classes import class_name
from fairmot.video.drawing import color_of

_FARTHEST = 2**14  # boxes may lie outside the image; libass computes in 32-bit numbers of 1/64 pixels
_NAME_CHARACTERS = 60
_TIMES_AWAY = 3000  # the center of rotation, in widths or heights of the image: within those 32 bits on an 8K screen

_HEADER = """\
[Script Info]
ScriptType: v4.00+
PlayResX: {width}
PlayResY: {height}
WrapStyle: 2
ScaledBorderAndShadow: yes
YCbCr Matrix: None

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,sans-serif,{font},&H00FFFFFF,&H00FFFFFF,&H00000000,&H00000000,-1,0,0,0,100,100,0,0,1,0,0,7,0,0,0,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""
_BOX = "{\\c%s}m %d %d l %d %d %d %d %d %d m %d %d l %d %d %d %d %d %d"
_ESCAPES = str.maketrans({"{": "\\{", "}": "\\}", "\\": "\\\N{WORD JOINER}"})  # which no tag begins with


class TrackEvents:
    """Formats the tracks of frames as ASS.

    Args:
        size: `(width, height)` of the frames, upright as they are shown; a player scales them to whatever it shows.
        class_names: by class id; of two or more, labels show that of the track before its id.

    Attributes:
        header: of the script: its resolution is `size`, so coordinates are pixels.
    """

    def __init__(self, size: tuple[int, int], class_names: Sequence[str] = ()) -> None:
        self._width, self._height = size
        shorter = min(size)
        self._thickness = max(1, round(shorter / 270))
        self._font = max(10, round(shorter / 30))
        self._distance = _TIMES_AWAY * max(size)
        self._prefixes = [f"{escaped(name)} " for name in class_names] if len(class_names) > 1 else []
        outline = max(1, self._thickness // 2)
        self._begin = f"{{\\pos(0,0)\\org(-{self._distance},0)\\p1}}"
        self._label = f"{{\\c%s\\frz%.7f\\bord0\\p1}}m 0 0 l %d 0{{\\p0\\bord{outline}}}%s%d"
        self.header = _HEADER.format(width=self._width, height=self._height, font=self._font)

    def text(self, tracks: Tracks) -> str:
        """Return the text of the event that shows the tracks of one frame, at least one."""
        boxes = np.rint(tracks.tlwh).clip(-_FARTHEST, _FARTHEST).astype(np.int64)
        ids = tracks.ids.tolist()
        colors = [_color_tag(id_) for id_ in ids]
        heights, drawings = self._drawings(boxes, colors)
        prefixes = self._prefixes_of(tracks) if self._prefixes else [""] * len(ids)
        angles, lefts = self._placements(boxes, int(heights.max()))
        labels = map(self._label.__mod__, zip(colors, angles, lefts, prefixes, ids, strict=True))
        return f"{self._begin}{drawings}{{\\p0}}\\N" + "\\N".join(labels)

    def _drawings(self, boxes: np.ndarray, colors: list[str]) -> tuple[np.ndarray, str]:
        """Return the heights of the drawings of `(n, 4)` boxes, and the drawings.

        Each is a frame about the edges of its box: two rectangles, of which the inner one is turned the other way round
        and so stays empty.
        """
        half, rest = self._thickness // 2, self._thickness - self._thickness // 2
        near, size = boxes[:, :2] - half, np.maximum(boxes[:, 2:], 0) + 2 * half
        size = np.maximum(size, self._thickness)
        far = near + size
        shift = np.empty_like(near)
        shift[:, 0] = np.cumsum(size[:, 0]) - size[:, 0]
        shift[:, 1] = size[:, 1].max() - size[:, 1]
        near, far = near - shift, far - shift
        middle = (near + far) // 2
        (left, top), (right, bottom) = near.T.tolist(), far.T.tolist()
        inner_left, inner_top = np.minimum(near + half + rest, middle).T.tolist()
        inner_right, inner_bottom = np.maximum(far - half - rest, middle).T.tolist()
        columns = (
            *(colors, left, top, right, top, right, bottom, left, bottom),
            *(inner_left, inner_top, inner_left, inner_bottom),
            *(inner_right, inner_bottom, inner_right, inner_top),
        )
        return size[:, 1], "".join(map(_BOX.__mod__, zip(*columns, strict=True)))

    def _placements(self, boxes: np.ndarray, first_line: int) -> tuple[list[float], list[int]]:
        """Return the angles in degrees, and the positions from the left, of the labels of `(n, 4)` boxes.

        Labels stand on their boxes, or as near to that as lies inside the image.

        Args:
            boxes: left, top, width, height.
            first_line: height of line 0.
        """
        left = boxes[:, 0].clip(1, max(1, self._width - self._font))
        top = (boxes[:, 1] - self._font).clip(0, max(0, self._height - self._font))
        line = first_line + self._font * np.arange(len(boxes))
        # A point at (u, v) from the center turns to (left + distance, top): by the law of Pythagoras u is
        aside = np.sqrt((left + self._distance) ** 2.0 + top**2.0 - line**2.0)
        angle = np.arctan2(line, aside) - np.arctan2(top, left + self._distance)
        return np.degrees(angle).tolist(), np.maximum(np.rint(aside - self._distance), 0).astype(int).tolist()

    def _prefixes_of(self, tracks: Tracks) -> list[str]:
        known = self._prefixes
        return [known[id_] if 0 <= id_ < len(known) else f"{class_name((), id_)} " for id_ in tracks.class_ids.tolist()]


def escaped(text: str) -> str:
    """Return text as ASS that shows it as it is: one line, at most 60 characters, in which nothing is a tag."""
    return one_line(text, _NAME_CHARACTERS).translate(_ESCAPES)


@lru_cache(maxsize=4096)
def _color_tag(id_: int) -> str:
    return "&H{:02X}{:02X}{:02X}&".format(*color_of(id_))
