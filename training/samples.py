"""Labeled training images: folders in JDE format, sheets of identity crops, rendered scenes."""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from enum import IntEnum
from fnmatch import fnmatchcase
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from fairmot.core.errors import SourceError
from fairmot.training.workers import WorkerContext, WorkerPool
from fairmot.video.synthetic.scene import Scene

log = logging.getLogger(__name__)

# Returns whether an image is loaded, given its number within its set and its name (`Sample.name`).
Keep = Callable[[int, str], bool]

_SUFFIXES = (".jpg", ".jpeg", ".png")
_LARGEST = 1e9  # label number or identity
_MOST_LABELS = 5_000  # of one image: all images are padded to the largest number
_OUTSIDE = 0.5  # fraction of the image's width or height by which a labeled center may lie outside of it


def worker_pool(workers: int, initializer: Callable[..., object], *arguments: object) -> ProcessPoolExecutor:
    """Return a pool of spawned processes: forks of a process with running threads (torch's) may hang."""
    return WorkerPool(workers, WorkerContext(), initializer, arguments)


class Kind(IntEnum):
    """The role of a box in the losses."""

    NONE = 0  # padding
    PERSON = 1  # heatmap, box, offset, and the identity if it has one; also for objects of other classes
    IGNORE = 2  # no heatmap loss inside, of its class or, if that is -1, of all
    IDENTITY = 3  # only the identity


@dataclass(eq=False)
class Sample:
    """One image with its boxes.

    Attributes:
        image: `(h, w, 3)` uint8 BGR.
        tlbr: `(m, 4)` float32 in pixels.
        kinds: `(m,)` of `Kind`.
        classes: `(m,)` int64, the heatmap's channel (row of `TrainSettings.class_names`); -1 for ignore regions of all
            classes.
        identities: `(m,)` int64, number of the person within `space`; -1 where unknown.
        space: identities of different spaces are never compared with one another.
        group: name of the set, for the sampling weights.
        name: `set/file name` without suffix; rendered and composed images have their seed or number instead.
    """

    image: npt.NDArray[np.uint8]
    tlbr: npt.NDArray[np.float32]
    kinds: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int64]
    identities: npt.NDArray[np.int64]
    space: str
    group: str
    name: str


def read_image(path: Path, longest: int) -> npt.NDArray[np.uint8]:
    """Read an image as BGR, shrunk by area averaging to at most `longest` pixels a side.

    Raises:
        SourceError: if it cannot be read.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise SourceError(f"Cannot read the training image {path}.")
    return _shrunk(np.asarray(image, np.uint8), longest)[0]


def _shrunk(image: npt.NDArray[np.uint8], longest: int) -> tuple[npt.NDArray[np.uint8], float]:
    """Return the image with at most `longest` pixels a side, and its scale."""
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


@dataclass(eq=False)
class Labels:
    """The content of a label file.

    Attributes:
        tlbr: `(m, 4)` float32 in pixels.
        kinds: `(m,)` of `Kind`.
        classes: `(m,)` int64, the heatmap's channel, -1 for ignore regions.
        identities: `(m,)` int64, -1 where unknown.
        left_out: number of labels by class number that belongs to no class.
    """

    tlbr: npt.NDArray[np.float32]
    kinds: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int64]
    identities: npt.NDArray[np.int64]
    left_out: Counter[int]


def read_labels(path: Path, width: int, height: int, channels: Mapping[int, int]) -> Labels:
    """Read a JDE label file: lines `class id cx cy w h`, normalized to the image.

    Class -1 marks an ignore region, id -1 an unknown identity (Wang et al., "Towards Real-Time
    Multi-Object Tracking", ECCV 2020, data format). Lines of YOLO's form `class cx cy w h` are people
    (or other objects) of unknown identity.

    Args:
        path: the file.
        width: of the image in pixels.
        height: of the image in pixels.
        channels: the heatmap's channel by class number; labels of other numbers are left out.

    Raises:
        SourceError: if the file cannot be read, a line is none of these, or there are more than 5,000.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"The labels {path} cannot be read as text: write them anew.") from error
    fields = [_label_fields(line, f"Line {number} of {path}") for number, line in enumerate(lines, 1) if line.strip()]
    if len(fields) > _MOST_LABELS:
        raise SourceError(f"{path} has {len(fields)} labels, more than {_MOST_LABELS}: leave some out.")
    rows = np.array(fields, np.float64).reshape(-1, 6)
    numbers = rows[:, 0].astype(np.int64).tolist()
    left_out = Counter(number for number in numbers if number >= 0 and number not in channels)
    rows = rows[[number not in left_out for number in numbers]]
    center, size = rows[:, 2:4] * (width, height), rows[:, 4:6] * (width, height)
    tlbr = np.concatenate((center - size / 2, center + size / 2), 1).astype(np.float32)
    kinds = np.where(rows[:, 0] < 0, Kind.IGNORE, Kind.PERSON).astype(np.int64)
    classes = np.array([channels.get(number, -1) for number in numbers if number not in left_out], np.int64)
    return Labels(tlbr, kinds, classes, rows[:, 1].astype(np.int64), left_out)


