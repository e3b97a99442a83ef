"""Interpreter time of a frame in the process that feeds the GPU: `python -m benchmarks.host_overhead`.

Everything of a run but the pixels: the engine hands out stored detections as the GPU's does (copies of a packed array,
batches in flight), and the loop, the tracker and the text and JSON files are those of `fairmot track`. CPU time of the
loop's thread alone, on one thread; the launches on a GPU come on top.

`--pipeline memory`: frames lie in memory, and the loop tracks and writes. `decoder`: they come from a process that
decodes a small video. `processes`: another one tracks and writes, as in `fairmot track --pipeline processes`.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy is loaded
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import argparse
import cProfile
import platform
import pstats
import tempfile
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path

import av
import numpy as np

from benchmarks.association import crowd
from fairmot.app.pipeline import run_pipeline
from fairmot.app.stages import frames_from_process
from fairmot.app.tracking_process import TrackingProcess, track_in_process
from fairmot.app.tracking_worker import TrackingPlan
from fairmot.core import Detections, Frame, StageClock, Tracks
from fairmot.core.tracked_classes import PEOPLE
from fairmot.engine import Engine
from fairmot.engine.lookahead import run_ahead
from fairmot.tracker.settings import TrackerSettings
from fairmot.video import Source, open_source

RATE = 25.0
STAGES = ("read", "submit", "collect", "exchange", "track", "write", "count")


class CpuClock(StageClock):
    """A clock of the CPU time of the calling thread, so that waiting for another thread does not count."""

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time the body of a `with` block."""
        start = time.thread_time()
        try:
            yield
        finally:
            self.add(stage, time.thread_time() - start)


class MemorySource(Source):
    """The same small image again and again.

    Args:
        frames: how many.
    """

    def __init__(self, frames: int) -> None:
        super().__init__("memory", (64, 36), RATE, numbers=range(1, frames + 1))
        self._frame_count = frames

    def _frames(self) -> Iterator[Frame]:
        planes = np.zeros((54, 64), np.uint8)
        for number in range(1, self._frame_count + 1):
            yield Frame(number, (number - 1) / RATE, planes, "yuv420p")


class StoredEngine(Engine):
    """Hands out stored detections.

    Args:
        stored: of each frame, from number 1.
        batch: most frames at once.
        clock: accumulates the stages `submit` and `collect`.
    """

    name, reason, size, pixel_format, prefetch_batches = "stored", "for measurement", (64, 36), "yuv420p", 2

    def __init__(self, stored: Sequence[Detections], batch: int, clock: StageClock) -> None:
        self.max_batch = batch
        self._stored = stored
        self._clock = clock

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Return copies of what is stored."""
        with self._clock("collect"):
            found = (self._stored[frame.index - 1] for frame in frames)
            return [
                Detections(*(array.copy() for array in (each.tlbr, each.scores, each.class_ids, each.embeddings)))
                for each in found
            ]

    def detect_batches(
        self, batches: Iterable[Sequence[Frame]], prefetch_batches: int
    ) -> Generator[tuple[Sequence[Frame], list[Detections]], None, None]:
        """Return copies of what is stored for batch after batch, some in flight."""
        return run_ahead(batches, prefetch_batches, self.max_batch, self._submit, self.detect, abandon=len)

    def _submit(self, frames: Sequence[Frame]) -> Sequence[Frame]:
        with self._clock("submit"):
            return frames


def video(folder: Path, frames: int) -> Path:
    """Write a small video and return its file."""
    path = folder / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=int(RATE))
        stream.width, stream.height, stream.pix_fmt = 64, 36, "yuv420p"
        for _ in range(frames):
            container.mux(stream.encode(av.VideoFrame(64, 36, "yuv420p")))
        container.mux(stream.encode())
    return path


def measure(
    people: int, frames: int, batch: int, pipeline: str, profile: cProfile.Profile | None
) -> tuple[dict[str, float], float]:
    """Return the microseconds of each stage per frame, `loop` for what is in none, and their sum; and frames/s."""
    stored = [found for _, found in crowd(people, frames)] if people else [Detections.empty(128)] * frames
    clock, ids = CpuClock(), set[int]()

    def count(frame: Frame, tracks: Tracks) -> None:
        with clock("count"):
            ids.update(tracks.ids.tolist())

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        files = folder / "tracks.txt", folder / "tracks.jsonl", None, None, None
        plan = TrackingPlan(RATE, (64, 36), TrackerSettings(), PEOPLE, *files)
        engine = stack.enter_context(StoredEngine(stored, batch, clock))
        source: Source = MemorySource(frames)
        if pipeline != "memory":
            source = open_source(str(video(folder, frames)), pixel_format="yuv420p")
        stack.enter_context(source)
        process = stack.enter_context(TrackingProcess("clip")) if pipeline == "processes" else None
        if process is not None:
            process.open(plan)
        if pipeline != "memory":
            stack.enter_context(frames_from_process(source, engine))
        sinks, tracker = [] if process is not None else plan.open_sinks(stack), plan.new_tracker()
        if profile is not None:
            profile.enable()
        began, start = time.thread_time(), time.perf_counter()
        if process is not None:
            track_in_process(source, engine, process, sinks, clock=clock, report=count)
        else:
            run_pipeline(source, engine, tracker, sinks, clock=clock, report=count)
        total, rate = 1000 * (time.thread_time() - began), frames / (time.perf_counter() - start)
        if profile is not None:
            profile.disable()
    spent = clock.milliseconds()
    if process is not None:  # those of another process
        del spent["track"], spent["write"]
    spent["loop"] = total - sum(spent.values())
    spent["sum"] = total
    return {stage: 1000 * value / frames for stage, value in spent.items()}, rate


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", default="0,16,40,100", help="by commas (0,16,40,100)")
    parser.add_argument("--batch", default="1,8", help="by commas (1,8)")
    parser.add_argument("--frames", type=int, default=600, help="of a run (600)")
    parser.add_argument("--runs", type=int, default=3, help="of which each stage's least counts (3)")
    parser.add_argument("--pipeline", default="memory", help="memory, decoder, processes, by commas (memory)")
    parser.add_argument("--profile", type=int, metavar="LINES", help="print the slowest functions too")
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, NumPy {np.__version__}, {platform.machine()}, one thread; us a frame\n")
    columns = (*STAGES, "loop", "sum")
    print(f"| pipeline | people | batch | {' | '.join(columns)} | frames/s |\n{'|---' * (len(columns) + 4)}|")
    profile = cProfile.Profile() if options.profile else None
    for pipeline, people, batch in product(
        options.pipeline.split(","), options.people.split(","), options.batch.split(",")
    ):
        runs = [measure(int(people), options.frames, int(batch), pipeline, profile) for _ in range(options.runs)]
        cells = [f"{min(run.get(stage, 0.0) for run, _ in runs):.1f}" for stage in columns]
        cells.append(f"{max(rate for _, rate in runs):.0f}")
        print(f"| {pipeline} | {people} | {batch} | {' | '.join(cells)} |", flush=True)
    if profile is not None:
        pstats.Stats(profile).sort_stats("tottime").print_stats(options.profile)


if __name__ == "__main__":
    main()
