"""Measure the annotated video: the time to draw a frame, and size, quality and time of x264's presets.

    python -m benchmarks.video_encoding [SOURCE ...] [--frames 60] [--tracks 40]

Without a source it takes the rendered scene at 1080p. Every source gets the same made-up tracks, which wander over the
frame, so that boxes, labels and trails are as many as with a crowd. Time is that of the processor, of all threads
together, which other work on the machine changes little; SSIM (Wang et al., 2004) and PSNR are those of luma against
the drawn frames.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import cv2
import numpy as np

from fairmot.core import Frame, Tracks
from fairmot.core.records import ByteArray
from fairmot.video import Trails, VideoSink, draw_tracks, open_source
from fairmot.video.canvas import Canvas
from fairmot.video.encoders import TICKS, EncoderSettings
from fairmot.video.planes import Layout, drawable, encodable, fitted
from fairmot.video.video_sink import caption

_SCENE = "demo?people=40&size=1920x1080"
_SETTINGS = [
    *(("ultrafast", crf) for crf in (18, 20, 22, 24)),
    *(("superfast", crf) for crf in (22, 23, 24, 25)),
    ("veryfast", 23),
]


@dataclass(frozen=True)
class Outcome:
    """The outcome of one encoder: bytes and milliseconds of a frame, frames a second, and quality."""

    size: float
    cpu: float
    rate: float
    ssim: float
    psnr: float


def wandering(count: int, size: tuple[int, int]) -> Iterator[Tracks]:
    """Yield made-up tracks, frame after frame, of the shape of people."""
    random = np.random.default_rng(0)
    width, height = size
    tall = random.uniform(0.08, 0.3, count) * height
    boxes = np.column_stack([random.uniform(0, width, count), random.uniform(0, height * 0.7, count), tall / 2.5, tall])
    steps = random.normal(0, 0.0015 * width, (count, 2))
    ids = np.arange(1, count + 1) * 7
    while True:
        boxes[:, :2] += steps + random.normal(0, 0.4, steps.shape)
        yield Tracks(ids, boxes.astype(np.float32), np.full(count, 0.9, np.float32), np.zeros(count, np.int64))


def draw(source: str, frames: int, tracks: int) -> tuple[list[Frame], float]:
    """Return drawn frames of a source, and the milliseconds of the processor for each."""
    drawn, trails, spent = [], Trails(), 0.0
    with open_source(source, pixel_format="yuv420p") as opened:
        size = fitted(opened.size, None)
        for frame, now in zip(islice(opened, frames), wandering(tracks, size), strict=False):
            planes = drawable(frame, size)
            began = time.thread_time()
            trails.update(now)
            draw_tracks(Canvas.of_planes(planes), now, trails, caption(frame, now, 25.0))
            spent += time.thread_time() - began
            drawn.append(planes)
    return drawn, 1e3 * spent / len(drawn)


def sink(frames: list[Frame], tracks: int) -> tuple[float, float]:
    """Return frames/s of the whole sink, which draws what is there again, and milliseconds of the processor a frame."""
    size = frames[0].size
    wall, cpu = time.perf_counter(), time.process_time()
    with TemporaryDirectory() as folder, VideoSink(Path(folder) / "tracked.mp4", size, 25.0) as opened:
        for frame, now in zip(frames, wandering(tracks, size), strict=False):
            opened.write(frame, now)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return len(frames) / wall, 1e3 * cpu / len(frames)


def encode(frames: list[Frame], preset: str, crf: int, threads: str) -> Outcome:
    """Encode frames with x264 and compare what comes out."""
    first = frames[0]
    settings = EncoderSettings("libx264", first.size, Fraction(25))
    context: Any = av.CodecContext.create("libx264", "w")
    layout = Layout.of(first)
    settings.apply(context, layout)
    context.options = {**context.options, "preset": preset, "crf": str(crf)}
    context.thread_type = threads
    context.open()
    packets, wall, cpu = [], time.perf_counter(), time.process_time()
    for number, frame in enumerate(frames):
        encoded = encodable(frame, layout, shared=True)
        encoded.pts, encoded.time_base = number * TICKS // 25, Fraction(1, TICKS)
        packets += context.encode(encoded)
    packets += context.encode(None)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    decoder: Any = av.CodecContext.create("h264", "r")
    decoded = [image for packet in [*packets, None] for image in decoder.decode(packet)]
    pairs = [(_luma(image), frame.pixels[: frame.height]) for image, frame in zip(decoded, frames, strict=True)]
    checked = pairs[:: max(1, len(pairs) // 12)]
    return Outcome(
        size=sum(packet.size for packet in packets) / len(frames),
        cpu=1e3 * cpu / len(frames),
        rate=len(frames) / wall,
        ssim=float(np.mean([_ssim(one, other) for one, other in checked])),
        psnr=float(np.mean([cv2.PSNR(one, other) for one, other in checked])),
    )


def _luma(image: av.VideoFrame) -> ByteArray:
    return np.asarray(image.to_ndarray()[: image.height], np.uint8)


def _ssim(one: ByteArray, other: ByteArray) -> float:
    """Return the mean structural similarity, with the window and the constants of Wang et al., 2004."""
    x, y = one.astype(np.float32), other.astype(np.float32)

    def blurred(values: Any) -> Any:
        return cv2.GaussianBlur(values, (11, 11), 1.5)

    mean_x, mean_y = blurred(x), blurred(y)
    var_x, var_y = blurred(x * x) - mean_x**2, blurred(y * y) - mean_y**2
    covariance = blurred(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similar = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return float(np.mean(similar / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))))


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="*", default=[_SCENE], metavar="SOURCE")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--tracks", type=int, default=40)
    parser.add_argument("--threads", default="FRAME", choices=("FRAME", "SLICE"), help="of x264")
    arguments = parser.parse_args()
    for source in arguments.sources:
        frames, milliseconds = draw(source, arguments.frames, arguments.tracks)
        width, height = frames[0].size
        print(f"\n{source}: {len(frames)} frames of {width}x{height}, drawn in {milliseconds:.2f} ms of CPU each\n")
        rate, cpu = sink(frames, arguments.tracks)
        print(f"the whole sink, frames from memory: {rate:.0f} frames/s, {cpu:.1f} ms of CPU a frame\n")
        print("| preset | crf | kB a frame | SSIM | PSNR, dB | CPU, ms a frame | frames/s |")
        print(f"{'|---' * 7}|")
        for preset, crf in _SETTINGS:
            got = encode(frames, preset, crf, arguments.threads)
            print(
                f"| {preset} | {crf} | {got.size / 1e3:.1f} | {got.ssim:.4f} | {got.psnr:.1f} | {got.cpu:.1f} "
                f"| {got.rate:.0f} |"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
