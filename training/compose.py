"""Crowds from cut-outs: people pasted over photographs at the scale of a common ground plane."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from core.errors import SourceError
from training.samples import Keep, Kind, Sample, worker_pool

_SIZE = (800, 450)
_LABEL_SHARE = 0.3  # people less visible than this become ignore regions


@dataclass(eq=False)
class Cutout:
    """One person, cut out: `(h, w, 4)` uint8 BGRA, trimmed to the opaque pixels, and an identity."""

    image: npt.NDArray[np.uint8]
    identity: int


def load_cutouts(root: Path) -> list[Cutout]:
    """Read full-body cut-outs: `cutouts/full_*.webp` and the instances of `pennfudan/masks`.

    Raises:
        SourceError: if there are none.
    """
    images = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted((root / "cutouts").glob("full_*.webp"))]
    for path in sorted((root / "pennfudan" / "masks").glob("*.png")):
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        photo = cv2.imread(str(root / "pennfudan" / "images" / f"{path.stem}.jpg"))
        if mask is None or photo is None or mask.shape != photo.shape[:2]:
            continue
        for value in range(1, int(mask.max()) + 1):
            alpha = cv2.GaussianBlur((mask == value).astype(np.uint8) * 255, (3, 3), 0)
            images.append(np.dstack((photo, alpha)))
    cutouts: list[Cutout] = []
    for image in images:
        if image is None or image.ndim != 3 or image.shape[2] != 4:
            continue
        rows, columns = np.nonzero(image[..., 3] > 127)
        if len(rows) and rows.max() - rows.min() > 80:
            trimmed = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            cutouts.append(Cutout(np.ascontiguousarray(trimmed), len(cutouts)))
    if not cutouts:
        raise SourceError(f"There are no cut-outs in {root / 'cutouts'}.")
    return cutouts


def _jitter(image: npt.NDArray[np.uint8], generator: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Change pose and colours a little: shear, width, contrast, tint."""
    height, width = image.shape[:2]
    stretch, shear = np.exp(generator.uniform(-0.15, 0.15)), generator.uniform(-0.08, 0.08)
    matrix = np.array([[stretch, shear, max(0.0, -shear * height)], [0, 1, 0]])
    out_width = int(np.ceil(stretch * width + abs(shear) * height))
    warped = cv2.warpAffine(image, matrix, (out_width, height), flags=cv2.INTER_LINEAR)
    if generator.random() < 0.5:
        warped = warped[:, ::-1]
    gain = np.exp(generator.uniform(-0.15, 0.15, 3)) * np.exp(generator.uniform(-0.5, 0.25))
    color = np.clip(warped[..., :3] * gain + generator.uniform(-15, 15), 0, 255)
    return np.dstack((color.astype(np.uint8), warped[..., 3]))


def compose(
    background: npt.NDArray[np.uint8], cutouts: list[Cutout], seed: int, size: tuple[int, int] = _SIZE
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
    for i in np.flatnonzero(grouped[1:]) + 1:  # beside or behind the one before
        feet_y[i] = feet_y[i - 1] + generator.normal(0, 6)
        person_height = tallest * (feet_y[i - 1] - horizon) / (height - horizon)
        feet_x[i] = feet_x[i - 1] + generator.normal(0, 0.35) * person_height
    order = np.argsort(feet_y)
    owner = np.full((height, width), -1, np.int32)
    areas, boxes, identities = [], [], []
    tone = float(canvas.mean())
    for number, i in enumerate(order.tolist()):
        person_height = tallest * (feet_y[i] - horizon) / (height - horizon) * np.exp(generator.normal(0, 0.06))
        cutout = cutouts[int(generator.integers(len(cutouts)))]
        sprite = _jitter(cutout.image, generator)
        factor = person_height / sprite.shape[0]
        if person_height < 10:
            areas.append(0)
            boxes.append((0.0, 0.0, 0.0, 0.0))
            identities.append(-1)
            continue
        mode = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        sprite = np.asarray(cv2.resize(sprite, None, fx=factor, fy=factor, interpolation=mode), np.uint8)
        if generator.random() < 0.5:  # match the light of the place
            gain = np.clip(tone / max(float(sprite[..., :3].mean()), 1.0), 0.6, 1.5)
            sprite[..., :3] = np.clip(sprite[..., :3] * gain**0.5, 0, 255).astype(np.uint8)
        areas.append(int((sprite[..., 3] > 127).sum()))
        left, top = round(feet_x[i] - sprite.shape[1] / 2), round(feet_y[i] - sprite.shape[0])
        opaque_columns = np.flatnonzero((sprite[..., 3] > 127).any(0))
        first, last = (opaque_columns[0], opaque_columns[-1] + 1) if len(opaque_columns) else (0, sprite.shape[1])
        boxes.append((left + first, top, left + last, top + sprite.shape[0]))
        identities.append(cutout.identity)
        _shadow(canvas, feet_x[i], feet_y[i], person_height, generator)
        _paste(canvas, owner, sprite, left, top, number)
    visible = np.bincount(owner[owner >= 0], minlength=count) / np.maximum(areas, 1)
    kinds = np.where(visible >= _LABEL_SHARE, Kind.PERSON, np.where(visible > 0.02, Kind.IGNORE, Kind.NONE))
    if generator.random() < 0.3:
        canvas = cv2.GaussianBlur(canvas, (3, 3), 0)
    image = np.clip(canvas, 0, 255).astype(np.uint8)
    keep = kinds != Kind.NONE
    return Sample(
        image,
        np.array(boxes, np.float32).reshape(-1, 4)[keep],
        kinds[keep].astype(np.int64),
        np.array(identities, np.int64)[keep],
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


def _paste(
    canvas: npt.NDArray[np.float32],
    owner: npt.NDArray[np.int32],
    sprite: npt.NDArray[np.uint8],
    left: int,
    top: int,
    number: int,
) -> None:
    height, width = canvas.shape[:2]
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + sprite.shape[1], width), min(top + sprite.shape[0], height)
    if x1 <= x0 or y1 <= y0:
        return
    part = sprite[y0 - top : y1 - top, x0 - left : x1 - left]
    alpha = part[..., 3:].astype(np.float32) / 255
    region = canvas[y0:y1, x0:x1]
    region += alpha * (part[..., :3] - region)
    owner[y0:y1, x0:x1][part[..., 3] > 127] = number


_pool_cutouts: list[Cutout] = []


def _load_in_worker(root: Path) -> None:
    cv2.setNumThreads(1)
    _pool_cutouts.extend(load_cutouts(root))


def _compose_in_worker(job: tuple[npt.NDArray[np.uint8], int]) -> Sample:
    return compose(job[0], _pool_cutouts, job[1])


def crowd_samples(
    root: Path, count: int, backgrounds: list[npt.NDArray[np.uint8]], seed: int, workers: int, keep: Keep
) -> Iterator[Sample]:
    """Yield the kept ones of `count` composed crowds; the cut-outs are read once in every worker process."""
    with worker_pool(workers, _load_in_worker, root) as pool:
        kept = (i for i in range(count) if keep(i, f"crowd/{seed + i}"))
        jobs = ((backgrounds[i % len(backgrounds)], seed + i) for i in kept)
        yield from pool.map(_compose_in_worker, jobs, chunksize=8)
