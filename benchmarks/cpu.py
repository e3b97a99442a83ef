"""ONNX Runtime against PyTorch eager on the CPU: `python -m benchmarks.cpu`.

Times the network alone (one input tensor to output tensors) for `dla_34_lite`, in turn A B A B so that a
drifting machine slows both, and prints the medians and the median of the pairwise ratios. PyTorch runs
with folded BatchNorm, in channels-first float32 (its faster layout here), with the same threads; DCNv2
through torchvision where installed, else through grid_sample. Weights are random: they do not change the time.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from fairmot.core.cores import usable_cores
from fairmot.engine.onnxruntime import open_session
from fairmot.export.networks import build_network, deform_conv
from fairmot.export.onnx_model import ExportedNetwork, fold_batch_norm, save, to_onnx


def compare(
    session: onnxruntime.InferenceSession, module: torch.nn.Module, size: tuple[int, int], runs: int
) -> tuple[float, float, float]:
    """Run both in turn on one random image of `(width, height)`.

    Returns:
        Median milliseconds of ONNX Runtime and of PyTorch, and the median of the ratios of each pair.
    """
    images = np.random.default_rng(0).random((1, 3, *size[::-1]), np.float32)
    tensor = torch.from_numpy(images)
    pairs = []
    with torch.inference_mode():
        for run in range(-min(3, runs), runs):
            pair = (
                _milliseconds(lambda: session.run(None, {"images": images})),
                _milliseconds(lambda: module(tensor)),
            )
            if run >= 0:
                pairs.append(pair)
    a, b = (statistics.median(column) for column in zip(*pairs, strict=True))
    return a, b, statistics.median(b / a for a, b in pairs)


def _milliseconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return 1000 * (time.perf_counter() - start)


def main() -> int:
    """Run the comparison and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["576x320"], help="input sizes WIDTHxHEIGHT")
    parser.add_argument("--runs", type=int, default=20, help="timed runs of each")
    options = parser.parse_args()
    threads = usable_cores()
    torch.set_num_threads(threads)
    network = build_network("dla_34_lite").eval()
    eager = ExportedNetwork(fold_batch_norm(network)).eval()
    deformable = "torchvision" if deform_conv._torchvision_deform_conv2d else "grid_sample"
    print(f"{platform.processor() or platform.machine()}, {threads} threads, Python {platform.python_version()},")
    print(f"onnxruntime {onnxruntime.__version__}, torch {torch.__version__} (DCNv2 through {deformable}), batch 1")
    print("| input | ONNX Runtime, ms | PyTorch eager, ms | PyTorch / ONNX Runtime |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        save(to_onnx(network, "dla_34_lite", (576, 320), ["person"]), path)
        session = open_session(path, threads)
        for size in options.sizes:
            width, height = (int(side) for side in size.split("x"))
            a, b, ratio = compare(session, eager, (width, height), options.runs)
            print(f"| {size} | {a:.1f} | {b:.1f} | {ratio:.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
