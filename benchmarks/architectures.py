"""CenterNet models at 512x512 on one GPU and on the CPU: `python -m benchmarks.architectures FOLDER --parts PART,...`.

Parts: `models` writes the networks with random weights into FOLDER (needs onnxscript); `build` builds their plans into
the cache; `tensorrt` times the plans that are there, with our plugin and with NVIDIA's; `torch` times PyTorch (needs
neither TensorRT nor pycuda), `compiled` PyTorch with torch.compile (minutes); `cpu` times ONNX Runtime and PyTorch on
the CPU; `table` prints what FOLDER/results.jsonl holds. Every measurement is written there at once, so that parts may
run in processes and Pythons of their own and be cut off; to build on several GPUs, start `build` for each with
`CUDA_VISIBLE_DEVICES` and other `--networks`. Times are medians, of the GPU by events (`benchmarks/gpu_networks.py`).
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import torch

from benchmarks import centernet_models
from benchmarks.centernet_models import NETWORKS, SIZE
from benchmarks.gpu_networks import EagerRunner, GraphRunner, Runner, random_images, time_network
from fairmot.export.networks import Network, deform_conv

if TYPE_CHECKING:
    from fairmot.engine import ModelInfo
    from fairmot.engine.trt.plan import BuildSettings

BATCHES = (1, 8)
PRECISIONS = ("fp16", "fp32")
OURS, NVIDIAS = "plugin", "nvidia"
EAGER, EAGER_FULL, GRAPH, COMPILED = "eager, TF32", "eager, float32", "CUDA graph", "torch.compile"
ONNX_RUNTIME, EAGER_CPU = "ONNX Runtime, CPU", "eager, CPU"
_COLUMNS = {"fp16": (OURS, NVIDIAS, GRAPH, COMPILED), "fp32": (OURS, NVIDIAS, EAGER_FULL, EAGER)}
_TITLES = {
    OURS: "TensorRT, our plugins",
    NVIDIAS: "TensorRT, NVIDIA's DCN plugin",
    EAGER: "PyTorch eager, TF32 (its default)",
    EAGER_FULL: "PyTorch eager without TF32",
    GRAPH: "PyTorch, channels last, CUDA graph",
    COMPILED: "PyTorch, torch.compile, CUDA graph",
}


@dataclass(frozen=True)
class Measurement:
    """One measurement.

    Attributes:
        network: name of the architecture.
        precision: `fp16` or `fp32`.
        way: what ran it, one of the constants above.
        batch: number of images.
        milliseconds: the median of the GPU, or of the CPU.
        device: name of the GPU, or threads of the CPU.
        versions: of what ran it.
        wall: median milliseconds that the host saw, on a GPU.
        error: relative error of the boxes of one image against PyTorch in float32 on the CPU, on a GPU.
        ratio: to ONNX Runtime, on the CPU: the median of those of each pair of runs.
    """

    network: str
    precision: str
    way: str
    batch: int
    milliseconds: float
    device: str
    versions: str
    wall: float | None = None
    error: float | None = None
    ratio: float | None = None


class Benchmark:
    """The options, and the file of measurements.

    Args:
        options: of the command.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.folder: Path = options.folder
        self.networks: list[str] = options.networks
        self.precisions: list[str] = options.precisions
        self.runs: int = options.runs
        self._results = self.folder / "results.jsonl"

    def write(self, measurement: Measurement) -> None:
        """Print a measurement and append it to the file."""
        each = measurement
        print(f"{each.network} {each.precision} {each.way}, batch {each.batch}: {each.milliseconds:.3f} ms", flush=True)
        with self._results.open("a") as file:
            file.write(json.dumps(asdict(measurement)) + "\n")

    def read(self) -> list[Measurement]:
        """Return the measurements of the file; of the same thing the last."""
        if not self._results.is_file():
            return []
        found = [Measurement(**json.loads(line)) for line in self._results.read_text().splitlines()]
        return list({(each.network, each.precision, each.way, each.batch): each for each in found}.values())

    def time(self, name: str, precision: str, way: str, make: Callable[[int], Runner], versions: str) -> None:
        """Time what `make` returns for each batch size."""
        for batch in BATCHES:
            with _guarded(f"{name} {precision} {way}, batch {batch}"):
                runner = make(batch)
                times = time_network(runner, random_images(batch, SIZE), self.runs)
                error = self._error(runner, name) if batch == 1 else None
                device = torch.cuda.get_device_name()
                self.write(Measurement(name, precision, way, batch, times.gpu, device, versions, times.wall, error))

    def _error(self, runner: Runner, name: str) -> float:
        with torch.cuda.stream(runner.stream):
            runner.load(centernet_models.image(name, self.folder).cuda())
            runner.run()
            torch.cuda.synchronize()
            return centernet_models.box_error(runner.boxes(), name, self.folder)


