"""The parts of `benchmarks/gpu.py`; each prints one table, and a row that fails says why and is left out."""

from __future__ import annotations

import argparse
import gc
import importlib.util
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import onnx
import torch

from benchmarks.classic_pipeline import ClassicDetector, track_file
from benchmarks.dcn_layer import LAYERS, Layer, errors
from benchmarks.gpu_kernels import time_kernels
from benchmarks.gpu_networks import INPUTS, EagerRunner, GraphRunner, Runner, Times, random_images, time_network
from benchmarks.plain_graph import with_plain_convolutions
from benchmarks.tensorrt_runner import TensorRTRunner
from fairmot.core import Detections, Frame, StageClock
from fairmot.engine import EngineSettings, ModelInfo
from fairmot.engine.graph import prepare as trt_graph
from fairmot.engine.graph.prepare import prepare
from fairmot.engine.settings import DeformableConvolution, Precision
from fairmot.engine.trt.builder import build_plan, cached_plan
from fairmot.engine.trt.cache import file_sha256, plan_path
from fairmot.engine.trt.engine import TensorRTEngine
from fairmot.engine.trt.inspect import layer_times
from fairmot.engine.trt.plan import BuildSettings, Plan
from fairmot.engine.trt.runtime import this_host
from fairmot.export.checkpoint import load_network
from fairmot.export.networks import deform_conv
from fairmot.export.networks.network import Network
from fairmot.video import open_source

OURS, NVIDIAS, NATIVE, FULL, FLOOR, PLAIN_GRAPH = (
    "TensorRT FP16, our plugins",
    "TensorRT FP16, NVIDIA's DCN plugin",
    "TensorRT FP16, native layers for DCN",
    "TensorRT FP32, our plugins",
    "TensorRT FP16, plain 3x3 convolutions (the floor)",
    "TensorRT FP16, our DCN alone, the rest as exported",
)
_WARM_UP = 5
_ROWS: dict[str, tuple[Precision, DeformableConvolution]] = {
    OURS: ("fp16", "plugin"),
    NVIDIAS: ("fp16", "nvidia"),
    NATIVE: ("fp16", "native"),
    FULL: ("fp32", "plugin"),
    FLOOR: ("fp16", "plugin"),
}


class Benchmark:
    """The state that the parts share: the models, the options, and the text that they write.

    Args:
        options: of the command.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.model = ModelInfo.read(options.folder / "dla_34.onnx")
        self.video: Path = options.folder / "street.mp4"
        self.batch: int = options.batch
        self.lines: list[str] = []
        plain = options.folder / "dla_34_plain.onnx"
        if not plain.is_file():
            onnx.save(with_plain_convolutions(onnx.load(self.model.path)), plain)
        self._plain = ModelInfo.read(plain)
        self._floor: dict[int, Times] = {}
        deform_conv._triton = None  # PyTorch's rows are what its users have, without our training kernels

    def say(self, line: str = "") -> None:
        """Print a line, and keep it for the file."""
        print(line, flush=True)
        self.lines.append(line)

    def network(self) -> Network:
        """Return the network in PyTorch."""
        return load_network(self.options.folder / "dla_34.pth", None)[1].eval()

    def floor(self, batch: int) -> Times | None:
        """Return the times of the floor's network, None if its row is not asked for or failed."""
        if batch not in self._floor and self.rows(FLOOR):
            with guarded(self, f"{FLOOR}, batch {batch}"):
                self._floor[batch] = self.time(TensorRTRunner(self.plan(FLOOR), batch), batch)
        return self._floor.get(batch)

    def share(self, milliseconds: float, batch: int) -> str:
        """Return these ms an image over those of the floor's network, as text."""
        floor = self.floor(batch)
        return f"{milliseconds * batch / floor.gpu:.2f}" if floor else ""

    def time(self, runner: Runner, batch: int) -> Times:
        """Time a network on random images that take turns."""
        return time_network(runner, random_images(batch, self.model.size), self.options.runs)

    def model_of(self, row: str) -> ModelInfo:
        """Return what a row runs."""
        return self._plain if row == FLOOR else self.model

    def settings_of(self, row: str, profiled: bool) -> BuildSettings:
        """Return what the plan of a row is built for; one for TensorRT's profiler has batch 1 and one stream."""
        precision, dcn = _ROWS[row]
        assert dcn != "auto"
        if profiled:
            return BuildSettings(self.model.size, (1,), precision, dcn, aux_streams=0)
        return BuildSettings(self.model.size, (1,) if self.batch == 1 else (1, self.batch), precision, dcn)

    def plan(self, row: str, *, profiled: bool = False) -> Plan:
        """Return the plan of a row, built if that is allowed; see `settings_of`."""
        model, settings = self.model_of(row), self.settings_of(row, profiled)
        path = plan_path(model, file_sha256(model.path), settings, this_host(settings))
        if self.options.no_build and not path.is_file():
            raise RuntimeError("its plan is not built")
        return Plan.read(cached_plan(model, settings))

    def engine(self, row: str, clock: StageClock) -> TensorRTEngine:
        """Return a row's engine as the command opens it."""
        self.plan(row)
        precision, dcn = _ROWS[row]
        settings = EngineSettings(precision=precision, dcn=dcn, batch=self.batch, score_threshold=0.2, clock=clock)
        return TensorRTEngine(self.model_of(row), settings)

    def rows(self, *names: str) -> list[str]:
        """Return those of the rows that were asked for."""
        wanted = self.options.rows
        return [name for name in names if wanted is None or any(part.lower() in name.lower() for part in wanted)]


