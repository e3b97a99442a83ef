"""Faults of the GPU as errors for the user."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pycuda.driver
import torch

from fairmot.core.errors import EngineError
from fairmot.engine.messages import OUT_OF_MEMORY, one_line


@contextmanager
def gpu_faults(doing: str) -> Iterator[None]:
    """Turn errors of CUDA inside the block into `UserError`; others pass.

    Args:
        doing: what the block does, as in "running the model".

    Raises:
        EngineError: if memory ran out, on the GPU or on the host, or CUDA failed otherwise.
    """
    try:
        yield
    except (RuntimeError, MemoryError, pycuda.driver.Error) as error:
        text = one_line(error)
        is_of_cuda = isinstance(error, pycuda.driver.Error) or "CUDA" in text
        out_of_memory = (pycuda.driver.MemoryError, torch.cuda.OutOfMemoryError)
        if isinstance(error, out_of_memory) or (is_of_cuda and OUT_OF_MEMORY.search(text)):
            raise EngineError(
                f"The GPU ran out of memory while {doing}: lower --batch or --size, or close other programs that use "
                "the GPU."
            ) from error
        if isinstance(error, MemoryError) or OUT_OF_MEMORY.search(text):
            raise EngineError(
                f"Memory ran out while {doing}: lower --batch or --size, or close other programs."
            ) from error
        if is_of_cuda:
            detail = text.partition(" CUDA kernel errors might")[0].partition(" Search for")[0].rstrip(".")
            raise EngineError(
                f"The GPU failed while {doing} ({detail}): start again, and if it happens again run with "
                "--engine onnxruntime and report it."
            ) from error
        raise