@contextmanager
def _guarded(title: str) -> Iterator[None]:
    """Let a measurement fail alone, with its reason, and free what it held."""
    try:
        yield
    except Exception as error:
        print(f"{title}: left out, {' '.join(str(error).split())[:300] or type(error).__name__}", flush=True)
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def models(benchmark: Benchmark) -> None:
    """Write the models."""
    benchmark.folder.mkdir(parents=True, exist_ok=True)
    for name in benchmark.networks:
        began = time.perf_counter()
        centernet_models.write(name, benchmark.folder)
        print(f"{name}: written after {time.perf_counter() - began:.0f} s", flush=True)


def _plans(benchmark: Benchmark) -> Iterator[tuple[str, ModelInfo, BuildSettings]]:
    """Yield name, model and settings of every plan; NVIDIA's only where there are deformable layers."""
    from fairmot.engine import ModelInfo
    from fairmot.engine.trt.plan import BuildSettings

    for name in benchmark.networks:
        model = ModelInfo.read(benchmark.folder / f"{name}.onnx")
        deformable = any(node.op_type == "DeformConv" for node in onnx.load(model.path).graph.node)
        for precision in benchmark.precisions:
            for dcn in (OURS, NVIDIAS) if deformable else (OURS,):
                yield name, model, BuildSettings(SIZE, BATCHES, precision, dcn)  # type: ignore[arg-type]


def build(benchmark: Benchmark) -> None:
    """Build the plans that are missing."""
    from fairmot.engine.trt.builder import cached_plan

    for name, model, settings in _plans(benchmark):
        title = f"{name} {settings.precision} {settings.dcn}"
        with _guarded(title):
            began = time.perf_counter()
            cached_plan(model, settings, progress=False)
            print(f"{title}: plan there after {time.perf_counter() - began:.0f} s", flush=True)


def tensorrt(benchmark: Benchmark) -> None:
    """Time the plans that are built."""
    from tensorrt import __version__

    from benchmarks.tensorrt_runner import TensorRTRunner
    from fairmot.engine.trt.cache import file_sha256, plan_path
    from fairmot.engine.trt.plan import Plan
    from fairmot.engine.trt.runtime import this_host

    for name, model, settings in _plans(benchmark):
        path = plan_path(model, file_sha256(model.path), settings, this_host(settings))
        if not path.is_file():
            print(f"{name} {settings.precision} {settings.dcn}: left out, its plan is not built", flush=True)
            continue
        plan = Plan.read(path)
        benchmark.time(
            name,
            settings.precision,
            settings.dcn,
            lambda batch, plan=plan: TensorRTRunner(plan, batch),  # type: ignore[misc]
            f"TensorRT {__version__}",
        )


def _torch_versions() -> str:
    deformable = "torchvision" if deform_conv._torchvision_deform_conv2d else "grid_sample"
    return f"torch {torch.__version__}, DCNv2 by {deformable}, Python {sys.version.split()[0]}"


def torch_rows(benchmark: Benchmark) -> None:
    """Time PyTorch as its users have it, without our training kernels."""
    deform_conv._triton = None
    for name in benchmark.networks:
        network = centernet_models.load(name, benchmark.folder)
        makers: dict[tuple[str, str], Callable[[int], Runner]] = {
            ("fp16", GRAPH): lambda batch, network=network: GraphRunner(network, batch, SIZE),
            ("fp32", EAGER): lambda batch, network=network: EagerRunner(network, batch, SIZE),
            ("fp32", EAGER_FULL): lambda batch, network=network: EagerRunner(network, batch, SIZE, tf32=False),
        }
        for (precision, way), make in makers.items():
            if precision in benchmark.precisions:
                benchmark.time(name, precision, way, make, _torch_versions())


def compiled(benchmark: Benchmark) -> None:
    """Time PyTorch with torch.compile."""
    deform_conv._triton = None
    for name in benchmark.networks:
        network = centernet_models.load(name, benchmark.folder)

        def make(batch: int, network: Network = network) -> Runner:
            torch._dynamo.reset()
            return GraphRunner(network, batch, SIZE, compiled=True)

        benchmark.time(name, "fp16", COMPILED, make, _torch_versions())