@contextmanager
def guarded(benchmark: Benchmark, row: str) -> Iterator[None]:
    """Let a row fail alone, with its reason, and free what it held."""
    try:
        yield
    except Exception as error:
        benchmark.say(f"{row}: left out, {' '.join(str(error).split())[:300] or type(error).__name__}")
    finally:
        gc.collect()
        torch.cuda.empty_cache()


def build(benchmark: Benchmark) -> None:
    """Build every plan that is missing."""
    for row in benchmark.rows(*_ROWS):
        with guarded(benchmark, row):
            began = time.perf_counter()
            benchmark.plan(row)
            benchmark.say(f"{row}: plan there after {time.perf_counter() - began:.0f} s")


def network(benchmark: Benchmark) -> None:
    """Time the network alone."""
    size = benchmark.model.size
    network = benchmark.network()

    def compiled(batch: int) -> Runner:
        if importlib.util.find_spec("triton") is None:
            raise RuntimeError("torch.compile needs triton, which is not installed")
        return GraphRunner(network, batch, size, compiled=True)

    eager = "PyTorch eager FP32 (TF32 as by default)"
    makers: dict[str, Callable[[int], Runner]] = {
        eager: lambda batch: EagerRunner(network, batch, size),
        "PyTorch FP16, channels last, CUDA graph": lambda batch: GraphRunner(network, batch, size),
        "PyTorch FP16, torch.compile, CUDA graph": compiled,
    }
    makers |= {row: lambda batch, row=row: TensorRTRunner(benchmark.plan(row), batch) for row in _ROWS if row != FLOOR}
    batches = sorted({1, benchmark.batch})
    found: dict[tuple[str, int], Times] = {}
    for row in benchmark.rows(*makers):
        for batch in batches:
            with guarded(benchmark, f"{row}, batch {batch}"):
                found[row, batch] = benchmark.time(makers[row](batch), batch)
    found |= {(FLOOR, batch): floor for batch in batches if (floor := benchmark.floor(batch)) is not None}
    deformable = "torchvision" if deform_conv._torchvision_deform_conv2d else "grid_sample"
    benchmark.say(f"\n## Network alone, {size[0]}x{size[1]}, ms; PyTorch runs DCNv2 through {deformable}\n")
    benchmark.say("| | batch | GPU | GPU per image | wall | share of the floor | times faster than the best PyTorch |")
    benchmark.say("|---|---|---|---|---|---|---|")
    for (row, batch), times in found.items():
        torches = [each.gpu for (name, count), each in found.items() if count == batch and name.startswith("PyTorch")]
        share = benchmark.share(times.gpu / batch, batch)
        faster = f"{min(torches) / times.gpu:.2f}" if torches else ""
        per_image = f"{times.gpu / batch:.3f}"
        benchmark.say(f"| {row} | {batch} | {times.gpu:.3f} | {per_image} | {times.wall:.3f} | {share} | {faster} |")


