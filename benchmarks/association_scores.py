"""The contribution of each part of the association on MOT17, as Markdown.

    python -m benchmarks.association_scores MOT17.zip [ASSOC]

MOT17.zip holds `train/MOT17-XX-SDP/{det/det.txt,gt/gt.txt,seqinfo.ini}`; ASSOC is a folder of detection files
with embeddings (`MOT17-XX.npz`). Each line keeps what the lines above it changed. Constants were chosen on sequences
05, 09 and 13.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy is loaded
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import tempfile
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fairmot.core.motchallenge import read_ground_truth
from fairmot.tracker import FairMOTTracker, TrackerSettings
from fairmot.tracker.association import track
from fairmot.tracker.detection_file import DetectionFile, find_detection_files, read_detection_file
from fairmot.tracker.evaluation import Scores, score
from fairmot.tracker.interpolation import interpolate
from fairmot.tracker.presets import PRESETS

CHOSEN_ON = ("05", "09", "13")
HEADINGS = "HOTA MOTA IDF1 switches"

BOXES = [
    ("+ width in the filter instead of the aspect ratio", {"box_model": "xywh"}),
    ("+ overlap times overlap of the heights, margin 0.1", {"overlap": "height_iou", "box_margin": 0.1}),
    ("+ score fusion", {"score_fusion": True}),
    ("+ unconfirmed tracks are predicted", {"predict_unconfirmed": True}),
    ("+ GMC from detections", {"gmc_from_detections": True}),
]
APPEARANCE = [
    ("+ overlap in the appearance cost", {"appearance_cost": "overlap", "motion_weight": 0.4, "appearance_limit": 0.6}),
    ("+ second stage up to 0.8", {"overlap_limit": 0.8}),
]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=str(__doc__), formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mot17", type=Path)
    parser.add_argument("embedded", metavar="ASSOC", type=Path, nargs="?")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(arguments.mot17) as archive:
            archive.extractall(folder, [name for name in archive.namelist() if name.startswith("train/")])
        train = Path(folder) / "train"
        truth = {number_of(path.name): read_ground_truth(path / "gt" / "gt.txt") for path in sorted(train.iterdir())}
        files = [read_detection_file(path) for path in find_detection_files(train)]
        report("Boxes alone, SDP", files, truth, motion_lines())
        if arguments.embedded:
            files = [read_detection_file(path) for path in find_detection_files(arguments.embedded)]
            report("Synthetic embeddings", files, truth, embedding_lines())


def number_of(name: str) -> str:
    """Return `05` of `MOT17-05-SDP`."""
    return name.split("-")[1]


def motion_lines() -> list[tuple[str, TrackerSettings]]:
    """Return the lines of the table for boxes alone."""
    start = PRESETS["byte-motion"]
    return [
        ("BYTE on FairMOT", start),
        ("(confidence 0.6)", replace(start, confidence_threshold=0.6)),
        *grown(start, BOXES),
    ]


def embedding_lines() -> list[tuple[str, TrackerSettings]]:
    """Return the lines of the table with embeddings."""
    lines: list[tuple[str, dict[str, Any]]] = [("+ BYTE's low-score stage", {"low_score_stage": True})]
    return [("FairMOT", PRESETS["fairmot"]), *grown(PRESETS["fairmot"], [*lines, *BOXES, *APPEARANCE])]


def grown(settings: TrackerSettings, changes: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, TrackerSettings]]:
    """Return named settings, each with one change more; the last are the defaults."""
    lines = []
    for name, change in changes:
        settings = replace(settings, **change)
        lines.append((name, settings))
    return lines


def report(
    title: str, files: list[DetectionFile], truth: dict[str, Any], lines: list[tuple[str, TrackerSettings]]
) -> None:
    """Print one table."""
    groups = {"05, 09, 13 (chosen on)": CHOSEN_ON}
    others = tuple(number_of(stored.name) for stored in files if number_of(stored.name) not in CHOSEN_ON)
    if others:
        groups[f"{', '.join(others)} (only reported)"] = others
        groups["all"] = (*CHOSEN_ON, *others)
    headings = " | ".join(f"{name}: {HEADINGS}" for name in groups)
    print(f"\n### {title}\n\n| | {headings} | ms per frame |")
    print("|---" * (len(groups) + 2) + "|")
    for name, settings in [*lines, ("+ interpolation (afterwards)", lines[-1][1])]:
        scores: dict[str, Scores] = {}
        seconds = []
        for stored in files:
            assert stored.frame_rate is not None
            start = time.perf_counter()
            boxes = track(stored, FairMOTTracker(stored.frame_rate, settings))
            seconds.append((time.perf_counter() - start) / len(stored))
            if "interpolation" in name:
                boxes = interpolate(boxes)
            number = number_of(stored.name)
            scores[number] = score(truth[number], boxes, range(1, len(stored) + 1))
        cells = [row(Scores.combined(scores[number] for number in numbers)) for numbers in groups.values()]
        print(f"| {name} | {' | '.join(cells)} | {1000 * float(np.mean(seconds)):.2f} |", flush=True)


def row(scores: Scores) -> str:
    """Return the measures of a cell."""
    return f"{100 * scores.hota:.2f} {100 * scores.mota:.2f} {100 * scores.idf1:.2f} {scores.switches}"


if __name__ == "__main__":
    main()