def cpu(benchmark: Benchmark) -> None:
    """Time ONNX Runtime and PyTorch, batch 1, in turn, on all cores."""
    import onnxruntime

    from benchmarks.cpu import compare
    from fairmot.core.cores import usable_cores
    from fairmot.engine.onnxruntime import open_session
    from fairmot.export.onnx_model import ExportedNetwork, fold_batch_norm

    threads = usable_cores()
    torch.set_num_threads(threads)
    for name in benchmark.networks:
        module = ExportedNetwork(fold_batch_norm(centernet_models.load(name, benchmark.folder))).eval()
        session = open_session(benchmark.folder / f"{name}.onnx", threads)
        ours, eager, ratio = compare(session, module, SIZE, benchmark.runs)
        device, version = f"{threads} threads", f"onnxruntime {onnxruntime.__version__}"
        benchmark.write(Measurement(name, "fp32", ONNX_RUNTIME, 1, ours, device, version))
        benchmark.write(Measurement(name, "fp32", EAGER_CPU, 1, eager, device, _torch_versions(), ratio=ratio))


def table(benchmark: Benchmark) -> None:
    """Print the measurements of the file as Markdown."""
    found = {(each.network, each.precision, each.way, each.batch): each for each in benchmark.read()}
    for precision in PRECISIONS:
        ways = [way for way in _COLUMNS[precision] if any(key[1:3] == (precision, way) for key in found)]
        if ways:
            _gpu_table(found, precision, ways)
    on_cpu = [each for each in found.values() if each.way in (ONNX_RUNTIME, EAGER_CPU)]
    if on_cpu:
        versions = "; ".join(sorted({each.versions for each in on_cpu}))
        print(f"\n## CPU, {on_cpu[0].device}, batch 1, ms\n\n{versions}\n")
        print("| network | ONNX Runtime | PyTorch eager | PyTorch / ONNX Runtime |\n|---|---|---|---|")
        for name in NETWORKS:
            ours, eager = (found.get((name, "fp32", way, 1)) for way in (ONNX_RUNTIME, EAGER_CPU))
            if ours and eager:
                print(f"| {name} | {ours.milliseconds:.1f} | {eager.milliseconds:.1f} | {eager.ratio:.2f} |")


def _gpu_table(found: dict[tuple[str, str, str, int], Measurement], precision: str, ways: list[str]) -> None:
    shown = [each for (_, kind, way, _), each in found.items() if kind == precision and way in ways]
    print(f"\n## {precision.upper()}, {', '.join(sorted({each.device for each in shown}))}: GPU ms a batch\n")
    print("; ".join(sorted({each.versions for each in shown})) + "\n")
    ratios = [way for way in ways if way != OURS] if OURS in ways else []
    heads = [*(_TITLES[way] for way in ways), "ours, images/s", *(f"{_TITLES[way]} / ours" for way in ratios)]
    print(f"| network | batch | {' | '.join(heads)} | box error, ours |\n|{'---|' * (len(heads) + 3)}")
    for name in NETWORKS:
        for batch in BATCHES:
            row = {way: found[key] for way in ways if (key := (name, precision, way, batch)) in found}
            if not row:
                continue
            ours = row.get(OURS)
            cells = [f"{row[way].milliseconds:.3f}" if way in row else "" for way in ways]
            cells.append(f"{1000 * batch / ours.milliseconds:.0f}" if ours else "")
            cells += [
                f"{row[way].milliseconds / ours.milliseconds:.2f}" if ours and way in row else "" for way in ratios
            ]
            cells.append(f"{ours.error:.1e}" if ours and ours.error is not None else "")
            print(f"| {name} | {batch} | {' | '.join(cells)} |")


PARTS: dict[str, Callable[[Benchmark], None]] = {
    "models": models,
    "build": build,
    "tensorrt": tensorrt,
    "torch": torch_rows,
    "compiled": compiled,
    "cpu": cpu,
    "table": table,
}


def main() -> int:
    """Run the parts in the order in which they are named."""

    def some(choices: tuple[str, ...]) -> Callable[[str], list[str]]:
        def names(text: str) -> list[str]:
            given = text.split(",")
            if not set(given) <= set(choices):
                raise argparse.ArgumentTypeError(f"must be some of {', '.join(choices)}, by commas")
            return given

        return names

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of models and measurements")
    parser.add_argument("--parts", type=some(tuple(PARTS)), required=True, help="by commas")
    parser.add_argument("--networks", type=some(NETWORKS), default=list(NETWORKS), help="by commas (all)")
    parser.add_argument("--precisions", type=some(PRECISIONS), default=list(PRECISIONS), help="by commas (both)")
    parser.add_argument("--runs", type=int, default=60, help="of which the median is taken (60)")
    options = parser.parse_args()
    benchmark = Benchmark(options)
    for part in options.parts:
        PARTS[part](benchmark)
    return 0


if __name__ == "__main__":
    sys.exit(main())
