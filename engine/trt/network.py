"""A TensorRT plan ready to run, from the cache or built now, with every buffer in tensors of PyTorch."""

from __future__ import annotations

import logging
from typing import Any

import tensorrt as trt
import torch

from fairmot.core.errors import ModelError
from fairmot.engine.cuda.gpu import Gpu
from fairmot.engine.cuda.kernels import Layout, input_shape
from fairmot.engine.decode import HeadOutputs
from fairmot.engine.graph.input_scale import HalfImages
from fairmot.engine.model import INPUT, ModelInfo
from fairmot.engine.settings import EngineSettings
from fairmot.engine.trt.builder import build_plan, cached_plan
from fairmot.engine.trt.capabilities import create_context, scratch_size, set_scratch
from fairmot.engine.trt.dcn_choice import choose_dcn
from fairmot.engine.trt.errors import run_failure
from fairmot.engine.trt.plan import BuildSettings, Plan
from fairmot.engine.trt.runtime import TensorRTLogger, load_engine

_log = logging.getLogger(__name__)

TORCH_TYPES = {trt.DataType.FLOAT: torch.float32, trt.DataType.HALF: torch.float16}
_LAYOUTS: dict[Any, Layout] = {
    trt.TensorFormat.LINEAR: "chw_float32",
    trt.TensorFormat.CHW4: "hwc4_float16",
    trt.TensorFormat.HWC8: "hwc8_float16",
}


_DESCRIPTIONS = {
    "plugin": "with this project's plugins",
    "native": "with native layers for deformable convolutions",
    "nvidia": "with NVIDIA's plugin for deformable convolutions",
}


def open_network(model: ModelInfo, settings: EngineSettings, gpu: Gpu) -> tuple[TensorRTNetwork, str]:
    """Return a model ready to run, built if the cache has no plan for this machine, and a description of it.

    Raises:
        ConfigError: if the settings cannot be met on this machine.
        ModelError: if TensorRT cannot build or load the model.
    """
    dcn = choose_dcn(settings.dcn)
    batches = (1,) if settings.batch == 1 else (1, settings.batch)
    building = BuildSettings(settings.size or model.size, batches, settings.precision, dcn)
    path = cached_plan(model, building)
    try:
        network = TensorRTNetwork(Plan.read(path), gpu)
    except ModelError as error:
        _log.warning("The cached plan cannot be used and is built again: %s", error)
        network = TensorRTNetwork(Plan.read(build_plan(model, building, path)), gpu)
    return network, _DESCRIPTIONS[dcn]


