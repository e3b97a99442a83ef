"""Building of TensorRT engines: parse the rewritten graph, time kernels, check the result, cache it."""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import onnx
import tensorrt as trt
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from fairmot.core.errors import ModelError, OutputError
from fairmot.core.files import check_writable, write_whole
from fairmot.core.trust import keep_private, require_private
from fairmot.engine.graph.input_scale import HalfImages
from fairmot.engine.graph.prepare import VERSION, prepare
from fairmot.engine.model import ModelFile, ModelInfo
from fairmot.engine.onnx_file import load_onnx
from fairmot.engine.trt.cache import file_sha256, locked, plan_path, timing_cache_path
from fairmot.engine.trt.capabilities import (
    half_image_format,
    has_progress_monitor,
    hold_to_types,
    is_strongly_typed,
    leave_out_libraries,
    network_flags,
)
from fairmot.engine.trt.errors import build_failure, gpu_errors, parse_failure
from fairmot.engine.trt.layers import Layer, differences, read_layers
from fairmot.engine.trt.plan import BuildSettings, Host, Plan
from fairmot.engine.trt.runtime import TensorRTLogger, load_engine, this_host

_log = logging.getLogger(__name__)

_WORKSPACE = 2 << 30  # bytes that one kernel may use for itself; more has never made a layer of these networks faster


def cached_plan(
    model: ModelInfo, settings: BuildSettings, *, progress: bool = True, optimization_level: int | None = None
) -> Path:
    """Return the plan of a model for this machine; build it if there is none yet.

    Args:
        model: metadata of the ONNX file.
        settings: of the build.
        progress: show the progress of a build on the terminal.
        optimization_level: see `build_plan`; the cache does not distinguish levels.

    Raises:
        ConfigError: if there is no usable GPU, or the plugin library is missing or does not fit.
        ModelError: if the engine cannot be built.
        OutputError: if the cache cannot be written.
    """
    settings = replace(settings, size=settings.size or model.size)
    path = plan_path(model, file_sha256(model.path), settings, this_host(settings))
    with locked(path):
        if path.is_file():
            try:
                Plan.read(path)
            except ModelError as error:
                _log.warning("%s It is built again.", error)
            else:
                return path
        return build_plan(model, settings, path, progress=progress, optimization_level=optimization_level)


def build_plan(
    model: ModelFile,
    settings: BuildSettings,
    output: Path | None = None,
    *,
    progress: bool = True,
    optimization_level: int | None = None,
) -> Path:
    """Build the engine of a model, whether there is one already or not.

    A model that was made elsewhere keeps its input and outputs by name, in float32 and linear, whatever the precision.

    Args:
        model: metadata of the ONNX file.
        settings: of the build.
        output: the plan file, in a folder that other users cannot write; its path in the cache if not given.
        progress: show the progress on the terminal.
        optimization_level: 0 to 5, how long TensorRT searches; its own choice (3) if not given.

    Returns:
        The plan file.

    Raises:
        ConfigError: if the size does not suit the model, there is no usable GPU, the plugin library is missing, or
            other users can change what the folder of the plan or the cache holds.
        ModelError: if TensorRT cannot build the model, or not as asked for.
        OutputError: if the plan cannot be written.
    """
    settings = replace(settings, size=settings.size or model.size)
    assert settings.size is not None
    model.check_size(settings.size)
    host = this_host(settings)
    checksum = file_sha256(model.path)
    output = output or plan_path(model, checksum, settings, host)
    check_writable(output)
    require_private(output.parent, "folder of the plan")  # or it could not be read back
    images = HalfImages(model.mean, model.std) if isinstance(model, ModelInfo) else None
    graph = prepare(
        load_onnx(model.path),
        settings.size,
        settings.batches,
        settings.precision,
        settings.dcn,
        half_images=images is not None,
        images=images,
    )
    started = time.monotonic()
    title = f"{model.path.name} for {host.gpu}, {settings.precision}, {settings.size[0]}x{settings.size[1]}"
    doing = f"building {model.path.name}"
    with _Progress(f"TensorRT engine of {title}", shown=progress) as monitor, gpu_errors(doing):
        engine = _Builder(model, settings, graph, host, optimization_level).build(monitor)
    plan = Plan(model, checksum, settings, host, VERSION, (), engine)
    plan = replace(plan, layers=inspect_layers(load_engine(plan)))
    found = differences(plan.layers, graph, settings.precision)
    if found:
        raise ModelError(
            f"TensorRT {host.tensorrt} did not build {model.path.name} as asked for: {' and '.join(found)}; "
            "report this, and use --precision fp32 or --dcn native meanwhile."
        )
    plan.write(output)
    _log.info("%s: built in %.0f s, %s", output, time.monotonic() - started, _summary(plan.layers, len(engine)))
    return output


def inspect_layers(engine: Any) -> tuple[Layer, ...]:
    """List the layers of a deserialized engine."""
    report = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    return read_layers(report)


def _summary(layers: tuple[Layer, ...], size: int) -> str:
    kinds = Counter(layer.inputs[0] if layer.inputs else "no input" for layer in layers if layer.is_convolution)
    plugins = sum("plugin" in layer.kind.lower() for layer in layers)
    convolutions = ", ".join(f"{count} in {kind}" for kind, count in kinds.most_common())
    return f"{size / 1e6:.0f} MB, {len(layers)} layers, convolutions: {convolutions}; {plugins} plugin layers"


