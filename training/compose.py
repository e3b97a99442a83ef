"""Crowds from cut-outs: people pasted over photographs at the scale of a common ground plane."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from fairmot.training.augment_settings import CrowdSettings
from fairmot.training.samples import Keep, Kind, Sample, worker_pool
from fairmot.training.sprites import (
    Cutout,
    jitter,
    load_cutouts,
    matched,
    posed,
    recolored,
    require_cutouts,
    softened,
)

Job = TypeVar("Job")

_SIZE = (800, 450)
_LABEL_SHARE = 0.3  # people less visible than this become ignore regions
_SEEN_SHARE = 0.02  # people less visible than this are dropped
SMALLEST = 10  # px, lower people are not pasted


def kinds_of(visible: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the `Kind` of people by their visible share."""
    kinds = np.where(visible >= _LABEL_SHARE, Kind.PERSON, np.where(visible > _SEEN_SHARE, Kind.IGNORE, Kind.NONE))
    return kinds.astype(np.int64)


class Composition:
    """An image into which people are pasted, far ones first.

    Attributes:
        canvas: `(h, w, 3)` float32 BGR.
        owner: `(h, w)` index of the person visible at a pixel, -1 for the background.
        boxes: whole people, tlbr in pixels, in the order of pasting.
        identities: of the people, in the same order.
    """

    def __init__(self, canvas: npt.NDArray[np.float32], cutouts: list[Cutout], settings: CrowdSettings) -> None:
        self.canvas = canvas
        self.owner = np.full(canvas.shape[:2], -1, np.int32)
        self.boxes: list[tuple[float, float, float, float]] = []
        self.identities: list[int] = []
        self._areas: list[int] = []
        self._cutouts = cutouts
        self._settings = settings
        self._tone = float(canvas.mean())

    def add(self, x: float, y: float, person_height: float, generator: np.random.Generator) -> None:
        """Paste a random person with the feet at `(x, y)`, in pixels; people below `SMALLEST` only take an index."""
        settings = self._settings
        cutout = self._cutouts[int(generator.integers(len(self._cutouts)))]
        sprite = jitter(cutout.image, generator)
        if person_height < SMALLEST:
            self._areas.append(0)
            self.boxes.append((0.0, 0.0, 0.0, 0.0))
            self.identities.append(-1)
            return
        sprite = recolored(posed(sprite, settings, generator), settings, generator)
        factor = person_height / sprite.shape[0]
        mode = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        sprite = np.asarray(cv2.resize(sprite, None, fx=factor, fy=factor, interpolation=mode), np.uint8)
        left, top = round(x - sprite.shape[1] / 2), round(y - sprite.shape[0])
        if settings.color_match:
            margin = sprite.shape[1]
            rows = slice(max(0, top), max(0, top + sprite.shape[0]))
            place = self.canvas[rows, max(0, left - margin) : max(0, left + sprite.shape[1] + margin)]
            sprite = matched(sprite, place, generator.uniform(0, settings.color_match))
        elif generator.random() < 0.5:  # match the brightness of the surroundings
            gain = np.clip(self._tone / max(float(sprite[..., :3].mean()), 1.0), 0.6, 1.5)
            sprite[..., :3] = np.clip(sprite[..., :3] * gain**0.5, 0, 255).astype(np.uint8)
        opaque = sprite[..., 3] > 127
        self._areas.append(int(opaque.sum()))
        columns = np.flatnonzero(opaque.any(0))
        first, last = (columns[0], columns[-1] + 1) if len(columns) else (0, sprite.shape[1])
        self.boxes.append((left + first, top, left + last, top + sprite.shape[0]))
        self.identities.append(cutout.identity)
        _shadow(self.canvas, x, y, person_height, generator)
        edge = 0.0
        if settings.soft_edge[1] > 0:
            edge = min(generator.uniform(*settings.soft_edge), person_height / 25)
        self._paste(sprite, left, top, edge)

    def visible(self) -> npt.NDArray[np.float64]:
        """Return the visible share of every person `(n,)`; the part outside of the image counts as hidden."""
        seen = np.bincount(self.owner[self.owner >= 0], minlength=len(self._areas))
        return np.asarray(seen / np.maximum(self._areas, 1), np.float64)

    def image(self, generator: np.random.Generator) -> npt.NDArray[np.uint8]:
        """Return the image `(h, w, 3)`, sometimes a little out of focus."""
        canvas = cv2.GaussianBlur(self.canvas, (3, 3), 0) if generator.random() < 0.3 else self.canvas
        return np.clip(canvas, 0, 255).astype(np.uint8)

    def _paste(self, sprite: npt.NDArray[np.uint8], left: int, top: int, edge: float) -> None:
        height, width = self.canvas.shape[:2]
        x0, y0 = max(left, 0), max(top, 0)
        x1, y1 = min(left + sprite.shape[1], width), min(top + sprite.shape[0], height)
        if x1 <= x0 or y1 <= y0:
            return
        inside = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
        alpha = softened(sprite[..., 3], edge)[inside][..., None].astype(np.float32) / 255
        region = self.canvas[y0:y1, x0:x1]
        region += alpha * (sprite[inside][..., :3] - region)
        self.owner[y0:y1, x0:x1][sprite[inside][..., 3] > 127] = len(self.boxes) - 1


