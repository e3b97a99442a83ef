"""The routes of a rendered crowd as a function of time, without state that grows with it.

A crowd has a fixed number of slots. In each, one visit follows another: somebody enters the view, crosses
it, perhaps stops or turns back, and leaves; then, after a pause, the same person returns or another one comes.
A visit depends on the seed, its slot and its number alone, so moments can be computed in any order.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fairmot.video.synthetic.pinhole import Camera
from fairmot.video.synthetic.wardrobe import Appearance

_RETURN_SHARE = 0.15  # of the visits that follow another
_OUTSIDE = 1.8  # meters beyond the edge of the view where routes begin and end
_SAMPLES_PER_SECOND = 5
_ROUTE_POINTS = 48

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Walker:
    """A person at one moment: position and heading on the ground (meters, radians) and gait (see `draw_figure`)."""

    id: int
    look: Appearance
    x: float
    y: float
    heading: float
    phase: float
    stride: float


@dataclass(frozen=True, eq=False)
class _Visit:
    """One way through the view: points along the route, and the distance walked at equal steps of time."""

    id: int
    look: Appearance
    points: Array
    lengths: Array
    walked: Array
    phase: float

    @property
    def duration(self) -> float:
        return (len(self.walked) - 1) / _SAMPLES_PER_SECOND

    def at(self, seconds: float) -> Walker:
        step = min(max(seconds, 0.0), self.duration) * _SAMPLES_PER_SECOND
        low = min(int(step), len(self.walked) - 2)
        speed = float(self.walked[low + 1] - self.walked[low])
        distance = float(self.walked[low]) + (step - low) * speed
        segment = min(int(np.searchsorted(self.lengths, distance, side="right")), len(self.lengths) - 1) - 1
        begin, end = self.points[segment], self.points[segment + 1]
        share = (distance - self.lengths[segment]) / (self.lengths[segment + 1] - self.lengths[segment])
        x, y = (begin + share * (end - begin)).tolist()
        ahead = self.points[min(segment + 2, len(self.points) - 1)] - self.points[max(segment - 1, 0)]
        cycle = 0.82 * self.look.height  # meters of two steps
        brisk = speed * _SAMPLES_PER_SECOND / 0.8
        return Walker(
            self.id,
            self.look,
            x,
            y,
            heading=float(np.arctan2(ahead[1], ahead[0])),
            phase=self.phase + 2.0 * np.pi * distance / cycle,
            stride=1.0 if brisk > 1.0 else 0.5 if brisk > 0.15 else 0.0,
        )


class Crowd:
    """People on their ways through the view of a camera.

    Ids start at 1 and belong to one person each; someone who returns keeps the id and the looks.

    Args:
        camera: decides where the ground is in view.
        people: number of slots, about the number of people in view at any time.
        seed: the same seed gives the same crowd.
    """

    def __init__(self, camera: Camera, people: int, seed: int) -> None:
        self._camera = camera
        self._seed = seed
        # Per slot: when each visit begins, and how many different people came before and with it.
        self._begins: list[list[float]] = [[] for _ in range(people)]
        self._persons: list[list[int]] = [[] for _ in range(people)]
        self._recent: OrderedDict[tuple[int, int], _Visit] = OrderedDict()

    def at(self, seconds: float) -> list[Walker]:
        """Return everybody who is on the way at this time, in view or just outside."""
        found = []
        for slot in range(len(self._begins)):
            number = self._number(slot, seconds)
            visit = self._visit(slot, number)
            since = seconds - self._begins[slot][number]
            if 0.0 <= since <= visit.duration:
                found.append(visit.at(since))
        return found

    def _number(self, slot: int, seconds: float) -> int:
        """Return the number of the last visit to `slot` that begins at or before this time."""
        begins, persons = self._begins[slot], self._persons[slot]
        if not begins:
            persons.append(0)
            # The image is populated from the start, so the first visits began before it.
            share = np.random.default_rng([self._seed, slot, 1]).uniform(0.1, 0.75)
            begins.append(-float(share) * self._visit(slot, 0).duration)
        while begins[-1] <= seconds:
            number = len(begins)
            rng = np.random.default_rng([self._seed, slot, number, 2])
            returns = bool(rng.random() < _RETURN_SHARE)
            pause = rng.uniform(1.0, 5.0) if returns else rng.uniform(0.2, 3.0)
            end = begins[-1] + self._visit(slot, number - 1).duration
            persons.append(persons[-1] + (0 if returns else 1))
            begins.append(end + float(pause))
        return max(bisect_right(begins, seconds) - 1, 0)

    def _visit(self, slot: int, number: int) -> _Visit:
        key = (slot, number)
        if key not in self._recent:
            self._recent[key] = self._make(slot, number)
            while len(self._recent) > 3 * len(self._begins):
                self._recent.popitem(last=False)
        self._recent.move_to_end(key)
        return self._recent[key]

    def _make(self, slot: int, number: int) -> _Visit:
        id_ = 1 + slot + len(self._begins) * self._persons[slot][number]
        look = Appearance.random(self._seed * 1_000_003 + id_)
        rng = np.random.default_rng([self._seed, slot, number, 3])
        points, may_stop = self._route(rng)
        lengths = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
        pace = rng.uniform(1.05, 1.55) * (0.6 + 0.4 * look.height / 1.72)
        steps = np.full(int(np.ceil(lengths[-1] / pace * _SAMPLES_PER_SECOND)), pace / _SAMPLES_PER_SECOND)
        if may_stop:
            wait = np.zeros(int(rng.uniform(1.5, 6.0) * _SAMPLES_PER_SECOND))
            steps = np.insert(steps, int(rng.uniform(0.3, 0.7) * len(steps)), wait)
            steps = np.convolve(np.pad(steps, 2, mode="edge"), np.full(5, 0.2), mode="valid")
        walked = np.minimum(np.concatenate([[0.0], np.cumsum(steps)]), lengths[-1] - 1e-6)
        return _Visit(id_, look, points, lengths, walked, phase=float(rng.uniform(0.0, 2.0 * np.pi)))

    def _route(self, rng: np.random.Generator) -> tuple[Array, bool]:
        """Return the points `(n, 2)` of a way through the view and whether the person stops on it."""
        camera = self._camera
        near, far = camera.nearest, camera.farthest
        side = 1.0 if rng.random() < 0.5 else -1.0
        # More people nearby than spread evenly over the ground: the far rows hold many times the area.
        y = near + (far - near) * rng.random(2) ** 1.7
        kind = rng.choice(4, p=[0.5, 0.15, 0.2, 0.15])
        below = camera.below_view

        def edge(distance: float) -> float:
            return camera.half_width(distance) + _OUTSIDE

        if kind in (2,) and below is not None:
            # Between the lower edge of the image and one of its sides.
            x = rng.uniform(-0.7, 0.7) * camera.half_width(near)
            high = max(float(y[0]), 0.5 * (near + far))
            controls = [(x, below), (x, 0.4 * near + 0.6 * high), (side * 0.4 * edge(high), high),
                        (side * edge(high), high)]  # fmt: skip
            if rng.random() < 0.5:
                controls.reverse()
        elif kind == 3:
            # In, a turn, and out on the same side.
            back = float(np.clip(y[0] + rng.choice([-1.0, 1.0]) * rng.uniform(1.5, 3.5), near, far))
            reach = rng.uniform(-0.4, 0.9)
            controls = [(side * edge(y[0]), y[0]), (-side * reach * edge(y[0]), y[0]),
                        (-side * reach * edge(back), back), (side * edge(back), back)]  # fmt: skip
        else:
            other = float(np.clip(y[0] + np.clip(y[1] - y[0], -5.0, 5.0), near, far))
            bend = rng.normal(0.0, 0.8, 2)
            controls = [(side * edge(y[0]), y[0]), (side * 0.3 * edge(y[0]), np.clip(y[0] + bend[0], near, far)),
                        (-side * 0.3 * edge(other), np.clip(other + bend[1], near, far)),
                        (-side * edge(other), other)]  # fmt: skip
        t = np.linspace(0.0, 1.0, _ROUTE_POINTS)[:, None]
        weights = np.hstack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3])
        return weights @ np.asarray(controls, float), bool(kind in (1, 3))