class _Builder:
    """One build: logger, network and configuration, and their failures as user errors."""

    def __init__(
        self,
        model: ModelFile,
        settings: BuildSettings,
        graph: onnx.ModelProto,
        host: Host,
        optimization_level: int | None,
    ) -> None:
        self._model = model
        self._settings = settings
        self._graph = graph
        self._optimization_level = optimization_level
        self._timing_cache = self._timing_cache_path(host)
        self._logger = TensorRTLogger()

    def build(self, monitor: _Progress) -> bytes:
        """Return the serialized engine."""
        if self._settings.dcn == "nvidia":
            trt.init_libnvinfer_plugins(self._logger, "")
        try:
            builder = trt.Builder(self._logger)
        except TypeError as error:  # the binding got nothing from TensorRT
            raise build_failure(trt.__version__, self._model.path, self._logger.errors) from error
        network = builder.create_network(network_flags())
        self._parse(network)
        config = builder.create_builder_config()
        self._configure(builder, network, config)
        monitor.watch(config)
        timing = config.create_timing_cache(self._saved_timings())
        config.set_timing_cache(timing, ignore_mismatch=False)
        serialized = builder.build_serialized_network(network, config)
        if serialized is None:
            raise build_failure(trt.__version__, self._model.path, self._logger.errors)
        self._save_timings(config)
        return bytes(serialized)

    def _parse(self, network: Any) -> None:
        parser = trt.OnnxParser(network, self._logger)
        if parser.parse(self._graph.SerializeToString()):
            return
        error = parser.get_error(0)
        raise parse_failure(trt.__version__, self._model.path, self._graph, error.node(), error.desc())

    def _configure(self, builder: Any, network: Any, config: Any) -> None:
        settings = self._settings
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        free, _ = torch.cuda.mem_get_info()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, min(_WORKSPACE, free // 2))
        config.clear_flag(trt.BuilderFlag.TF32)
        config.max_aux_streams = settings.aux_streams
        if self._optimization_level is not None:
            config.builder_optimization_level = self._optimization_level
        if not is_strongly_typed():
            leave_out_libraries(config, keep_cublas=settings.dcn == "nvidia")
            if settings.precision == "fp16":
                hold_to_types(network, config, self._graph)
        images = network.get_input(0)
        linear = 1 << int(trt.TensorFormat.LINEAR)
        images.allowed_formats = 1 << int(half_image_format()) if images.dtype == trt.float16 else linear
        for index in range(network.num_outputs):
            network.get_output(index).allowed_formats = linear
        if len(settings.batches) > 1:
            for batch in settings.batches:
                profile = builder.create_optimization_profile()
                shape = (batch, *tuple(images.shape)[1:])
                profile.set_shape(images.name, shape, shape, shape)
                config.add_optimization_profile(profile)

    @staticmethod
    def _timing_cache_path(host: Host) -> Path | None:
        try:
            return timing_cache_path(host)
        except OutputError as error:
            _log.warning("%s The next build takes as long as this one.", error)
            return None

    def _saved_timings(self) -> bytes:
        try:
            return require_private(self._timing_cache, "timing cache").read_bytes() if self._timing_cache else b""
        except OSError:
            return b""

    def _save_timings(self, config: Any) -> None:
        if self._timing_cache is None:
            return
        try:
            write_whole(self._timing_cache, bytes(config.get_timing_cache().serialize()))
            keep_private(self._timing_cache)
        except OutputError as error:
            _log.warning("%s The next build takes as long as this one.", error)


class _Progress:
    """The progress of a build: the time that has passed and TensorRT's phases, where this TensorRT reports them.

    A context manager; on a terminal a bar on stderr, elsewhere one line in the log.

    Args:
        title: what is being built.
        shown: whether to show anything on the terminal.
    """

    def __init__(self, title: str, shown: bool = True) -> None:
        console = Console(stderr=True)
        self._title = title
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not (shown and console.is_terminal),
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> _Progress:
        _log.info("%s: building, once per machine and model; this takes one to five minutes", self._title)
        self._bars.start()
        self._bars.add_task(self._title, total=None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def watch(self, config: Any) -> None:
        """Follow TensorRT's own phases."""
        if not has_progress_monitor():
            return
        progress = self

        class Monitor(trt.IProgressMonitor):  # type: ignore[misc] # untyped
            def __init__(self) -> None:
                trt.IProgressMonitor.__init__(self)

            def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
                progress.start_phase(phase_name, num_steps)

            def step_complete(self, phase_name: str, step: int) -> bool:
                progress.advance_phase(phase_name, step)
                return True

            def phase_finish(self, phase_name: str) -> None:
                progress.finish_phase(phase_name)

        config.progress_monitor = self._monitor = Monitor()

    def start_phase(self, name: str, steps: int) -> None:
        """Show one more bar."""
        self._tasks[name] = self._bars.add_task(f"  {name}", total=steps)

    def advance_phase(self, name: str, step: int) -> None:
        """Move the bar of a phase; `step` counts from 0."""
        if name in self._tasks:
            self._bars.update(self._tasks[name], completed=step + 1)

    def finish_phase(self, name: str) -> None:
        """Take the bar of a phase away."""
        if name in self._tasks:
            self._bars.remove_task(self._tasks.pop(name))
