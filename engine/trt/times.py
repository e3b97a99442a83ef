"""Times every layer of an engine with TensorRT's profiler."""

from __future__ import annotations

import math
from collections import defaultdict
from statistics import median

import tensorrt as trt
import torch

from fairmot.core.errors import ModelError
from fairmot.engine.cuda.gpu import Gpu
from fairmot.engine.trt.network import TORCH_TYPES
from fairmot.engine.trt.plan import Plan, load_engine

_WARM_UP = 10
_ROOM = 8  # times the values of the input; kHWC8 rounds its channels up


class _Profiler(trt.IProfiler):  # type: ignore[misc] # untyped
    """Collects the milliseconds of every layer.

    Attributes:
        times: one value per run, by layer name.
    """

    def __init__(self) -> None:
        trt.IProfiler.__init__(self)
        self.times: dict[str, list[float]] = defaultdict(list)

    def report_layer_time(self, layer_name: str, ms: float) -> None:
        """Take a time; called by TensorRT after each run."""
        self.times[layer_name].append(ms)


def layer_times(plan: Plan, batch: int, runs: int) -> dict[str, float]:
    """Run a plan on noise and measure.

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
    profiler = _Profiler()
    context.profiler = profiler
    for _ in range(runs):
        if not context.execute_async_v3(gpu.handle):
            raise ModelError("TensorRT could not run the plan: build it again with `fairmot build`.")
        gpu.synchronize()
    return {name: median(times) for name, times in profiler.times.items()}
