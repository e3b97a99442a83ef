"""Run many frames through the process pipeline without a network, and print what its processes hold meanwhile.

    python benchmarks/pipeline_soak.py [--frames 100000] [--size 320x192] [--pipeline threads] [--no-video]

The source is a short clip whose packets are repeated; the engine returns boxes that walk across it. Everything else is
what `fairmot track` runs: the decoder's process, the tracker, text, JSON lines, and the process of the annotated video.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import av
import numpy as np

from fairmot.app.options import Options
from fairmot.app.pipeline import run_pipeline
from fairmot.app.stages import shared_frames
from fairmot.core import Detections, Frame, StageClock
from fairmot.engine import Engine, ModelInfo
from fairmot.tracker import FairMOTTracker, TrackerSettings
from fairmot.video import JSONLSink, MOTSink, Sink, VideoSink, open_source
from fairmot.video.synthetic.scene import Scene
from fairmot.video.video_process import VideoProcess

CLIP_FRAMES = 100
PEOPLE = 10
RATE = 25


class WalkingBoxes(Engine):
    """An engine that looks at no pixel: boxes that walk to the right, each of its own appearance."""

    name = "walking-boxes"
    reason = "no network"
    pixel_format = "yuv420p"
    prefetch_batches = 2

    def __init__(self, size: tuple[int, int], batch: int) -> None:
        self.model = ModelInfo.read(None)
        self.size, self.max_batch = size, batch
        appearances = np.random.default_rng(0).normal(size=(PEOPLE, self.model.embedding_size)).astype(np.float32)
        self._appearances = appearances / np.linalg.norm(appearances, axis=1, keepdims=True)

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Return the boxes of each frame."""
        return [self._boxes(frame) for frame in frames]

    def _boxes(self, frame: Frame) -> Detections:
        width, height = frame.size
        person = np.arange(PEOPLE, dtype=np.float32)
        left = (person * width / PEOPLE + frame.index / 3) % (0.9 * width)
        top = 0.2 * height + 0.03 * height * person
        boxes = np.stack([left, top, left + 0.08 * width, top + 0.4 * height], axis=1).astype(np.float32)
        return Detections(boxes, np.full(PEOPLE, 0.9, np.float32), np.zeros(PEOPLE, np.int64), self._appearances)


def write_clip(path: Path, size: tuple[int, int], count: int) -> None:
    """Write a video of `count` frames: `CLIP_FRAMES` rendered ones, encoded once, over and over."""
    scene = Scene(people=PEOPLE, size=size, frames=CLIP_FRAMES, frame_rate=RATE, seed=0)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, RATE)
        packets = [(bytes(packet), packet.pts, packet.is_keyframe) for packet in _encoded(stream, scene)]
        container.start_encoding()
        for number in range(count):
            data, time_stamp, is_key = packets[number % CLIP_FRAMES]
            packet = av.Packet(data)
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, RATE), is_key
            packet.pts = packet.dts = number - number % CLIP_FRAMES + time_stamp
            container.mux(packet)


def _encoded(stream: Any, scene: Scene) -> Iterator[Any]:
    for number in range(CLIP_FRAMES):
        frame = av.VideoFrame.from_ndarray(np.asarray(scene.render(number + 1)), format="bgr24")
        frame.pts = number
        yield from stream.encode(frame)
    yield from stream.encode(None)


def holdings() -> str:
    """Return memory, descriptors and threads of this process and its children."""
    pids = [os.getpid()]
    for children in Path("/proc/self/task").glob("*/children"):
        pids += map(int, children.read_text().split())
    return "   ".join(map(_holding, sorted(pids)))


def _holding(pid: int) -> str:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    if "RssAnon" not in status:
        return "ended"
    private, shared = (int(status[key].split()[0]) // 1024 for key in ("RssAnon", "RssShmem"))
    return f"{private:4} + {shared:3} MB {len(os.listdir(f'/proc/{pid}/fd')):3} fds {int(status['Threads']):3} threads"


def main() -> None:
    """Track the clip and print a line every tenth of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--size", default="320x192")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--pipeline", choices=("threads", "processes"), default="processes")
    parser.add_argument("--no-video", action="store_true")
    arguments = parser.parse_args()
    size = tuple(map(int, arguments.size.split("x")))
    with tempfile.TemporaryDirectory() as made, ExitStack() as stack:
        folder = Path(made)
        write_clip(folder / "clip.mp4", size, arguments.frames)
        source = stack.enter_context(open_source(str(folder / "clip.mp4"), pixel_format="yuv420p"))
        engine = WalkingBoxes(size, arguments.batch)
        options = Options((str(folder / "clip.mp4"),), pipeline=arguments.pipeline)
        clock, began = StageClock(), time.perf_counter()
        sinks: list[Sink] = [
            stack.enter_context(MOTSink(folder / "tracks.txt")),
            stack.enter_context(JSONLSink(folder / "tracks.jsonl")),
        ]
        ring = shared_frames(stack, options, source, engine)
        if not arguments.no_video:
            video = (folder / "tracked.mp4", size, source.frame_rate)
            sinks.append(stack.enter_context(VideoSink(*video) if ring is None else VideoProcess(ring, *video)))
        print("per process (this one, the decoder, the video): private + shared memory, descriptors, threads")

        def report(frame: Frame, tracks: object) -> None:
            if frame.index in (200, 1000) or frame.index % max(arguments.frames // 10, 1) == 0:
                rate = frame.index / (time.perf_counter() - began)
                print(f"{frame.index:7} frames {rate:6.0f} frames/s   {holdings()}", flush=True)

        tracker = FairMOTTracker(
            source.frame_rate, TrackerSettings().resolved(engine.model.score_threshold), ("person",)
        )
        run_pipeline(source, engine, tracker, sinks, clock=clock, report=report)
        stages = clock.milliseconds()
        print("ms per frame:", {stage: round(spent / arguments.frames, 3) for stage, spent in stages.items()})


if __name__ == "__main__":
    main()
