"""Memory of the association over a long run: `python -m benchmarks.association_soak [FRAMES]` (200,000, two minutes).

People come, walk across and go for good; two trackers take turns in one process. Fails if an id is reused, if one
tracker's answers depend on the other, or if memory after the first tenth grows by more than 1 MB.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy is loaded
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import gc
import sys
import time
from pathlib import Path

import numpy as np

from fairmot.core.records import Detections
from fairmot.tracker import FairMOTTracker

PEOPLE, VISIT, SIZE = 16, 60, 32


def scene(frame: int, random: np.random.Generator, looks: np.ndarray) -> Detections:
    """Return the people of a frame, of whom some are missed; each stays for `VISIT` frames."""
    step = frame + VISIT * np.arange(PEOPLE) // PEOPLE
    shown = np.flatnonzero(random.random(PEOPLE) > 0.1)
    corner = np.stack((15.0 * (step % VISIT), 120.0 * np.arange(PEOPLE)), axis=1) + random.normal(0, 1, (PEOPLE, 2))
    boxes = np.concatenate((corner, corner + np.array([40.0, 100.0])), axis=1).astype(np.float32)
    who = (np.arange(PEOPLE) + PEOPLE * (step // VISIT)) % len(looks)
    scores = random.uniform(0.3, 1.0, PEOPLE).astype(np.float32)
    return Detections(boxes[shown], scores[shown], np.zeros(len(shown), np.int64), looks[who[shown]])


def resident() -> float:
    """Return the memory of this process in MB (Linux)."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> int:
    """Run and return 0, or 1 if something failed."""
    frames = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    random = np.random.default_rng(0)
    looks = random.normal(size=(977, SIZE)).astype(np.float32)
    looks /= np.linalg.norm(looks, axis=1, keepdims=True)
    first, second = FairMOTTracker(30), FairMOTTracker(30)
    buffer = first.settings.buffer_frames(30)
    seen: dict[int, int] = {}  # when each id was last seen; only ids that may still return are kept
    newest, reused, different, memory = 0, 0, 0, []
    start = time.perf_counter()
    for frame in range(1, frames + 1):
        found = scene(frame, random, looks)
        ids, boxes = (tracks := first.update(found)).ids.tolist(), tracks.tlwh
        other = second.update(found)
        different += other.ids.tolist() != ids or not np.array_equal(other.tlwh, boxes)
        reused += sum(identity <= newest and frame - seen.get(identity, -buffer) > buffer + 1 for identity in ids)
        newest = max([newest, *ids])
        seen.update(dict.fromkeys(ids, frame))
        if frame % (frames // 10) == 0:
            seen = {identity: last for identity, last in seen.items() if frame - last <= buffer}
            memory.append(resident())
            rate = 1000 * (time.perf_counter() - start) / frame
            print(f"{frame} frames, {newest} ids, {memory[-1]:.1f} MB, {rate:.2f} ms per frame for both", flush=True)
    print(f"{reused} ids reused, {different} frames in which the two trackers differ")
    return int(bool(reused or different or memory[-1] - memory[0] > 1.0))


if __name__ == "__main__":
    sys.exit(main())
