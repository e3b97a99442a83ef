"""The default tracker's scores on MOT17 data, which may rise and must not fall (`tests/metrics.json`).

After a change that raises them, write the new ones: `python tests/tracker/test_metric_gate.py`.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from fairmot.cli.commands.associate import track
from fairmot.core.motchallenge import Boxes, read_ground_truth
from fairmot.tracker import FairMOTTracker
from fairmot.tracker.detection_file import DetectionFile, find_detection_files, read_detection_file
from fairmot.tracker.evaluation import Scores, score
from fairmot.tracker.interpolation import interpolate

METRICS = Path(__file__).resolve().parents[1] / "metrics.json"
DATA = METRICS.parents[2] / "shared" / "data"
DETECTIONS = DATA / "golden" / "association" / "assoc"
ARCHIVE = DATA / "mot17" / "mot17-sdp-text.zip"
SEQUENCES = ("05", "09", "13")
PARTS = ("det/det.txt", "gt/gt.txt", "seqinfo.ini")
ROUNDING = 0.02  # percent points; two machines may add up the last bits of a cost in another order

pytestmark = pytest.mark.skipif(
    not (DETECTIONS.is_dir() and ARCHIVE.is_file()), reason="MOT17 detections and ground truth (../shared) are not here"
)


def measures(folder: Path) -> dict[str, dict[str, float]]:
    """Return HOTA, MOTA and IDF1 in percent of each run over the sequences together."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        names = [f"train/MOT17-{number}-SDP/{part}" for number in SEQUENCES for part in PARTS]
        archive.extractall(folder, names)
    train = folder / "train"
    truth = [read_ground_truth(train / f"MOT17-{number}-SDP" / "gt" / "gt.txt") for number in SEQUENCES]
    embedded = [read_detection_file(path) for path in find_detection_files(DETECTIONS)]
    boxes_only = [read_detection_file(path) for path in find_detection_files(train)]
    runs = {"synthetic embeddings": embedded, "public detections": boxes_only}
    found = {}
    for name, files in runs.items():
        results = [tracked(stored) for stored in files]
        found[name] = combined(truth, results, files)
        found[f"{name}, interpolated"] = combined(truth, [interpolate(result) for result in results], files)
    return found


def tracked(stored: DetectionFile) -> Boxes:
    assert stored.frame_rate is not None
    return track(stored, FairMOTTracker(stored.frame_rate))


def combined(truth: list[Boxes], results: list[Boxes], files: list[DetectionFile]) -> dict[str, float]:
    scores = Scores.combined(
        score(wanted, result, range(1, len(stored) + 1))
        for wanted, result, stored in zip(truth, results, files, strict=True)
    )
    return {name: round(100 * getattr(scores, name), 3) for name in ("hota", "mota", "idf1")}


def test_scores_do_not_fall(tmp_path: Path) -> None:
    stored = json.loads(METRICS.read_text())
    found = measures(tmp_path)
    assert set(found) == set(stored)
    fallen = [
        f"{run}: {name} {found[run][name]} < {value}"
        for run, values in stored.items()
        for name, value in values.items()
        if found[run][name] < value - ROUNDING
    ]
    assert not fallen, "; ".join(fallen)


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as temporary:
        METRICS.write_text(json.dumps(measures(Path(temporary)), indent=2) + "\n")