def compose(
    background: npt.NDArray[np.uint8],
    cutouts: list[Cutout],
    seed: int,
    settings: CrowdSettings,
    size: tuple[int, int] = _SIZE,
) -> Sample:
    """Paste people over a photograph, far ones first.

    Feet lie on a plane seen from a camera with a random horizon, so that heights grow linearly with
    the distance of the feet below it; a share of the people walk in groups that overlap.
    """
    generator = np.random.default_rng(seed)
    width, height = size
    scale = max(width / background.shape[1], height / background.shape[0])
    canvas = cv2.resize(background, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)[:height, :width]
    canvas = canvas.astype(np.float32) * np.exp(generator.uniform(-0.3, 0.2))
    horizon = generator.uniform(-0.5, 0.35) * height
    tallest = np.exp(generator.uniform(np.log(60), np.log(380)))  # height of someone at the lower edge
    count = int(generator.integers(3, 36 if tallest < 160 else 14))
    feet_y = generator.uniform(max(horizon, 0) + 0.1 * height, 1.1 * height, count)
    feet_x = generator.uniform(-0.02, 1.02, count) * width
    grouped = generator.random(count) < 0.4
    for i in np.flatnonzero(grouped[1:]) + 1:  # beside or behind the previous one
        feet_y[i] = feet_y[i - 1] + generator.normal(0, 6)
        person_height = tallest * (feet_y[i - 1] - horizon) / (height - horizon)
        feet_x[i] = feet_x[i - 1] + generator.normal(0, 0.35) * person_height
    composition = Composition(canvas, cutouts, settings)
    for i in np.argsort(feet_y).tolist():
        person_height = tallest * (feet_y[i] - horizon) / (height - horizon) * np.exp(generator.normal(0, 0.06))
        composition.add(feet_x[i], feet_y[i], person_height, generator)
    kinds = kinds_of(composition.visible())
    keep = kinds != Kind.NONE
    return Sample(
        composition.image(generator),
        np.array(composition.boxes, np.float32).reshape(-1, 4)[keep],
        kinds[keep],
        np.zeros(int(keep.sum()), np.int64),
        np.array(composition.identities, np.int64)[keep],
        "cutouts",
        "crowd",
        f"crowd/{seed}",
    )


def _shadow(
    canvas: npt.NDArray[np.float32], x: float, y: float, person_height: float, generator: np.random.Generator
) -> None:
    """Darken a soft ellipse under the feet."""
    half = max(2, round(0.25 * person_height))
    top, left = max(0, round(y) - half // 2), max(0, round(x) - half)
    region = canvas[top : round(y) + half // 2, left : round(x) + half]
    if region.size:
        rows = (np.arange(region.shape[0]) + top - y)[:, None] / (half / 2)
        columns = (np.arange(region.shape[1]) + left - x) / half
        region *= 1 - generator.uniform(0.1, 0.5) * np.clip(1 - rows**2 - columns**2, 0, 1)[..., None]


pool_cutouts: list[Cutout] = []  # of a worker process


def _load_in_worker(root: Path) -> None:
    cv2.setNumThreads(1)
    pool_cutouts.extend(load_cutouts(root))


def made_in_workers(root: Path, make: Callable[[Job], Sample], jobs: Iterable[Job], workers: int) -> Iterator[Sample]:
    """Yield `make(job)` for each job, in order, computed in worker processes that have read `pool_cutouts`.

    Raises:
        SourceError: if there are no cut-outs.
    """
    require_cutouts(root)
    with worker_pool(workers, _load_in_worker, root) as pool:
        yield from pool.map(make, jobs, chunksize=8)


def _compose_in_worker(job: tuple[npt.NDArray[np.uint8], int, CrowdSettings]) -> Sample:
    background, seed, settings = job
    return compose(background, pool_cutouts, seed, settings)


def crowd_samples(
    root: Path,
    count: int,
    backgrounds: list[npt.NDArray[np.uint8]],
    seed: int,
    settings: CrowdSettings,
    workers: int,
    keep: Keep,
) -> Iterator[Sample]:
    """Return the kept ones of `count` composed crowds.

    Raises:
        SourceError: if there are no cut-outs, at the first crowd.
    """
    kept = (i for i in range(count) if keep(i, f"crowd/{seed + i}"))
    jobs = ((backgrounds[i % len(backgrounds)], seed + i, settings) for i in kept)
    return made_in_workers(root, _compose_in_worker, jobs, workers)