def frame(benchmark: Benchmark) -> None:
    """Time decoded frames in memory to detections on the host."""
    with open_source(str(benchmark.video), count=INPUTS, pixel_format="yuv420p") as source:
        planes = list(source)
    images = [each.bgr for each in planes]
    runs = benchmark.options.runs
    benchmark.say("\n## 1080p frame in memory to detections on the host, ms per frame\n")
    benchmark.say("| | batch | wall | GPU | share of the floor | detections |\n|---|---|---|---|---|---|")
    classic = "Classic: OpenCV letterbox, PyTorch eager FP32, torch decode"
    for row in benchmark.rows(classic):
        with guarded(benchmark, row):
            detector = ClassicDetector(benchmark.network().cuda(), benchmark.model.size, 0.2)
            wall, count = _time_frames(
                lambda frames, find=detector: [find(frames[0])], [[each] for each in images], runs
            )
            benchmark.say(f"| {row}, BGR | 1 | {wall:.3f} | | | {count} |")
    for row in benchmark.rows(OURS, NVIDIAS, NATIVE, FULL):
        with guarded(benchmark, row):
            clock = StageClock()
            with benchmark.engine(row, clock) as engine:
                for batch in sorted({1, benchmark.batch}):
                    for name, given in (("YUV planes", planes), ("BGR", [Frame(1, 0.0, each) for each in images])):
                        many = [[given[(start + step) % INPUTS] for step in range(batch)] for start in range(INPUTS)]
                        for frames in many * 3:  # until every slot has its graph
                            engine.detect(frames)
                        before = clock.milliseconds().get("gpu", 0.0)
                        wall, count = _time_frames(engine.detect, many, runs)
                        spent = (clock.milliseconds()["gpu"] - before) / (runs + _WARM_UP) / batch
                        share = benchmark.share(spent, batch)
                        benchmark.say(
                            f"| {row}, {name} | {batch} | {wall / batch:.3f} | {spent:.3f} | {share} | {count} |"
                        )


def _time_frames(
    detect: Callable[[Any], Sequence[Detections]], batches: Sequence[Sequence[Any]], runs: int
) -> tuple[float, int]:
    """Return the median milliseconds of a call, and how many detections the last one had in its first frame."""
    times = []
    found: Sequence[Detections] = []
    for number in range(_WARM_UP + runs):
        began = time.perf_counter()
        found = detect(batches[number % len(batches)])
        times.append(1000 * (time.perf_counter() - began))
    return median(times[_WARM_UP:]), len(found[0])


def file(benchmark: Benchmark) -> None:
    """Time a video file to MOTChallenge text, from the first frame asked for to the closed files."""
    benchmark.say("\n## 1080p H.264 file to MOTChallenge text, one stream\n")
    benchmark.say("| | frames | frames/s | ms per frame | GPU | share of the floor | times the classic | stages, ms |")
    benchmark.say("|---|---|---|---|---|---|---|---|")
    slow: float | None = None
    with tempfile.TemporaryDirectory() as folder:
        classic = "Classic pipeline"
        for row in benchmark.rows(classic):
            with guarded(benchmark, row):
                detector = ClassicDetector(benchmark.network().cuda(), benchmark.model.size, 0.2)
                track_file(detector, benchmark.video, Path(folder) / "warm.txt", 10)
                most = benchmark.options.classic_frames
                count, seconds = track_file(detector, benchmark.video, Path(folder) / "classic.txt", most)
                slow = count / seconds
                benchmark.say(f"| {row} | {count} | {slow:.1f} | {1000 / slow:.2f} | | | 1.0 | |")
        for row in benchmark.rows(OURS, NVIDIAS):
            with guarded(benchmark, row):
                clock = StageClock()
                with benchmark.engine(row, clock) as engine:
                    for batch in sorted({1, benchmark.batch}):
                        engine.max_batch = batch
                        _track(engine, clock, benchmark.video, Path(folder) / "warm", frames=40)
                        run = _track(engine, clock, benchmark.video, Path(folder) / f"{batch}")
                        stages = run["milliseconds"]
                        rate = run["frames_per_second"]
                        ratio = f"{rate / slow:.1f}" if slow else ""
                        text = ", ".join(f"{stage} {value:.2f}" for stage, value in stages.items())
                        benchmark.say(
                            f"| {row}, batch {batch} | {run['frames']} | {rate:.1f} | {1000 / rate:.2f} | "
                            f"{stages['gpu']:.2f} | {benchmark.share(stages['gpu'], batch)} | {ratio} | {text}; "
                            f"{run['identities']} identities |"
                        )


def _track(
    engine: TensorRTEngine, clock: StageClock, video: Path, output: Path, frames: int | None = None
) -> dict[str, Any]:
    """Do what `run_track.py VIDEO --no-video` does with an engine that is open; return its `run.json`."""
    from fairmot.app.json_files import read_json  # these need more packages than the other parts
    from fairmot.app.options import Options
    from fairmot.app.run_folder import RUN
    from fairmot.app.session import Session
    from fairmot.app.terminal import Terminal

    options = Options((str(video),), frames=frames, video=False, output=str(output))
    Session(options, engine, clock, Terminal()).track(str(video))
    return read_json(output / video.stem / RUN)


