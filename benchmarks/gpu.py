"""dla_34 on one GPU, this project's engine beside what one would use instead: `python benchmarks/gpu.py FOLDER`.

FOLDER is what `python -m benchmarks.widened FOLDER --weights HALF.onnx` made (it says where HALF.onnx is from); plans
are built into the cache where they are missing.
Parts (`--parts`): `build` the plans of all parts but `layers` and no more; `network` alone (random images that take
turns, CUDA graphs where they work, events of the GPU); `frame`, a decoded frame in memory to detections on the host;
`file`, a 1080p H.264 file to MOTChallenge text; `kernels`, letterbox and decoding with 200 people; `layers`, deformable
convolutions one by one by TensorRT's profiler, which needs plans of its own (batch 1, no auxiliary streams);
`accuracy`, one such layer in half precision against float64. All times are medians.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from pathlib import Path

PARTS = ("build", "network", "frame", "file", "kernels", "layers", "accuracy")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with dla_34.onnx, dla_34.pth and street.mp4")
    parser.add_argument("--parts", default=",".join(PARTS[1:]), help="by commas (all but build)")
    parser.add_argument("--rows", help="only rows whose names hold one of these, by commas")
    parser.add_argument("--batch", type=int, default=8, help="the batch size beside 1 (8)")
    parser.add_argument("--runs", type=int, default=60, help="of which the median is taken (60)")
    parser.add_argument("--classic-frames", type=int, default=120, help="of the video for the classic pipeline (120)")
    parser.add_argument("--no-build", action="store_true", help="leave out rows whose plans are not in the cache")
    parser.add_argument("--output", type=Path, help="write the tables to this file too")
    options = parser.parse_args()
    options.rows = options.rows.split(",") if options.rows else None
    options.parts = options.parts.split(",")
    if not set(options.parts) <= set(PARTS):
        parser.error(f"--parts must be some of {', '.join(PARTS)}")
    return options


def main() -> int:
    """Run the parts and print their tables."""
    options = _options()
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also when it is run as a script
    from fairmot.plugins.library import tensorrt_unavailable_reason

    reason = tensorrt_unavailable_reason()
    if reason is not None:
        print(reason, file=sys.stderr)
        return 2
    import tensorrt
    import torch

    from benchmarks import gpu_parts
    from fairmot.engine.cuda.gpu import Gpu

    benchmark = gpu_parts.Benchmark(options)
    benchmark.say(
        f"{Gpu.open().name}, TensorRT {tensorrt.__version__}, torch {torch.__version__}, "
        f"Python {platform.python_version()}; medians of {options.runs}"
    )
    began = time.perf_counter()
    for part in options.parts:
        getattr(gpu_parts, part)(benchmark)
        if options.output:
            options.output.write_text("\n".join(benchmark.lines) + "\n")
    benchmark.say(f"\n{time.perf_counter() - began:.0f} s for {', '.join(options.parts)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
