"""Builds TensorRT engines and keeps them: parse the rewritten graph, time kernels, check the result, cache it."""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import tensorrt as trt
import torch

from fairmot.core.errors import ModelError, OutputError
from fairmot.core.files import check_writable, write_whole
from fairmot.core.trust import keep_private, require_private
from fairmot.engine.graph.prepare import VERSION, prepare
from fairmot.engine.model import ModelFile, ModelInfo
from fairmot.engine.onnx_file import load_onnx
from fairmot.engine.trt.build_progress import BuildProgress
from fairmot.engine.trt.cache import file_sha256, locked, plan_path, timing_cache_path
from fairmot.engine.trt.errors import build_failure, parse_failure
from fairmot.engine.trt.gpu_faults import gpu_faults
from fairmot.engine.trt.layers import Layer, faults, read_layers
from fairmot.engine.trt.plan import BuildSettings, Host, Plan, load_engine
from fairmot.engine.trt.runtime import HALF_IMAGES, STRONGLY_TYPED, TensorRTLogger, this_host

__all__ = ["BuildSettings", "Plan", "build_plan", "cached_plan", "load_engine"]

_log = logging.getLogger(__name__)

_WORKSPACE = 2 << 30  # bytes that one kernel may use for itself; more has never made a layer of these networks faster


def cached_plan(
    model: ModelInfo, settings: BuildSettings, *, progress: bool = True, optimization_level: int | None = None
) -> Path:
    """Return the plan of a model for this machine; build it if there is none yet.

    Args:
        model: facts of the ONNX file.
        settings: what to build for.
        progress: show the progress of a build on the terminal.
        optimization_level: see `build_plan`; plans of different levels are not told apart.

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
        model: facts of the ONNX file.
        settings: what to build for.
        output: the plan file, in a folder that other users cannot write; its place in the cache if not given.
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
    own = isinstance(model, ModelInfo)
    graph = prepare(load_onnx(model.path), settings.size, settings.batches, settings.precision, settings.dcn, own)
    started = time.monotonic()
    title = f"{model.path.name} for {host.gpu}, {settings.precision}, {settings.size[0]}x{settings.size[1]}"
    doing = f"building {model.path.name}"
    with BuildProgress(f"TensorRT engine of {title}", shown=progress) as monitor, gpu_faults(doing):
        engine = _Builder(model, settings, graph, host, optimization_level).build(monitor)
    plan = Plan(model, checksum, settings, host, VERSION, (), engine)
    plan = replace(plan, layers=inspect_layers(load_engine(plan)))
    found = faults(plan.layers, graph, settings.precision)
    if found:
        raise ModelError(
            f"TensorRT {host.tensorrt} did not build {model.path.name} as asked for: {' and '.join(found)}; "
            "report this, and use --precision fp32 or --dcn native meanwhile."
        )
    plan.write(output)
    _log.info("%s: built in %.0f s, %s", output, time.monotonic() - started, _summary(plan.layers, len(engine)))
    return output


def inspect_layers(engine: Any) -> tuple[Layer, ...]:
    """List the layers of a deserialised engine."""
    report = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    return read_layers(report)


def _summary(layers: tuple[Layer, ...], size: int) -> str:
    kinds = Counter(layer.inputs[0] if layer.inputs else "no input" for layer in layers if layer.is_convolution)
    plugins = sum("plugin" in layer.kind.lower() for layer in layers)
    convolutions = ", ".join(f"{count} in {kind}" for kind, count in kinds.most_common())
    return f"{size / 1e6:.0f} MB, {len(layers)} layers, convolutions: {convolutions}; {plugins} plugin layers"


class _Builder:
    """One build: logger, network and configuration, and what goes wrong with them in one sentence."""

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

    def build(self, monitor: BuildProgress) -> bytes:
        """Return the serialised engine."""
        if self._settings.dcn == "nvidia":
            trt.init_libnvinfer_plugins(self._logger, "")
        try:
            builder = trt.Builder(self._logger)
        except TypeError as error:  # the binding got nothing from TensorRT
            raise build_failure(trt.__version__, self._model.path, self._logger.errors) from error
        flags = trt.NetworkDefinitionCreationFlag
        wanted = flags.STRONGLY_TYPED if STRONGLY_TYPED else flags.EXPLICIT_BATCH
        network = builder.create_network(1 << int(wanted))
        self._parse(network)
        config = builder.create_builder_config()
        self._configure(builder, network, config)
        monitor.watch(config)
        timing = config.create_timing_cache(self._saved_timings())
        config.set_timing_cache(timing, ignore_mismatch=False)
        serialised = builder.build_serialized_network(network, config)
        if serialised is None:
            raise build_failure(trt.__version__, self._model.path, self._logger.errors)
        self._save_timings(config)
        return bytes(serialised)

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
        if not STRONGLY_TYPED:
            from fairmot.engine.trt.capabilities import hold_to_types, leave_out_libraries

            leave_out_libraries(config, keep_cublas=settings.dcn == "nvidia")
            if settings.precision == "fp16":
                hold_to_types(network, config, self._graph)
        images = network.get_input(0)
        linear = 1 << int(trt.TensorFormat.LINEAR)
        images.allowed_formats = 1 << int(HALF_IMAGES) if images.dtype == trt.float16 else linear
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
