"""Labelled pictures for training: folders in JDE form, sheets of identity crops, rendered scenes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from core.errors import SourceError
from training.workers import WorkerContext, WorkerPool
from video.scene import Scene

# Whether a picture is wanted, by its number within its set and its scene: `Sample.scene`.
Keep = Callable[[int, str], bool]


def worker_pool(workers: int, initializer: Callable[..., object], *arguments: object) -> ProcessPoolExecutor:
    """Return a pool whose processes start afresh: forks of a process with running threads (torch's) may hang."""
    return WorkerPool(workers, WorkerContext(), initializer, arguments)


class Kind(IntEnum):
    """What a box means to the losses."""

    NONE = 0  # padding
    PERSON = 1  # heatmap, box, offset, and the identity if it has one
    IGNORE = 2  # no heatmap loss inside
    IDENTITY = 3  # only the identity


@dataclass(eq=False)
class Sample:
    """One picture with its boxes.

    Attributes:
        image: `(h, w, 3)` uint8 BGR.
        tlbr: `(m, 4)` float32 in pixels.
        kinds: `(m,)` of `Kind`.
        identities: `(m,)` int64, name of the person within `space`; -1 where unknown.
        space: identities of different spaces are never compared with one another.
        group: name of the set, for the sampling weights.
        scene: pictures of one scene are held out together.
    """

    image: npt.NDArray[np.uint8]
    tlbr: npt.NDArray[np.float32]
    kinds: npt.NDArray[np.int64]
    identities: npt.NDArray[np.int64]
    space: str
    group: str
    scene: str


def read_image(path: Path, longest: int) -> npt.NDArray[np.uint8]:
    """Read a picture as BGR, shrunk by area averaging to at most `longest` pixels a side.

    Raises:
        SourceError: if it cannot be read.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise SourceError(f"Cannot read the training image {path}.")
    return _shrunk(np.asarray(image, np.uint8), longest)[0]


def _shrunk(image: npt.NDArray[np.uint8], longest: int) -> tuple[npt.NDArray[np.uint8], float]:
    """Return the picture with at most `longest` pixels a side, and the scale that this took."""
    scale = longest / max(image.shape[:2])
    if scale >= 1:
        return image, 1.0
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8), scale


def fitted(sample: Sample, longest: int) -> Sample:
    """Return the sample, shrunk by area averaging to at most `longest` pixels a side."""
    image, scale = _shrunk(sample.image, longest)
    if image is sample.image:
        return sample
    return replace(sample, image=image, tlbr=(sample.tlbr * scale).astype(np.float32))


def read_labels(
    path: Path, width: int, height: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Read a JDE label file: lines `class id cx cy w h`, normalised to the picture.

    Class -1 marks an ignore region, id -1 an unknown identity (Wang et al., "Towards Real-Time
    Multi-Object Tracking", ECCV 2020, data format).

    Returns:
        Boxes `(m, 4)` as tlbr in pixels, kinds `(m,)` and identities `(m,)`.
    """
    text = path.read_text() if path.exists() else ""
    rows = np.array([line.split() for line in text.splitlines() if line.strip()], np.float64).reshape(-1, 6)
    center, size = rows[:, 2:4] * (width, height), rows[:, 4:6] * (width, height)
    tlbr = np.concatenate((center - size / 2, center + size / 2), 1).astype(np.float32)
    kinds = np.where(rows[:, 0] < 0, Kind.IGNORE, Kind.PERSON).astype(np.int64)
    return tlbr, kinds, rows[:, 1].astype(np.int64)


def _scene_of(path: Path, group: str) -> str:
    scene = path.stem.rsplit("_", 1)[0] if group == "caltech" else path.stem.split("_frame")[0]
    return f"{group}/{scene}"


def _folder_sample(job: tuple[Path, str, int]) -> Sample:
    path, group, longest = job
    image = read_image(path, longest)
    labels = path.parent.parent / "labels_with_ids" / f"{path.stem}.txt"
    tlbr, kinds, identities = read_labels(labels, image.shape[1], image.shape[0])
    return Sample(image, tlbr, kinds, identities, group, group, _scene_of(path, group))


def folder_samples(root: Path, group: str, longest: int, pool: ProcessPoolExecutor, keep: Keep) -> Iterator[Sample]:
    """Yield the kept pictures of `root/group/images` with `root/group/labels_with_ids`.

    Raises:
        SourceError: if there are none.
    """
    paths = sorted((root / group / "images").glob("*.jpg"))
    if not paths:
        raise SourceError(f"There are no images in {root / group / 'images'}.")
    kept = [path for number, path in enumerate(paths) if keep(number, _scene_of(path, group))]
    yield from pool.map(_folder_sample, [(path, group, longest) for path in kept], chunksize=16)


def crop_sheets(root: Path, sheets: int, seed: int, keep: Keep) -> Iterator[Sample]:
    """Yield the kept sheets of 6 x 12 Market-1501 crops: identities without detection loss.

    A crop's identity is the number before the first underscore of its name.
    """
    paths = sorted((root / "market1501").glob("*.jpg"))
    generator = np.random.default_rng(seed)
    crops = {path: cv2.resize(read_image(path, 128), (64, 128)) for path in paths}
    order: list[Path] = []
    for index in range(sheets):
        while len(order) < 72:
            order += [paths[i] for i in generator.permutation(len(paths))]
        chosen, order = order[:72], order[72:]
        if not keep(index, f"sheet/{index}"):
            continue
        image = np.concatenate(
            [np.concatenate([crops[path] for path in chosen[row * 12 : row * 12 + 12]], 1) for row in range(6)]
        )
        left, top = np.tile(np.arange(12) * 64, 6), np.repeat(np.arange(6) * 128, 12)
        # A crop of the set shows the person with a margin of a few per cent.
        boxes = np.stack((left + 4, top + 4, left + 60, top + 124), 1)
        tlbr = np.concatenate((boxes, [[0, 0, 768, 768]])).astype(np.float32)
        identities = np.array([int(path.name.split("_")[0]) for path in chosen] + [-1])
        kinds = np.array([Kind.IDENTITY] * 72 + [Kind.IGNORE])
        yield Sample(np.asarray(image, np.uint8), tlbr, kinds, identities, "market1501", "market1501", f"sheet/{index}")


def _rendered_samples(job: tuple[int, int, npt.NDArray[np.uint8] | None]) -> list[Sample]:
    seed, frames, background = job
    generator = np.random.default_rng(seed)
    people = int(generator.integers(6, 28))
    scene = Scene.random(seed, (800, 450), people=people, background=background)
    samples = []
    for index in generator.integers(1, 400, frames).tolist():
        truth = scene.ground_truth(index)
        tlbr = truth.tlwh.astype(np.float32).copy()
        tlbr[:, 2:] += tlbr[:, :2]
        kinds = np.where(truth.visibility >= 0.3, Kind.PERSON, Kind.IGNORE).astype(np.int64)
        identities = truth.ids.astype(np.int64) + 1000 * seed
        samples.append(Sample(scene.render(index), tlbr, kinds, identities, "scene", "scene", f"scene/{seed}"))
    return samples


def rendered_samples(
    scenes: int, frames: int, backgrounds: list[npt.NDArray[np.uint8]], seed: int, pool: ProcessPoolExecutor, keep: Keep
) -> Iterator[Sample]:
    """Yield frames of the kept random rendered scenes, every second one before a photograph."""
    jobs = [
        (seed + i, frames, backgrounds[i % len(backgrounds)] if i % 2 and backgrounds else None)
        for i in range(scenes)
        if keep(i, f"scene/{seed + i}")
    ]
    for samples in pool.map(_rendered_samples, jobs):
        yield from samples
