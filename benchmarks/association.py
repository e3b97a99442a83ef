"""Milliseconds per frame of the association, beside what a user would take instead, as Markdown, on one thread.

    pip install trackers                          # the peers; not needed by the project
    python -m benchmarks.association [FOLDER]     # FOLDER: detection files with embeddings, MOT17-XX.npz

Every tracker gets the same detections of each frame, one tracker after the other in one process: real ones, and
crowds of people who keep their identity, walk, and are all seen in every frame. Peers from PyPI's `trackers` associate
by boxes; `plain loop` is FairMOT with embeddings as it is usually written (`benchmarks/plain_fairmot.py`).
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy is loaded
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import argparse
import gc
import logging
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.plain_fairmot import PlainFairMOT
from fairmot.core.records import Detections
from fairmot.tracker import FairMOTTracker
from fairmot.tracker.detection_file import DetectionFile, find_detection_files, read_detection_file
from fairmot.tracker.presets import PRESETS

CROWDS = (100, 200, 500, 1000)
WARM_UP = 10
SLOW = 30.0  # seconds after which a run ends early; it needs WARM_UP + 20 frames at least

Update = Callable[[Detections], int]


def ours(name: str, **changes: Any) -> Callable[[float], Update]:
    """Return a maker of our tracker with a preset."""

    def make(rate: float) -> Update:
        tracker = FairMOTTracker(rate, replace(PRESETS[name], **changes))
        return lambda found: len(tracker.update(found))

    return make


def plain(rate: float) -> Update:
    """Return the plain loop."""
    tracker = PlainFairMOT(rate)
    return lambda found: len(tracker.update(found))


def from_package(name: str) -> Callable[[float], Update]:
    """Return a maker of a tracker of the `trackers` package, with its defaults."""
    import supervision
    import trackers

    def make(rate: float) -> Update:
        tracker = getattr(trackers, name)(frame_rate=rate)

        def update(found: Detections) -> int:
            given = supervision.Detections(xyxy=found.tlbr, confidence=found.scores, class_id=found.class_ids)
            return int((tracker.update(given).tracker_id >= 0).sum())

        return update

    return make


def crowd(people: int, frames: int = 100) -> DetectionFile:
    """Return people on a loose grid who walk a little, each with an embedding of 128 numbers that stays near itself."""
    random = np.random.default_rng(people)
    columns = int(np.ceil(np.sqrt(2 * people)))
    place = np.stack((70.0 * (np.arange(people) % columns), 130.0 * (np.arange(people) // columns)), axis=1)
    speed = random.normal(0, 0.7, (people, 2))
    looks = random.normal(size=(people, 128))
    found = {}
    for frame in range(1, frames + 1):
        corner = place + speed * frame + random.normal(0, 1.0, (people, 2))
        embeddings = looks + random.normal(0, 0.4, looks.shape)
        embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
        order = random.permutation(people)
        found[frame] = Detections(
            np.concatenate((corner, corner + np.array([50.0, 110.0])), axis=1).astype(np.float32)[order],
            random.uniform(0.7, 1.0, people).astype(np.float32),
            np.zeros(people, np.int64),
            embeddings.astype(np.float32)[order],
        )
    return DetectionFile(f"{people} people", np.arange(1, frames + 1), found, 30.0)


def measure(stored: DetectionFile, make: Callable[[float], Update]) -> tuple[float, float, float]:
    """Return the median and the 95th percentile of milliseconds per frame, and the mean number of tracks reported."""
    update = make(stored.frame_rate or 30.0)
    seconds, counts = [], []
    gc.collect()
    for _, found in stored:
        start = time.perf_counter()
        counts.append(update(found))
        seconds.append(time.perf_counter() - start)
        if sum(seconds) > SLOW and len(seconds) >= WARM_UP + 20:
            break
    median, late = 1000 * np.percentile(seconds[WARM_UP:], (50, 95))
    return float(median), float(late), float(np.mean(counts[WARM_UP:]))


def main() -> None:
    """Print the table."""
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=str(__doc__), formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    folder = parser.parse_args().folder
    files = [read_detection_file(path) for path in find_detection_files(folder)] if folder else []
    files += [crowd(people) for people in CROWDS]
    makers = {
        "ours, fairmot, embeddings": ours("fairmot"),
        "ours, default, embeddings": ours("default"),
        "ours, default, boxes": ours("default", use_embeddings=False),
        "ours, byte-motion, boxes": ours("byte-motion"),
        "plain loop, fairmot, embeddings": plain,
    }
    try:
        makers["trackers ByteTrack, boxes"] = from_package("ByteTrackTracker")
        makers["trackers SORT, boxes"] = from_package("SORTTracker")
    except ImportError:
        print("The package `trackers` is not installed, so its trackers are left out.\n")
    print(
        f"Python {platform.python_version()}, NumPy {np.__version__}, {platform.machine()}, one thread; ms per frame,"
    )
    print("median / 95th percentile (mean number of tracks reported)\n")
    print(f"| | {' | '.join(stored.name for stored in files)} |\n{'|---' * (len(files) + 1)}|")
    for name, make in makers.items():
        cells = ("{:.2f} / {:.2f} ({:.1f})".format(*measure(stored, make)) for stored in files)
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
