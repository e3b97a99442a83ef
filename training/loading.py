"""Loading of all images of a run: folders, rendered scenes, sheets of crops, crowds; each process loads its share."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from fairmot.core.errors import ConfigError, suggestion
from fairmot.training.compose import crowd_samples
from fairmot.training.pasting import GroundPlane, fitted_plane, pasted_samples
from fairmot.training.samples import (
    Keep,
    Kind,
    Sample,
    crop_sheets,
    fitted,
    folder_samples,
    is_named,
    rendered_samples,
    scene_of,
    worker_pool,
)
from fairmot.training.settings import MADE, TrainSettings

log = logging.getLogger(__name__)

HELD_OUT = "held_out"  # the group of held-out images


def load_samples(root: Path, settings: TrainSettings, rank: int = 0, count: int = 1) -> list[Sample]:
    """Return the images of `settings.sets` that process `rank` of `count` trains on.

    The first process also gets the held-out images. They are of the group `HELD_OUT` and their identities of a space
    of their own, so that no classifier learns them.

    Raises:
        ConfigError: if no set is named, an entry of `held_out` names no image, crowds have no images to stand
            before, pasted people no labeled frames to stand in, nothing is labeled, or this process gets no image.
        SourceError: if images or labels of a set are missing or faulty.
    """
    if not settings.sets:
        raise ConfigError("Name what to train on: --settings.sets '{\"my_folder\": 1.0}'; see the preset train_lite.")
    names: set[str] = set()

    def keep(number: int, name: str) -> bool:
        names.add(name)
        return rank == 0 if _is_held_out(name, settings) else number % count == rank

    loaded = _load(root, settings, max(1, settings.workers // count), keep)
    samples = [fitted(sample, settings.side) for sample in loaded]
    for entry in settings.held_out:
        if not any(is_named(name, entry) for name in names):
            raise ConfigError(
                f'The held_out entry "{entry}" names no image: write set/beginning, or a pattern such as set/cam1_*.'
                + suggestion(entry, {scene_of(name) for name in names})
            )
    if not settings.held_out and rank == 0:
        log.warning("There will be no validation: held_out names no images to validate on.")
    for sample in samples:
        if _is_held_out(sample.name, settings):
            sample.group, sample.space = HELD_OUT, f"{sample.space}/{HELD_OUT}"
    if not samples:
        raise ConfigError(f"There are too few images for {count} processes: start fewer.")
    trained = [sample.kinds for sample in samples if sample.group != HELD_OUT]
    if trained and not any(np.isin(kinds, (Kind.PERSON, Kind.IDENTITY)).any() for kinds in trained):
        raise ConfigError(
            f"No image to train on has a label that counts: look at the label files and classes {settings.classes}."
        )
    return samples


def _is_held_out(name: str, settings: TrainSettings) -> bool:
    return any(is_named(name, entry) for entry in settings.held_out)


def _load(root: Path, settings: TrainSettings, workers: int, keep: Keep) -> Iterator[Sample]:
    """Yield every kept image.

    Crowds stand before the images of the set `background`, if there is one, else before those without people.
    """
    backgrounds: list[npt.NDArray[np.uint8]] = []
    frames: list[tuple[Sample, GroundPlane]] = []
    with worker_pool(workers, cv2.setNumThreads, 1) as pool:
        for group in settings.sets:
            if group in MADE:
                continue
            unlabeled = settings.unlabeled(group)
            for sample in folder_samples(root, group, settings.side, settings.channels, unlabeled, pool, keep):
                empty = len(sample.kinds) == len(unlabeled)
                suits = group == "background" or ("background" not in settings.sets and empty)
                trained = not _is_held_out(sample.name, settings)
                if suits and trained:
                    backgrounds.append(sample.image)
                if "pasted" in settings.sets and trained and (plane := fitted_plane(sample)):
                    frames.append((sample, plane))
                yield sample
        if "scene" in settings.sets:
            yield from rendered_samples(settings.scenes, 12, backgrounds, settings.seed, pool, keep)
    if "market1501" in settings.sets:
        yield from crop_sheets(root, settings.sheets, settings.seed, keep)
    if "crowd" in settings.sets:
        if not backgrounds:
            raise ConfigError("Crowds need images without people to stand before: add a set named background.")
        yield from crowd_samples(root, settings.crowds, backgrounds, settings.seed, settings.crowd, workers, keep)
    if "pasted" in settings.sets:
        if not frames:
            raise ConfigError("Pasted people need labeled frames of level ground: add such a set, or leave out pasted.")
        jobs = (frames, settings.seed, settings.pasted_people, settings.crowd)
        yield from pasted_samples(root, settings.pasted, *jobs, workers, keep)
