"""Cut-out people pasted into real labeled frames, at the scale that follows from the frame's own labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fairmot.training.augment_settings import CrowdSettings
from fairmot.training.compose import SMALLEST, Composition, kinds_of, made_in_workers, pool_cutouts
from fairmot.training.samples import Keep, Kind, Sample
from fairmot.training.sprites import Cutout

_FEWEST = 4  # labels that a plane is fitted to
_SPREAD = 0.05  # of the image's height, least range of the feet that a plane is fitted to
_MISFIT = 0.15  # largest median deviation of a label's height from the plane's, as a fraction of it
_STANDING = 0.6  # widest box of an upright person, as a fraction of its height
_BORDER = 2.0  # px, boxes that come closer to the image's edge are cut
_TRIES = 8  # positions tried for one person


@dataclass(frozen=True)
class GroundPlane:
    """Heights of people on level ground: linear in the row of the feet, for a camera that does not roll.

    Hoiem et al., "Putting Objects in Perspective", CVPR 2006.

    Attributes:
        slope: height in px that a person gains for every px the feet are lower.
        horizon: row in px where the height is 0.
        feet: lowest and highest row in px at which people were seen.
    """

    slope: float
    horizon: float
    feet: tuple[float, float]

    def height(self, y: float) -> float:
        """Return the height in px of a person whose feet are in row `y`."""
        return self.slope * (y - self.horizon)


def fitted_plane(sample: Sample) -> GroundPlane | None:
    """Fit the plane to the uncut standing people of a frame; None if they are few, equally far, or fit no plane."""
    height, width = sample.image.shape[:2]
    boxes = sample.tlbr.astype(np.float64)
    whole = (boxes[:, :2] > _BORDER).all(1) & (boxes[:, 2] < width - _BORDER) & (boxes[:, 3] < height - _BORDER)
    standing = boxes[:, 2] - boxes[:, 0] < _STANDING * (boxes[:, 3] - boxes[:, 1])
    boxes = boxes[whole & standing & (sample.kinds == Kind.PERSON) & (sample.classes == 0)]
    feet, heights = boxes[:, 3], boxes[:, 3] - boxes[:, 1]
    if len(boxes) < _FEWEST or np.ptp(feet) < _SPREAD * height:
        return None
    slope, offset = np.polyfit(feet, heights, 1)
    expected = slope * feet + offset
    if slope <= 0 or expected.min() <= 0 or np.median(np.abs(heights / expected - 1)) > _MISFIT:
        return None
    return GroundPlane(float(slope), float(-offset / slope), (float(feet.min()), float(feet.max())))


def _free_position(
    sample: Sample, plane: GroundPlane, generator: np.random.Generator
) -> tuple[float, float, float] | None:
    """Return the feet `(x, y)` and height of a new person who is not occluded; None if no position is found.

    Labeled people have no masks, so a new person may cover them but not be covered. An ignore region counts as being as
    far away as its lower edge.
    """
    low, high = plane.feet
    reach = 0.1 * (high - low)
    for _ in range(_TRIES):
        x = generator.uniform(0, sample.image.shape[1])
        y = generator.uniform(low - reach, high + reach)
        person_height = plane.height(y) * np.exp(generator.normal(0, 0.06))
        half = 0.3 * person_height
        left, top, right, bottom = sample.tlbr.T
        touched = (left < x + half) & (right > x - half) & (top < y) & (bottom > y - person_height)
        if person_height >= SMALLEST and not (touched & (bottom > y)).any():
            return float(x), float(y), float(person_height)
    return None


def paste_into(
    sample: Sample, plane: GroundPlane, cutouts: list[Cutout], seed: int, most: int, settings: CrowdSettings
) -> Sample:
    """Return a labeled frame with up to `most` more people, and the labels of all who are still visible.

    A sample has one identity space: that of the frame if its identities are known, and the pasted people's are unknown
    then; else that of the cut-outs.
    """
    generator = np.random.default_rng(seed)
    composition = Composition(sample.image.astype(np.float32), cutouts, settings)
    positions = [_free_position(sample, plane, generator) for _ in range(int(generator.integers(1, most + 1)))]
    for x, y, person_height in sorted(filter(None, positions), key=lambda position: position[1]):
        composition.add(x, y, person_height, generator)
    own_kinds = sample.kinds.copy()
    covered = _covered(composition.owner >= 0, sample.tlbr)
    people = own_kinds == Kind.PERSON
    own_kinds[people] = kinds_of(1 - covered[people])
    kinds = np.concatenate((own_kinds, kinds_of(composition.visible())))
    boxes = np.array(composition.boxes, np.float32).reshape(-1, 4)
    identities = np.array(composition.identities, np.int64)
    known = bool((sample.identities >= 0).any())
    if known:
        identities[:] = -1
    keep = kinds != Kind.NONE
    return Sample(
        composition.image(generator),
        np.concatenate((sample.tlbr, boxes))[keep],
        kinds[keep],
        np.concatenate((sample.classes, np.zeros(len(boxes), np.int64)))[keep],
        np.concatenate((sample.identities, identities))[keep],
        sample.space if known else "cutouts",
        "pasted",
        sample.name,
    )


def _covered(mask: npt.NDArray[np.bool_], tlbr: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the share of each box `(m, 4)` that lies under a mask `(h, w)`, of its part within the image."""
    height, width = mask.shape
    shares = np.zeros(len(tlbr))
    for i, (left, top, right, bottom) in enumerate(np.round(tlbr).astype(int).tolist()):
        part = mask[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
        shares[i] = part.mean() if part.size else 0.0
    return shares


def _paste_in_worker(job: tuple[Sample, GroundPlane, int, int, CrowdSettings]) -> Sample:
    sample, plane, seed, most, settings = job
    return paste_into(sample, plane, pool_cutouts, seed, most, settings)


def pasted_samples(
    root: Path,
    count: int,
    frames: list[tuple[Sample, GroundPlane]],
    seed: int,
    most: int,
    settings: CrowdSettings,
    workers: int,
    keep: Keep,
) -> Iterator[Sample]:
    """Return the kept ones of `count` frames with pasted people.

    Raises:
        SourceError: if there are no cut-outs, at the first frame.
    """
    kept = (i for i in range(count) if keep(i, f"pasted/{seed + i}"))
    jobs = ((*frames[i % len(frames)], seed + i, most, settings) for i in kept)
    return made_in_workers(root, _paste_in_worker, jobs, workers)
