"""The default tracker's scores, which may rise and must not fall (`tests/metrics.json`).

On the golden set, and on MOT17's detections where they lie beside the project. After a change that raises scores, write
the new ones: `PYTHONPATH=.:tests python tests/tracker/test_metric_gate.py`.
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from golden import FOLDER, RENDERED, WALKS

from fairmot.core.motchallenge import Boxes, read_ground_truth
from fairmot.tracker import FairMOTTracker
from fairmot.tracker.association import track
from fairmot.tracker.detection_file import DetectionFile, find_detection_files, read_detection_file
from fairmot.tracker.evaluation import Scores, score
from fairmot.tracker.interpolation import interpolate
from fairmot.tracker.settings import TrackerSettings

TESTS = Path(__file__).resolve().parents[1]
METRICS = TESTS / "metrics.json"
DATA = TESTS.parents[1] / "shared" / "data"
DETECTIONS = DATA / "golden" / "association" / "assoc"
ARCHIVE = DATA / "mot17" / "mot17-sdp-text.zip"
MOT17_IS_HERE = DETECTIONS.is_dir() and ARCHIVE.is_file()
MOT17_SEQUENCES = ("05", "09", "13")
PARTS = ("det/det.txt", "gt/gt.txt", "seqinfo.ini")
ROUNDING = 0.02  # percent points; two machines may add up the last bits of a cost in another order


class Run(NamedTuple):
    """Sequences to track and score together."""

    name: str
    truth: list[Boxes]
    detections: list[DetectionFile]
    settings: TrackerSettings


def golden_runs(_: Path) -> Iterator[Run]:
    """Yield the runs on the golden set."""

    def run(name: str, sequences: tuple[str, ...], settings: TrackerSettings) -> Run:
        truth = [read_ground_truth(FOLDER / "truth" / each / "gt" / "gt.txt") for each in sequences]
        return Run(
            name, truth, [read_detection_file(FOLDER / "detections" / f"{each}.npz") for each in sequences], settings
        )

    yield run("synthetic walks", WALKS, TrackerSettings())
    yield run("synthetic walks, boxes alone", WALKS, TrackerSettings(use_embeddings=False))
    yield run("rendered scene", (RENDERED,), TrackerSettings())


def mot17_runs(folder: Path) -> Iterator[Run]:
    """Yield the runs on MOT17, unpacked into a folder."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        names = [f"train/MOT17-{number}-SDP/{part}" for number in MOT17_SEQUENCES for part in PARTS]
        archive.extractall(folder, names)
    train = folder / "train"
    truth = [read_ground_truth(train / f"MOT17-{number}-SDP" / "gt" / "gt.txt") for number in MOT17_SEQUENCES]
    yield Run(
        "synthetic embeddings",
        truth,
        [read_detection_file(path) for path in find_detection_files(DETECTIONS)],
        TrackerSettings(),
    )
    yield Run(
        "public detections",
        truth,
        [read_detection_file(path) for path in find_detection_files(train)],
        TrackerSettings(),
    )


RUNS = {"golden set": golden_runs, "MOT17": mot17_runs}


def measures(data: str) -> dict[str, dict[str, float]]:
    """Return HOTA, MOTA and IDF1 in percent of each run, its sequences together, as tracked and interpolated."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for run in RUNS[data](Path(folder)):
            results = [tracked(detections, run.settings) for detections in run.detections]
            found[run.name] = combined(run, results)
            found[f"{run.name}, interpolated"] = combined(run, [interpolate(result) for result in results])
    return found


def tracked(detections: DetectionFile, settings: TrackerSettings) -> Boxes:
    assert detections.frame_rate is not None
    return track(detections, FairMOTTracker(detections.frame_rate, settings))


def combined(run: Run, results: list[Boxes]) -> dict[str, float]:
    scores = Scores.combined(
        score(wanted, result, range(1, len(detections) + 1))
        for wanted, result, detections in zip(run.truth, results, run.detections, strict=True)
    )
    return {name: round(100 * getattr(scores, name), 3) for name in ("hota", "mota", "idf1")}


needs_mot17 = pytest.mark.skipif(not MOT17_IS_HERE, reason="MOT17's data (../shared) are not here")


@pytest.mark.parametrize("data", ["golden set", pytest.param("MOT17", marks=needs_mot17)])
def test_scores_do_not_fall(data: str) -> None:
    stored = json.loads(METRICS.read_text())[data]
    found = measures(data)
    assert set(found) == set(stored)
    fallen = [
        f"{run}: {name} {found[run][name]} < {value}"
        for run, values in stored.items()
        for name, value in values.items()
        if found[run][name] < value - ROUNDING
    ]
    assert not fallen, "; ".join(fallen)


if __name__ == "__main__":
    here = ["golden set", *["MOT17"] * MOT17_IS_HERE]
    known = json.loads(METRICS.read_text())
    METRICS.write_text(json.dumps(known | {data: measures(data) for data in here}, indent=2) + "\n")