def _label_fields(line: str, where: str) -> list[float]:
    """Return the six numbers of a label line."""
    try:
        numbers = [float(field) for field in line.split()]
    except ValueError:
        numbers = []
    if len(numbers) == 5:
        numbers.insert(1, -1.0)
    if len(numbers) != 6 or not all(map(math.isfinite, numbers)):
        raise SourceError(
            f'{where} must be the numbers "class id cx cy w h" or "class cx cy w h", not "{line.strip()[:80]}".'
        )
    if not all(number.is_integer() and abs(number) <= _LARGEST for number in numbers[:2]):
        raise SourceError(
            f"{where} must begin with whole numbers for class and id, at most {_LARGEST:.0f}, not "
            f'"{line.strip()[:80]}".'
        )
    if not all(-_OUTSIDE <= value <= 1 + _OUTSIDE for value in numbers[2:4]) or not all(
        0 <= value <= 1 + 2 * _OUTSIDE for value in numbers[4:]
    ):
        raise SourceError(
            f"{where} must have center and size as fractions of the image's width and height (0 to 1), not in pixels: "
            f'"{line.strip()[:80]}".'
        )
    return numbers


def scene_of(name: str) -> str:
    """Return the scene of an image: its name up to `_frame`, else up to a last number after `_`, `-` or `.`."""
    return re.split(r"_frame|[_.-]\d+\D*$", name, maxsplit=1)[0]


def is_named(name: str, entry: str) -> bool:
    """Return whether an entry of `TrainSettings.held_out` matches an image.

    Args:
        name: `Sample.name`.
        entry: a pattern of the shell (`street/cam1_*`), or the beginning of a name up to where a word or number ends:
            `street/cam1` names `street/cam1_0001`, not `street/cam10_0001`.
    """
    rest = name.removeprefix(entry)
    begins = "/" in entry and rest != name and not (entry[-1].isalnum() and rest[:1].isalnum())
    return begins or fnmatchcase(name, entry)


def images_in(folder: Path) -> list[Path]:
    """Return the images of a folder in the order of their names.

    Raises:
        SourceError: if there are none.
    """
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in _SUFFIXES)
    if not paths:
        raise SourceError(f"There are no images in {folder}: files *.jpg, *.jpeg or *.png are looked for.")
    return paths


def _folder_sample(
    job: tuple[Path, Path, str, int, Mapping[int, int], Sequence[int]],
) -> tuple[Sample, Counter[int]]:
    path, label_path, group, longest, channels, unlabeled = job
    image = read_image(path, longest)
    labels = read_labels(label_path, image.shape[1], image.shape[0], channels)
    whole = np.tile(np.array([0, 0, image.shape[1], image.shape[0]], np.float32), (len(unlabeled), 1))
    boxes = (
        np.concatenate((labels.tlbr, whole)),
        np.concatenate((labels.kinds, np.full(len(whole), Kind.IGNORE, np.int64))),
        np.concatenate((labels.classes, np.array(unlabeled, np.int64))),
        np.concatenate((labels.identities, np.full(len(whole), -1, np.int64))),
    )
    return Sample(image, *boxes, group, group, f"{group}/{path.stem}"), labels.left_out


def folder_samples(
    root: Path,
    group: str,
    longest: int,
    channels: Mapping[int, int],
    unlabeled: Sequence[int],
    pool: ProcessPoolExecutor,
    keep: Keep,
) -> Iterator[Sample]:
    """Yield the kept images of `root/group/images` with `root/group/labels_with_ids` (or `labels`).

    The channels `unlabeled` get an ignore region as large as the image, after the labels. The number of labels left out
    because they belong to no class is logged.

    Raises:
        SourceError: if there are none, an image cannot be read, or a label file is missing (not: empty) or invalid.
    """
    paths = images_in(root / group / "images")
    label_paths = _label_paths(root / group, paths)
    jobs = [
        (path, labels, group, longest, channels, unlabeled)
        for number, (path, labels) in enumerate(zip(paths, label_paths, strict=True))
        if keep(number, f"{group}/{path.stem}")
    ]
    left_out: Counter[int] = Counter()
    for sample, unused in pool.map(_folder_sample, jobs, chunksize=16):
        left_out += unused
        yield sample
    if left_out:
        parts = ", ".join(f"{count} of class {number}" for number, count in sorted(left_out.items()))
        log.info("Labels of %s left out: %s", group, parts)


def _label_paths(folder: Path, images: list[Path]) -> list[Path]:
    """Return the label files of the images of a set."""
    found = [folder / name for name in ("labels_with_ids", "labels") if (folder / name).is_dir()]
    if not found:
        raise SourceError(f"There is no folder labels_with_ids (or labels) beside the images in {folder}.")
    paths = [found[0] / f"{image.stem}.txt" for image in images]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise SourceError(
            f"{len(missing)} of {len(images)} images of {folder} have no label file, as {missing[0]}: "
            "write an empty one for an image without labels."
        )
    return paths


def crop_sheets(root: Path, sheets: int, seed: int, keep: Keep) -> Iterator[Sample]:
    """Yield the kept sheets of 6 x 12 Market-1501 crops: identities without detection loss.

    A crop's identity is the number before the first underscore of its name.

    Raises:
        SourceError: if there are no crops, or one has another name.
    """
    paths = images_in(root / "market1501")
    names = {path: path.name.split("_")[0] for path in paths}
    for path, name in names.items():
        if not re.fullmatch(r"-?\d{1,9}", name):
            raise SourceError(f"The name of {path} must begin with a person's number, as in 0002_c1s2_050821_02.jpg.")
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
        identities = np.array([int(names[path]) for path in chosen] + [-1])
        kinds = np.array([Kind.IDENTITY] * 72 + [Kind.IGNORE])
        classes = np.where(kinds == Kind.IGNORE, -1, 0)
        labels = (tlbr, kinds, classes, identities)
        yield Sample(np.asarray(image, np.uint8), *labels, "market1501", "market1501", f"sheet/{index}")


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
        labels = (tlbr, kinds, np.zeros(len(kinds), np.int64), identities)
        samples.append(Sample(scene.render(index), *labels, "scene", "scene", f"scene/{seed}"))
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
