"""Synthetic people who walk, with the detections that a detector with embeddings would return and the ground truth.

Every number comes from `random.Random.random`, whose sequence Python guarantees, and from additions, multiplications
and square roots, which IEEE 754 defines to the last bit: any machine makes the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt

SIZE = (1280, 720)
EMBEDDING = 16  # numbers; few, so that some people look alike

Point = tuple[float, float]
Box = tuple[float, float, float, float]  # left, top, width, height


@dataclass(frozen=True)
class Walk:
    """The events of one sequence.

    Attributes:
        seed: of all random numbers.
        frame_rate: frames per second.
        frames: number of frames.
        people: number of people who start inside the image.
        hurry: factor on their speed.
        pan: pixels that the camera turns to the right per frame.
        jerks: further shift of the camera, `{frame: (right, down)}`, from that frame on.
        gaps: frames in which the detector returns nothing.
        absences: `(person, first, last)`: frames in which somebody is out of sight and not in the ground truth.
        distractors: number of people who stand behind glass (class 12 of MOT17): detected, and not to be scored.
    """

    seed: int
    frame_rate: float
    frames: int
    people: int
    hurry: float = 1.0
    pan: float = 0.0
    jerks: Sequence[tuple[int, Point]] = ()
    gaps: Sequence[int] = ()
    absences: Sequence[tuple[int, int, int]] = ()
    distractors: int = 0


@dataclass(frozen=True)
class Person:
    """One who walks from `start` to `end` and back, at a steady pace.

    Attributes:
        start: position of the feet at the start, in pixels of the first frame.
        end: position at which to turn back.
        pace: share of the way per frame.
        looks: mean of the embeddings, of length 1.
    """

    start: Point
    end: Point
    pace: float
    looks: list[float]

    def box(self, frame: int, shift: Point) -> Box:
        """Return where the person is in a frame, the camera having turned by `shift`; the lower, the nearer."""
        way = (frame - 1) * self.pace % 2.0
        share = way if way <= 1.0 else 2.0 - way
        x, y = (a + share * (b - a) for a, b in zip(self.start, self.end, strict=True))
        height = 40.0 + 0.3 * y
        width = 0.4 * height
        return x - shift[0] - width / 2, y - shift[1] - height, width, height


class Recording:
    """The detections and the ground truth of one walk."""

    def __init__(self, walk: Walk) -> None:
        self._walk = walk
        self._random = Random(walk.seed)
        self._people = [self._person() for _ in range(walk.people)]
        self._people += [self._person(stands=True) for _ in range(walk.distractors)]
        self.truth: list[str] = []
        self._rows: list[tuple[int, Box, float, list[float]]] = []
        for frame in range(1, walk.frames + 1):
            self._record(frame)

    def archive(self) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays of a detection file."""
        frames, boxes, scores, embeddings = zip(*self._rows, strict=True)
        tlbr = [(left, top, left + width, top + height) for left, top, width, height in boxes]
        return {
            "frame": np.array(frames, np.int32),
            "tlbr": np.array(tlbr, np.float32),
            "score": np.array(scores, np.float32),
            "embedding": np.array(embeddings, np.float16),
            "fps": np.array(self._walk.frame_rate),
            "width": np.array(SIZE[0]),
            "height": np.array(SIZE[1]),
            "n_frames": np.array(self._walk.frames),
        }

    def _record(self, frame: int) -> None:
        """Append the rows of one frame."""
        shift = self._shift(frame)
        present = [
            (number, person, person.box(frame, shift))
            for number, person in enumerate(self._people, start=1)
            if not any(number == who and first <= frame <= last for who, first, last in self._walk.absences)
        ]
        present.sort(key=lambda each: -each[2][1] - each[2][3])  # the nearest first
        rows: list[tuple[Box, float, list[float]]] = []
        for index, (number, person, box) in enumerate(present):
            visible = _visible(box, [nearer for _, _, nearer in present[:index]])
            if not visible:
                continue
            scored = number <= self._walk.people
            left, top, width, height = box
            self.truth.append(
                f"{frame},{number},{left:.2f},{top:.2f},{width:.2f},{height:.2f},{int(scored)},{1 if scored else 12},"
                f"{visible:.2f}\n"
            )
            rows += self._detections(person, box, visible)
        rows += self._ghosts()
        if frame not in self._walk.gaps:
            rows.sort(key=lambda row: -row[1])
            self._rows += [(frame, *row) for row in rows]

    def _detections(self, person: Person, box: Box, visible: float) -> Iterator[tuple[Box, float, list[float]]]:
        """Yield none, one or, seldom, two detections of somebody."""
        seen = self._random.random()
        if visible < 0.05 or seen < 0.04:
            return
        yield self._detection(person, box, visible, 0.012)
        if seen > 0.985:
            yield self._detection(person, box, 0.7 * visible, 0.05)

    def _detection(self, person: Person, box: Box, visible: float, shake: float) -> tuple[Box, float, list[float]]:
        """Return a detection whose box, score and embedding are the worse the less is visible.

        Boxes are in eighths of a pixel. Scores are in hundredths, so that the thresholds themselves occur.
        """
        left, top, width, height = box
        spread = shake * height * (2.0 - visible)
        moved = (left + spread * self._normal(), top + spread * self._normal())
        sized = (width + 0.5 * spread * self._normal(), height + spread * self._normal())
        shaken = _eighths(moved[0]), _eighths(moved[1]), _eighths(sized[0]), _eighths(sized[1])
        score = 0.15 + 0.75 * visible + 0.05 * self._normal()
        noise = 0.12 + 0.25 * (1.0 - visible)
        return shaken, _hundredths(score), _unit([value + noise * self._normal() for value in person.looks])

    def _ghosts(self) -> Iterator[tuple[Box, float, list[float]]]:
        """Yield, now and then, a detection of nobody."""
        if self._random.random() < 0.15:
            x, y = SIZE[0] * self._random.random(), 200.0 + 450.0 * self._random.random()
            height = 60.0 + 120.0 * self._random.random()
            score = 0.2 + 0.35 * self._random.random()
            box = _eighths(x), _eighths(y - height), _eighths(0.4 * height), _eighths(height)
            yield box, _hundredths(score), self._looks()

    def _shift(self, frame: int) -> Point:
        """Return how far the camera has turned since the first frame."""
        steps = [step for first, step in self._walk.jerks if first <= frame]
        return self._walk.pan * (frame - 1) + sum(step[0] for step in steps), sum((step[1] for step in steps), 0.0)

    def _person(self, stands: bool = False) -> Person:
        """Return somebody who crosses the middle of the image, or stands somewhere in it."""
        width, height = SIZE
        start = width * self._random.random(), 220.0 + (height - 240.0) * self._random.random()
        mirrored = width - start[0] + 80.0 * self._normal(), start[1] + 40.0 * self._normal()
        pace = self._walk.hurry * (2.0 + 3.0 * self._random.random()) / max(abs(mirrored[0] - start[0]), 80.0)
        return Person(start, start if stands else mirrored, pace, self._looks())

    def _looks(self) -> list[float]:
        return _unit([self._normal() for _ in range(EMBEDDING)])

    def _normal(self) -> float:
        """Return a number that is nearly normally distributed, by additions alone."""
        return math.fsum(self._random.random() for _ in range(12)) - 6.0


def _visible(box: Box, nearer: Sequence[Box]) -> float:
    """Return the share of a box that is in the image and not behind the one that hides most of it."""
    inside = _common(box, (0.0, 0.0, float(SIZE[0]), float(SIZE[1])))
    hidden = max((_common(box, other) for other in nearer), default=0.0)
    return max(inside - hidden, 0.0) / (box[2] * box[3])


def _common(a: Box, b: Box) -> float:
    """Return the area that two boxes share."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(width, 0.0) * max(height, 0.0)


def _unit(vector: list[float]) -> list[float]:
    length = math.sqrt(math.fsum(value * value for value in vector))
    return [value / length for value in vector]


def _eighths(value: float) -> float:
    return math.floor(8.0 * value + 0.5) / 8.0


def _hundredths(score: float) -> float:
    return math.floor(100.0 * min(max(score, 0.05), 0.99) + 0.5) / 100.0
