"""What goes wrong on a GPU, told in a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pycuda.driver
import torch

from core.errors import ConfigError, ModelError


@contextmanager
def gpu_faults(doing: str) -> Iterator[None]:
    """Turn errors of CUDA inside the block into `UserError`; others pass.

    Args:
        doing: what the block does, as in "running the model".

    Raises:
        ConfigError: if memory ran out.
        ModelError: if CUDA failed otherwise.
    """
    try:
        yield
    except (RuntimeError, pycuda.driver.Error) as error:
        text = " ".join(str(error).split())
        if isinstance(error, (pycuda.driver.MemoryError, torch.cuda.OutOfMemoryError)) or "out of memory" in text:
            raise ConfigError(
                f"The GPU ran out of memory while {doing}: lower the batch or the size, or close other programs that "
                "use the GPU."
            ) from error
        if isinstance(error, pycuda.driver.Error) or "CUDA" in text:
            detail = text.partition(" CUDA kernel errors might")[0].partition(" Search for")[0].rstrip(".")
            raise ModelError(
                f"The GPU failed while {doing} ({detail}): start again, and if it happens again run with "
                "--engine onnxruntime and report it."
            ) from error
        raise