class TensorRTNetwork:
    """A network that maps `images` to heads, for each batch size of the plan; results stay in the same tensors.

    All batch sizes share one set of buffers, so only one may run at a time, which one stream ensures.

    Args:
        plan: built on this machine.
        gpu: whose stream runs it.

    Attributes:
        batches: the batch sizes, rising.
        size: input `(width, height)`.
        layout: of `images`, see `fairmot.engine.cuda.kernels.Layout`.
        half_images: the values of `images` in float16; None where they are normalized images in float32.
        images: the input, for the largest batch; a smaller one takes the first.

    Raises:
        ConfigError: if the plan needs plugins that cannot be loaded.
        EngineError: if TensorRT cannot prepare it, for lack of memory as a rule.
        ModelError: if the plan or its model was made elsewhere, or TensorRT refuses it.
    """

    def __init__(self, plan: Plan, gpu: Gpu) -> None:
        self._logger = TensorRTLogger()
        self._engine = engine = load_engine(plan, self._logger)
        self._gpu = gpu
        model = plan.model
        if not isinstance(model, ModelInfo):
            raise ModelError(
                f"{model.path} carries no FairMOT metadata, so its engine cannot track: rewrite it with "
                f"`fairmot adopt {model.path.name} -o OUT.onnx` and build that."
            )
        profiles = _profiles(engine)
        self.batches = sorted(profiles)
        rows, columns = tuple(engine.get_tensor_shape(INPUT))[2:]
        self.size = (columns, rows)
        most = self.batches[-1]
        self.layout: Layout = _LAYOUTS[engine.get_tensor_format(INPUT)]
        kind = torch.float32 if self.layout == "chw_float32" else torch.float16
        self.half_images = None if kind == torch.float32 else HalfImages(model.mean, model.std)
        self.images = gpu.zeros(input_shape(self.layout, self.size, most), kind)
        if TORCH_TYPES.get(engine.get_tensor_dtype(INPUT)) != self.images.dtype:
            raise ModelError(f"The engine's input is not what it should be ({self.layout}): build it again.")
        self._outputs = {
            name: gpu.zeros((most, channels, rows // model.stride, columns // model.stride), torch.float32)
            for name, channels in model.output_channels.items()
        }
        self._scratch = torch.empty(scratch_size(engine), dtype=torch.uint8, device=gpu.device)
        # In the order of the profiles, because the first context gets the first profile by default.
        self._contexts = {batch: self._context(batch, profile) for batch, profile in profiles.items()}

    def heads(self, images: int) -> HeadOutputs[torch.Tensor]:
        """Return the tensors that `enqueue` writes, for the first `images` images."""
        return HeadOutputs(**{name: tensor[:images] for name, tensor in self._outputs.items()})

    def batch_for(self, images: int) -> int:
        """Return the smallest batch size of the plan that takes so many images."""
        return next(batch for batch in self.batches if batch >= images)

    def set_images(self, images: torch.Tensor) -> None:
        """Copy images `(n, 3, h, w)` float32, normalized, into the input."""
        with torch.cuda.stream(self._gpu.stream):
            if self.half_images is None:
                self.images[: len(images)].copy_(images)
            else:
                scale, shift = (
                    torch.as_tensor(each, dtype=torch.float32, device=images.device)
                    for each in (self.half_images.scale, self.half_images.shift)
                )
                self.images[: len(images), :, :, :3].copy_(images.permute(0, 2, 3, 1) * scale + shift)

    def enqueue(self, batch: int) -> None:
        """Start the network on the first `batch` images; can be captured in a CUDA graph once it has run.

        Raises:
            EngineError: if TensorRT refuses.
        """
        if not self._contexts[batch].execute_async_v3(self._gpu.handle):
            raise run_failure(trt.__version__, self._logger.errors)

    def _context(self, batch: int, profile: int) -> Any:
        """Return an execution context for one batch size, with all addresses set for good."""
        engine = self._engine
        context = create_context(engine)
        if context is None:
            raise run_failure(trt.__version__, self._logger.errors)
        if engine.num_optimization_profiles > 1:
            context.set_optimization_profile_async(profile, self._gpu.handle)
        set_scratch(engine, context, self._scratch.data_ptr(), self._scratch.numel())
        if engine.get_tensor_shape(INPUT)[0] < 0:
            context.set_input_shape(INPUT, (batch, 3, *self.size[::-1]))
        context.set_tensor_address(INPUT, self.images.data_ptr())
        for name, tensor in self._outputs.items():
            shape = tuple(context.get_tensor_shape(name))
            if shape != (batch, *tensor.shape[1:]) or TORCH_TYPES.get(engine.get_tensor_dtype(name)) != tensor.dtype:
                raise ModelError(
                    f'The engine\'s output "{name}" has the shape {shape} and type {engine.get_tensor_dtype(name)}, '
                    f"not {(batch, *tensor.shape[1:])} in float32: build the engine again."
                )
            context.set_tensor_address(name, tensor.data_ptr())
        return context


def _profiles(engine: Any) -> dict[int, int]:
    """Return the number of each profile by its batch size, in the order of the profiles."""
    batch = engine.get_tensor_shape(INPUT)[0]
    if batch >= 0:
        return {batch: 0}
    return {
        engine.get_tensor_profile_shape(INPUT, profile)[1][0]: profile
        for profile in range(engine.num_optimization_profiles)
    }
