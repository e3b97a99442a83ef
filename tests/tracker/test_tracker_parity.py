"""The cascade against the answers of the reference trackers, on the golden set and, where it is there, on MOT17.

The golden set is part of the project (`tests/golden/README.md`); MOT17's detections may not be, and lie beside it.
"""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from golden import FOLDER, WALKS

from fairmot.core.records import Detections
from fairmot.tracker import FairMOTTracker
from fairmot.tracker.presets import PRESETS

MOT17 = FOLDER.parents[2] / "shared" / "data" / "golden" / "association"
MOT17_SEQUENCES = ("MOT17-05", "MOT17-09", "MOT17-13")
UNFILTERED = {"max_aspect_ratio": float("inf"), "min_box_area": 0.0, "reference_quirks": True}
VARIANTS = {
    "fairmot": replace(PRESETS["fairmot"], **UNFILTERED),
    "byte_reid": replace(PRESETS["byte"], **UNFILTERED),
    "byte_motion": replace(PRESETS["byte-motion"], **UNFILTERED),
    "byte_reid_c06": replace(PRESETS["byte"], confidence_threshold=0.6, **UNFILTERED),
    "byte_motion_c06": replace(PRESETS["byte-motion"], confidence_threshold=0.6, **UNFILTERED),
}
BOX_TOLERANCE = 2e-3

needs_mot17 = pytest.mark.skipif(not MOT17.is_dir(), reason="MOT17's golden data (../shared) are not here")


def frames_of(path: Path) -> tuple[float, list[Detections]]:
    """Return the frame rate and the detections of each frame."""
    with np.load(path) as data:
        frame, tlbr, score = data["frame"], data["tlbr"], data["score"]
        embedding = data["embedding"].astype(np.float32)
        rate, count = float(data["fps"]), int(data["n_frames"])
    frames = []
    for number in range(1, count + 1):
        rows = frame == number
        frames.append(Detections(tlbr[rows], score[rows], np.zeros(rows.sum(), np.int64), embedding[rows]))
    return rate, frames


def expected_tracks(path: Path, count: int) -> list[np.ndarray]:
    """Return per frame rows of id, x, y, w, h, score."""
    with gzip.open(path, "rt") as file:
        rows = np.loadtxt(file, delimiter=",")
    return [rows[rows[:, 0] == number, 1:] for number in range(1, count + 1)]


def first_difference(got: list[np.ndarray], expected: list[np.ndarray]) -> str | None:
    """Compare frames of id, x, y, w, h, score rows; identities up to renaming, in both directions."""
    ours_of, theirs_of = {}, {}
    for number, (mine, theirs) in enumerate(zip(got, expected, strict=True), start=1):
        if len(mine) != len(theirs):
            return f"frame {number}: {len(mine)} tracks instead of {len(theirs)}\nours\n{mine}\nexpected\n{theirs}"
        distance = np.abs(mine[:, None, 1:5] - theirs[None, :, 1:5]).max(axis=2, initial=0)
        for row, partner in enumerate(distance.argmin(axis=1) if len(mine) else []):
            ours, wanted = mine[row], theirs[partner]
            if distance[row, partner] > BOX_TOLERANCE:
                return f"frame {number}: no expected box is near ours {ours}; the nearest is {wanted}"
            if abs(ours[5] - wanted[5]) > 1e-3:
                return f"frame {number}: score {ours[5]} instead of {wanted[5]} for {wanted}"
            known = theirs_of.setdefault(ours[0], wanted[0]), ours_of.setdefault(wanted[0], ours[0])
            if known != (wanted[0], ours[0]):
                return f"frame {number}: ids {ours[0]:.0f} = {wanted[0]:.0f} were {ours[0]:.0f} = {known[0]:.0f} before"
    return None


def assert_equal_to_reference(variant: str, detections: Path, answers: Path) -> int:
    """Track all frames, compare, and return the number of boxes."""
    rate, frames = frames_of(detections)
    tracker = FairMOTTracker(rate, VARIANTS[variant])
    got = []
    for found in frames:
        tracks = tracker.update(found)
        got.append(np.column_stack((tracks.ids, tracks.tlwh, tracks.scores)))
    expected = expected_tracks(answers, len(frames))
    difference = first_difference(got, expected)
    assert difference is None, difference
    for mine, theirs in zip(got, expected, strict=True):
        np.testing.assert_array_equal(mine[:, 0], theirs[:, 0])
    assert sum(map(len, got)) == sum(map(len, expected))
    return sum(map(len, got))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("sequence", WALKS)
def test_equal_to_reference(variant: str, sequence: str) -> None:
    answers = FOLDER / "expected" / variant / f"{sequence}.txt.gz"
    assert assert_equal_to_reference(variant, FOLDER / "detections" / f"{sequence}.npz", answers) > 400


@needs_mot17
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("sequence", MOT17_SEQUENCES)
def test_equal_to_reference_on_mot17(variant: str, sequence: str) -> None:
    answers = MOT17 / "expected" / variant / f"{sequence}.txt.gz"
    assert assert_equal_to_reference(variant, MOT17 / "assoc" / f"{sequence}.npz", answers) > 1000


@pytest.mark.parametrize(
    ("folder", "subfolder", "sequence"),
    [
        pytest.param(FOLDER, "detections", "returns", id="golden set"),
        pytest.param(MOT17, "assoc", "MOT17-13", id="MOT17", marks=needs_mot17),
    ],
)
def test_differences_are_seen(folder: Path, subfolder: str, sequence: str) -> None:
    """Without the reference's quirks the answers are not the reference's."""
    rate, frames = frames_of(folder / subfolder / f"{sequence}.npz")
    tracker = FairMOTTracker(rate, replace(PRESETS["byte"], max_aspect_ratio=float("inf"), min_box_area=0.0))
    got = [np.column_stack((t.ids, t.tlwh, t.scores)) for t in map(tracker.update, frames)]
    expected = expected_tracks(folder / "expected" / "byte_reid" / f"{sequence}.txt.gz", len(frames))
    assert first_difference(got, expected) is not None
