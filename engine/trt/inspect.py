"""Reports of a plan: its origin, its layers and, by TensorRT's profiler, their times.

A plan is printed without TensorRT, which only the times need.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from statistics import median

from rich.console import Console
from rich.table import Table

from fairmot.core.errors import ModelError
from fairmot.core.text import printable
from fairmot.engine.model import ModelInfo
from fairmot.engine.trt.layers import Layer
from fairmot.engine.trt.plan import Plan

_WARM_UP = 10  # runs
_ROOM = 8  # times the values of the input; kHWC8 rounds its channels up


def print_plan(plan: Plan, times: Mapping[str, float] | None = None) -> None:
    """Print metadata and layers of a plan to standard output.

    Args:
        plan: what to print.
        times: milliseconds by layer name; adds a column and a sum.
    """
    host, settings = plan.host, plan.settings
    origin = plan.model.architecture if isinstance(plan.model, ModelInfo) else "made elsewhere"
    major, minor = host.compute_capability
    console = Console(highlight=False, soft_wrap=True)
    metadata = {
        "model": f"{plan.model.path.name} ({origin}), sha256 {plan.model_sha256[:16]}",
        "input": f"{plan.size[0]}x{plan.size[1]}, batch {', '.join(map(str, settings.batches))}",
        "precision": settings.precision,
        "deformable convolutions": settings.dcn,
        "auxiliary streams": f"at most {settings.aux_streams}" if settings.aux_streams else "none",
        "built on": f"{host.gpu} (sm_{major}{minor}), TensorRT {host.tensorrt}, plugins {host.plugins or 'none'}",
        "engine": f"{len(plan.engine) / 1e6:.1f} MB, {len(plan.layers)} layers",
    }
    for name, value in metadata.items():
        console.print(f"{name}: {printable(value)}", markup=False)
    table = Table(box=None, pad_edge=False)
    for heading in ("layer", "kind", "in", "out"):
        table.add_column(heading, overflow="fold")
    if times is not None:
        table.add_column("ms", justify="right")
    listed = {layer.name for layer in plan.layers}
    others = [Layer(name, "", (), ()) for name in times or () if name not in listed]
    for layer in (*plan.layers, *others):
        row = [layer.name, layer.kind, ", ".join(layer.inputs), ", ".join(layer.outputs)]
        if times is not None:
            row.append(f"{times[layer.name]:.4f}" if layer.name in times else "")
        table.add_row(*(printable(cell).replace("[", "\\[") for cell in row))
    if not console.is_terminal:
        console.width = 400  # lines in a file are not folded
    console.print(table)
    if times is not None:
        console.print(f"sum of the layers: {sum(times.values()):.3f} ms")


def layer_times(plan: Plan, batch: int, runs: int) -> dict[str, float]:
    """Run a plan on noise and measure its layers.

    Profiling inserts events between the layers, so their sum is more than the time of the network in use.

    Args:
        plan: built on this machine, without auxiliary streams: the profiler reports nothing for an engine that has any.
        batch: one of its batch sizes.
        runs: how many runs the median is over.

    Returns:
        Milliseconds by layer name.

    Raises:
        ConfigError: if there is no usable GPU or the plugins are missing.
        ModelError: if the plan does not belong here, has auxiliary streams, or fails.
    """
    import tensorrt as trt
    import torch

    from fairmot.engine.cuda.gpu import Gpu
    from fairmot.engine.trt.network import TORCH_TYPES
    from fairmot.engine.trt.runtime import load_engine

    class Profiler(trt.IProfiler):  # type: ignore[misc] # untyped
        """A collector of the milliseconds of every layer, one value per run."""

        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.times: dict[str, list[float]] = defaultdict(list)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.times[layer_name].append(ms)

    gpu = Gpu.open()
    engine = load_engine(plan)
    if engine.num_aux_streams > 0:
        raise ModelError(
            "TensorRT cannot time the layers of a plan that runs some of them on auxiliary streams: build it again "
            "with `fairmot build --aux-streams 0`."
        )
    context = engine.create_execution_context()
    if engine.num_optimization_profiles > 1:
        context.set_optimization_profile_async(plan.settings.batches.index(batch), gpu.handle)
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    (images,) = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
    n, *others = tuple(engine.get_tensor_shape(images))
    if n < 0:
        context.set_input_shape(images, (batch, *others))
    buffers = []
    with torch.cuda.stream(gpu.stream):
        for name in names:
            count = math.prod(context.get_tensor_shape(name)) * (_ROOM if name == images else 1)
            values = torch.rand(count, device=gpu.device)
            buffers.append(values.to(TORCH_TYPES.get(engine.get_tensor_dtype(name), torch.float32)))
            context.set_tensor_address(name, buffers[-1].data_ptr())
    for _ in range(_WARM_UP):
        context.execute_async_v3(gpu.handle)
    gpu.synchronize()
    profiler = Profiler()
    context.profiler = profiler
    for _ in range(runs):
        if not context.execute_async_v3(gpu.handle):
            raise ModelError("TensorRT could not run the plan: build it again with `fairmot build`.")
        gpu.synchronize()
    return {name: median(times) for name, times in profiler.times.items()}