def kernels(benchmark: Benchmark) -> None:
    """Time letterbox and decoding."""
    benchmark.say("\n## Letterbox and decoding, 1080p, 200 people, GPU ms\n")
    benchmark.say("| batch | frame | letterbox | decoding | both in one graph |\n|---|---|---|---|---|")
    for batch in sorted({1, benchmark.batch}):
        for pixel_format in ("yuv420p", "bgr24"):
            with guarded(benchmark, f"kernels, batch {batch}, {pixel_format}"):
                times = time_kernels(benchmark.model, batch, pixel_format, benchmark.options.runs)
                text = " | ".join(f"{each:.4f}" for each in times)
                benchmark.say(f"| {batch} | {pixel_format} | {text} |")


def layers(benchmark: Benchmark) -> None:
    """Compare deformable convolutions layer by layer."""
    with guarded(benchmark, "layers"):
        tables = {row: _deformable_layers(benchmark, row) for row in (OURS, NVIDIAS)}
        ours, theirs = tables[OURS], tables[NVIDIAS]
        benchmark.say("\n## Deformable convolutions by TensorRT's profiler, batch 1, ms\n")
        benchmark.say(
            "By plans for batch 1 alone, without auxiliary streams. Ours hold the offset convolution and the ReLU too. "
            "With reformats: with the layers that convert inputs and outputs between formats.\n"
        )
        benchmark.say("| layer | ours | with reformats | NVIDIA's | with reformats | NVIDIA's / ours |")
        benchmark.say("|---|---|---|---|---|---|")
        sums = [0.0] * 4
        for (name, *mine), (_, *other) in zip(ours, theirs, strict=True):
            values = [*mine, *other]
            sums = [total + value for total, value in zip(sums, values, strict=True)]
            text = " | ".join(f"{value:.4f}" for value in values)
            benchmark.say(f"| {name} | {text} | {values[2] / max(values[0], 1e-9):.2f} |")
        text = " | ".join(f"{value:.4f}" for value in sums)
        benchmark.say(f"| all {len(ours)} | {text} | {sums[2] / max(sums[0], 1e-9):.2f} |")
    for row in benchmark.rows(PLAIN_GRAPH, OURS, NVIDIAS, NATIVE, FLOOR):
        with guarded(benchmark, row):
            plan = _plan_without_rewrites(benchmark) if row == PLAIN_GRAPH else benchmark.plan(row, profiled=True)
            times = layer_times(plan, 1, benchmark.options.runs)
            slowest = sorted(times.items(), key=lambda item: -item[1])[:12]
            benchmark.say(f"\n{row}: {len(times)} layers, {sum(times.values()):.3f} ms in sum, the slowest:")
            for name, value in slowest:
                benchmark.say(f"- {value:.4f} {name[:110]}")


def _plan_without_rewrites(benchmark: Benchmark) -> Plan:
    """Build the graph as the exporter leaves it, but for what TensorRT cannot parse: how it was before the rewrites."""
    nothing = {"fuse_deform_convs", "fuse_upsampling", "fuse_normalization", "upsample_by_phases", "split_heatmap_sums"}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as patches:
        for name in nothing:
            patches.enter_context(patch.object(trt_graph, name, lambda graph: None))
        settings = benchmark.settings_of(OURS, profiled=True)
        return Plan.read(build_plan(benchmark.model, settings, Path(folder) / "plain.plan"))


def _deformable_layers(benchmark: Benchmark, row: str) -> list[tuple[str, float, float]]:
    """Return name, own time, and time with the reformats around, of every deformable convolution of a plan."""
    plan = benchmark.plan(row, profiled=True)
    settings = plan.settings
    graph = prepare(onnx.load(benchmark.model.path), plan.size, settings.batches, settings.precision, settings.dcn)
    kinds = ("DeformConvBlock", "FusedDeformConv", "DeformConv", "ModulatedDeformConv2d")
    times = layer_times(plan, 1, benchmark.options.runs)
    found = []
    for node in graph.graph.node:
        if node.op_type in kinds:
            own = around = 0.0
            for name, value in times.items():
                name = name.partition(" [profile")[0]
                own += value if name == node.name else 0.0
                around += value if name.startswith("Reformat") and name.endswith(node.name) else 0.0
            found.append((node.name, own, own + around))
    return found


def accuracy(benchmark: Benchmark) -> None:
    """Compare one layer with float64."""
    benchmark.say("\n## One deformable convolution in half precision against float64, random offsets of 2 px\n")
    benchmark.say("| channels, map | plugin | relative error | largest error / largest value |\n|---|---|---|---|")
    for channels, rows, columns in LAYERS:
        with guarded(benchmark, f"accuracy, {channels} channels"):
            for name, (relative, largest) in errors(Layer(channels, rows, columns)).items():
                benchmark.say(f"| {channels}, {rows}x{columns} | {name} | {relative:.2e} | {largest:.2e} |")
