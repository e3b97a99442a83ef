"""The default tracker's scores on MOT17 data, which may rise and must not fall (`tests/metrics.json`).

After a change that raises them, write the new ones: `python tests/tracker/test_metric_gate.py`.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from fairmot.tracker import FairMOTTracker
from fairmot.tracker.association import track
from fairmot.tracker.detection_file import DetectionStream, find_streams, read_stream
from fairmot.tracker.evaluation import Scores, score
from fairmot.tracker.interpolation import interpolate
from fairmot.tracker.motchallenge import Boxes, read_ground_truth

METRICS = Path(__file__).resolve().parents[1] / "metrics.json"
DATA = METRICS.parents[2] / "shared" / "data"
STREAMS = DATA / "golden" / "association" / "assoc"
ARCHIVE = DATA / "mot17" / "mot17-sdp-text.zip"
SEQUENCES = ("05", "09", "13")
PARTS = ("det/det.txt", "gt/gt.txt", "seqinfo.ini")
ROUNDING = 0.02  # percent points; two machines may add up the last bits of a cost in another order

pytestmark = pytest.mark.skipif(
    not (STREAMS.is_dir() and ARCHIVE.is_file()), reason="MOT17 detections and ground truth (../shared) are not here"
)


def measures(folder: Path) -> dict[str, dict[str, float]]:
    """Return HOTA, MOTA and IDF1 in percent of each run over the sequences together."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        names = [f"train/MOT17-{number}-SDP/{part}" for number in SEQUENCES for part in PARTS]
        archive.extractall(folder, names)
    train = folder / "train"
    truth = [read_ground_truth(train / f"MOT17-{number}-SDP" / "gt" / "gt.txt") for number in SEQUENCES]
    embedded = [read_stream(path) for path in find_streams(STREAMS)]
    boxes_only = [read_stream(path) for path in find_streams(train)]
    runs = {"synthetic embeddings": embedded, "public detections": boxes_only}
    found = {}
    for name, streams in runs.items():
        results = [tracked(stream) for stream in streams]
        found[name] = combined(truth, results, streams)
        found[f"{name}, interpolated"] = combined(truth, [interpolate(result) for result in results], streams)
    return found


def tracked(stream: DetectionStream) -> Boxes:
    assert stream.frame_rate is not None
    return track(stream, FairMOTTracker(stream.frame_rate))


def combined(truth: list[Boxes], results: list[Boxes], streams: list[DetectionStream]) -> dict[str, float]:
    scores = Scores.combined(
        score(wanted, result, range(1, len(stream) + 1))
        for wanted, result, stream in zip(truth, results, streams, strict=True)
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
