"""A TensorRT plan ready to run, with every buffer in tensors of PyTorch."""

from __future__ import annotations

from typing import Any, Literal

import tensorrt as trt
import torch

from core.errors import ModelError
from engine.model import INPUT, ModelInfo
from plugins.gpu import Gpu
from plugins.kernels import TensorHeads

_TYPES = {trt.DataType.FLOAT: torch.float32, trt.DataType.HALF: torch.float16}


class TensorRTNetwork:
    """Maps `images` to heads, for each batch size of the plan; results stay in the same tensors.

    All batch sizes share one set of buffers, so only one may run at a time, which one stream sees to.

    Args:
        engine: from `engine.plan.load_engine`.
        gpu: whose stream runs it.
        model: what the plan was built from.

    Attributes:
        batches: the batch sizes, rising.
        size: input `(width, height)`.
        layout: of `images`: `chw_float32` is `(n, 3, h, w)`, `hwc8_float16` is `(n, h, w, 8)`.
        images: the input, for the largest batch; a smaller one takes the first.

    Raises:
        ModelError: if the plan is not one for this model.
    """

    def __init__(self, engine: Any, gpu: Gpu, model: ModelInfo) -> None:
        self._engine = engine
        self._gpu = gpu
        self._device = torch.device("cuda", torch.cuda.current_device())
        profiles = {
            tuple(engine.get_tensor_profile_shape(INPUT, profile)[1])[0]: profile
            for profile in range(engine.num_optimization_profiles)
        }
        self.batches = sorted(profiles)
        rows, columns = tuple(engine.get_tensor_profile_shape(INPUT, 0)[1])[2:]
        self.size = (columns, rows)
        self.layout: Literal["chw_float32", "hwc8_float16"]
        most = self.batches[-1]
        if engine.get_tensor_format(INPUT) == trt.TensorFormat.HWC8:
            self.layout = "hwc8_float16"
            self.images = torch.zeros((most, rows, columns, 8), dtype=torch.float16, device=self._device)
        else:
            self.layout = "chw_float32"
            self.images = torch.zeros((most, 3, rows, columns), dtype=torch.float32, device=self._device)
        if _TYPES.get(engine.get_tensor_dtype(INPUT)) != self.images.dtype:
            raise ModelError(f"The engine's input is not what it should be ({self.layout}): build it again.")
        self._outputs = {
            name: torch.zeros(
                (most, channels, rows // model.stride, columns // model.stride),
                dtype=torch.float32,
                device=self._device,
            )
            for name, channels in model.output_channels.items()
        }
        self._heads = {batch: self._heads_of(batch) for batch in self.batches}
        self._scratch = torch.empty(_scratch_size(engine), dtype=torch.uint8, device=self._device)
        self._contexts = {batch: self._context(batch, profiles[batch]) for batch in self.batches}

    def heads(self, batch: int) -> TensorHeads:
        """Return the tensors that `enqueue` writes for a batch size."""
        return self._heads[batch]

    def enqueue(self, batch: int) -> None:
        """Start the network on the first `batch` images; can be captured in a CUDA graph once it has run.

        Raises:
            ModelError: if TensorRT refuses.
        """
        if not self._contexts[batch].execute_async_v3(self._gpu.handle):
            raise ModelError("TensorRT could not run the network, see its messages above: build the engine again.")

    def _heads_of(self, batch: int) -> TensorHeads:
        tensors = {name: tensor[:batch] for name, tensor in self._outputs.items()}
        return TensorHeads(**{name: tensors.get(name) for name in TensorHeads._fields})

    def _context(self, batch: int, profile: int) -> Any:
        """Return an execution context for one batch size, with all addresses set for good."""
        engine = self._engine
        if hasattr(engine, "device_memory_size_v2"):  # TensorRT 10.1 and later
            context = engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        else:
            context = engine.create_execution_context_without_device_memory()
        if context is None:
            raise ModelError("TensorRT could not prepare the engine, see its messages above: build it again.")
        if hasattr(engine, "device_memory_size_v2"):
            context.set_device_memory(self._scratch.data_ptr(), self._scratch.numel())
        else:
            context.device_memory = self._scratch.data_ptr()
        if engine.num_optimization_profiles > 1:
            context.set_optimization_profile_async(profile, self._gpu.handle)
        if -1 in tuple(engine.get_tensor_shape(INPUT)):
            rows, columns = self.size[::-1]
            context.set_input_shape(INPUT, (batch, 3, rows, columns))
        context.set_tensor_address(INPUT, self.images.data_ptr())
        for name, tensor in self._outputs.items():
            shape = tuple(context.get_tensor_shape(name))
            if shape != (batch, *tensor.shape[1:]) or _TYPES.get(engine.get_tensor_dtype(name)) != tensor.dtype:
                raise ModelError(
                    f'The engine\'s output "{name}" has the shape {shape} and type {engine.get_tensor_dtype(name)}, '
                    f"not {(batch, *tensor.shape[1:])} in float32: build the engine again."
                )
            context.set_tensor_address(name, tensor.data_ptr())
        return context


def _scratch_size(engine: Any) -> int:
    """Return the bytes that any of the engine's profiles needs for activations."""
    size = engine.device_memory_size_v2 if hasattr(engine, "device_memory_size_v2") else engine.device_memory_size
    return max(int(size), 1)
