"""The text of ASS events: laid out by the rules of libass, and rendered by it where FFmpeg has it."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from fairmot.core import Tracks
from fairmot.video.ass import TrackEvents, escaped
from fairmot.video.drawing import color_of

SIZE = (640, 360)
BOXES = [
    [100, 80, 60, 120],
    [101, 82, 60, 120],  # labels above each other
    [300, 200, 90, 100],
    [-20, -10, 80, 90],  # beyond the upper left corner
    [600, 330, 100, 100],  # and the lower right one
    [450, 60, 1, 1],
    [500.4, 100.6, 40.2, 80.2],
]


def tracks(boxes: list[list[float]], class_ids: list[int] | None = None) -> Tracks:
    count = len(boxes)
    return Tracks(
        np.arange(1, count + 1) * 7,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.ones(count, np.float32),
        np.array(class_ids or [0] * count),
    )


def font_of(events: TrackEvents) -> int:
    return int(re.findall(r"^Style: Default,sans-serif,(\d+),", events.header, re.MULTILINE)[0])


def laid_out(text: str, font: int) -> tuple[list[tuple[str, list[float]]], list[tuple[str, float, float, str]]]:
    """Lay an event out as libass does; return the drawings and the labels.

    Returns:
        color and left, top, right, bottom of each drawing; color, left, top and text of each label.
    """
    start = re.match(r"\{\\pos\(0,0\)\\org\(-(\d+),0\)\\p1\}", text)
    assert start
    distance = int(start[1])
    first, *lines = text[start.end() :].split("\\N")
    assert first.endswith("{\\p0}")
    shapes = re.findall(r"\{\\c(&H\w{6}&)\}m ([-\d l m]+)", first[: -len("{\\p0}")])
    points = [np.array(re.findall(r"-?\d+", shape), float).reshape(-1, 2) for _, shape in shapes]
    tallest = max(np.ptp(each[:, 1]) for each in points)
    pen, drawings = 0.0, []
    for (color, _), each in zip(shapes, points, strict=True):
        low, high = each.min(0), each.max(0)
        down = tallest - (high - low)[1]
        drawings.append((color, [low[0] + pen, low[1] + down, high[0] + pen, high[1] + down]))
        pen += (high - low)[0]
    labels = []
    for number, line in enumerate(lines):
        match = re.match(
            r"\{\\c(&H\w{6}&)\\frz(-?[\d.]+)\\bord0\\p1\}m 0 0 l (\d+) 0\{\\p0\\bord\d+\}((?:[^{\\]|\\\W)*)$", line
        )
        assert match, line
        color, degrees, spacer, label = match.groups()
        u, v, angle = int(spacer) + distance, tallest + number * font, math.radians(float(degrees))
        x, y = u * math.cos(angle) + v * math.sin(angle) - distance, v * math.cos(angle) - u * math.sin(angle)
        labels.append((color, x, y, label))
    return drawings, labels


def test_boxes_and_labels_are_where_they_belong() -> None:
    events = TrackEvents(SIZE)
    font = font_of(events)
    assert f"PlayResX: {SIZE[0]}\nPlayResY: {SIZE[1]}\n" in events.header
    drawings, labels = laid_out(events.text(tracks(BOXES)), font)
    colors = ["&H{:02X}{:02X}{:02X}&".format(*color_of(7 * number)) for number in range(1, len(BOXES) + 1)]
    assert [color for color, _ in drawings] == [color for color, *_ in labels] == colors
    for (_, drawn), (left, top, width, height) in zip(drawings, BOXES, strict=True):
        assert drawn == pytest.approx([left, top, left + width, top + height], abs=1.0)
    assert [label for *_, label in labels] == [str(7 * number) for number in range(1, len(BOXES) + 1)]
    for (_, x, y, _), (left, top, _, _) in zip(labels, BOXES, strict=True):
        assert x == pytest.approx(min(max(left, 1), SIZE[0] - font), abs=1.0)
        assert y == pytest.approx(min(max(top - font, 0), SIZE[1] - font), abs=0.6)


def test_hundreds_of_tracks_stay_in_place() -> None:
    boxes = np.random.default_rng(0).uniform((0, 60, 10, 10), (1800, 800, 200, 400), (400, 4)).round()
    events = TrackEvents((1920, 1080))
    drawings, labels = laid_out(events.text(tracks(boxes.tolist())), font_of(events))
    found = np.array([drawn for _, drawn in drawings])
    np.testing.assert_allclose(found[:, :2], boxes[:, :2], atol=2)
    np.testing.assert_allclose([(x, y) for _, x, y, _ in labels], boxes[:, :2] - (0, font_of(events)), atol=8)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("person", "person"),
        ("{\\b1}", "\\{\\\u2060b1\\}"),
        ("a\\Nb", "a\\\u2060Nb"),
        ("two\nlines\x1b[0m", "two lines\\\u2060x1b[0m"),
        ("x" * 500, "x" * 60 + "..."),
        ("人", "人"),
    ],
)
def test_names_are_shown_as_they_are(name: str, shown: str) -> None:
    assert escaped(name) == shown
    text = TrackEvents(SIZE, ["person", name]).text(tracks([[10, 20, 30, 40]] * 3, [1, 0, 5]))
    assert re.findall(r"bord1\}(.*?)(?:\\N(?=\{)|$)", text) == [f"{shown} 7", "person 14", "class_5 21"]
    assert "\n" not in text


@lru_cache(maxsize=1)
def renders() -> bool:
    """Whether an FFmpeg with libass is on the path."""
    program = shutil.which("ffmpeg")
    if program is None:
        return False
    filters = subprocess.run([program, "-v", "error", "-filters"], capture_output=True, text=True, check=False).stdout
    return " subtitles " in filters


def render(script: Path, size: tuple[int, int], options: str = "") -> np.ndarray:
    """Return an image of a script on black, by FFmpeg."""
    image = script.with_suffix(".png")
    black = f"color=black:s={size[0]}x{size[1]}"
    line = [
        "ffmpeg",
        "-v",
        "error",
        "-f",
        "lavfi",
        "-i",
        black,
        "-vf",
        f"format=bgr24,subtitles={script.name}{options}",
    ]
    subprocess.run([*line, "-frames:v", "1", "-y", image.name], cwd=script.parent, check=True, timeout=60)
    return np.asarray(cv2.imread(str(image)), np.uint8)


@pytest.mark.skipif(not renders(), reason="needs an FFmpeg with libass")
@pytest.mark.parametrize("stretch", [1.0, 1.5])  # pixels that are not square: players stretch the video
def test_libass_renders_them_there(tmp_path: Path, stretch: float) -> None:
    events = TrackEvents(SIZE, ["person", "car {x}"])
    script = tmp_path / "a.ass"
    text = events.text(tracks(BOXES, [0, 1, 0, 1, 0, 1, 0]))
    script.write_text(f"{events.header}Dialogue: 0,0:00:00.00,0:00:05.00,Default,,0,0,0,,{text}\n")
    original = "" if stretch == 1 else f":original_size={SIZE[0]}x{SIZE[1]}"
    image = render(script, (round(SIZE[0] * stretch), SIZE[1]), original).astype(int)
    for number, (left, top, width, height) in enumerate(BOXES, 1):
        color = np.array(color_of(7 * number))

        def has_color(x: float, y: float, reach: int, color: np.ndarray = color) -> bool:
            x, y = round(x * stretch), round(y)
            near = image[max(y - reach, 0) : y + reach, max(x - reach, 0) : x + reach]
            return bool(len(near) and (np.abs(near - color).max(axis=2) < 60).any())

        sides = [(left, top + height / 2), (left + width, top + height / 2), (left + width / 2, top + height)]
        inside = [(x, y) for x, y in sides if 2 < x < SIZE[0] - 2 and 2 < y < SIZE[1] - 2]
        assert all(has_color(x, y, 2) for x, y in inside), number
        label = max(left, 1) + font_of(events), max(top - font_of(events) / 2, font_of(events) / 2)
        if number != 5:  # its label leaves the image on the right
            assert has_color(*label, font_of(events) // 2), number
