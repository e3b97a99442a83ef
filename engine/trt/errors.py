"""Errors of TensorRT and CUDA as user errors: while a graph is parsed, an engine is built, and it runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import onnx

from fairmot.core.errors import EngineError, ModelError
from fairmot.core.failures import OUT_OF_MEMORY
from fairmot.core.text import reason_of
from fairmot.engine.graph.prepare import PLUGINS

_UNKNOWN_OPERATOR = re.compile(r"plugin not found|no importer", re.IGNORECASE)
_ADVICE_OF_CUDA = re.compile(r" (?:CUDA kernel errors might|Search for).*")  # at the end of PyTorch's messages
_RESTART = "start again, and if it happens again run with --engine onnxruntime and report it"


def parse_failure(tensorrt: str, path: Path, graph: onnx.ModelProto, node: int, detail: str) -> ModelError:
    """Return the error for a graph that TensorRT's ONNX parser does not read.

    Args:
        tensorrt: its version.
        path: the model, as the user knows it.
        graph: the parser's input.
        node: index of the node where it stopped, -1 if at none.
        detail: the parser's message.
    """
    nodes = graph.graph.node
    where, operator = "", "an operator"
    if 0 <= node < len(nodes):
        operator = nodes[node].op_type
        where = f' at "{nodes[node].name}"'
    if _UNKNOWN_OPERATOR.search(detail):
        remedy = (
            "build the plugins again with `fairmot plugins`" if operator in PLUGINS else "export the model without it"
        )
        return ModelError(f'TensorRT {tensorrt} does not know the operator "{operator}" of {path}{where}: {remedy}.')
    return ModelError(
        f"TensorRT {tensorrt} cannot read {path}{where} ({operator}: {reason_of(detail)}): export the checkpoint again "
        "with `fairmot export`, or use another version of TensorRT."
    )


def build_failure(tensorrt: str, path: Path, errors: Sequence[str]) -> ModelError:
    """Return the error for an engine that TensorRT does not build; `errors` are what it logged."""
    if _memory_ran_out(errors):
        return ModelError(_gpu_memory(f"TensorRT {tensorrt} built {path.name}"))
    return ModelError(
        f"TensorRT {tensorrt} cannot build {path.name} ({_last(errors)}): try --precision fp32 or --dcn native, or "
        "another version of TensorRT."
    )


def load_failure(tensorrt: str, errors: Sequence[str]) -> ModelError:
    """Return the error for a plan that TensorRT does not deserialize; `errors` are what it logged."""
    return ModelError(f"TensorRT {tensorrt} refuses the plan ({_last(errors)}): build it again with `fairmot build`.")


def run_failure(tensorrt: str, errors: Sequence[str]) -> EngineError:
    """Return the error for an engine that TensorRT does not run; `errors` are what it logged."""
    if _memory_ran_out(errors):
        return EngineError(_gpu_memory(f"TensorRT {tensorrt} ran the model"))
    return EngineError(f"TensorRT {tensorrt} could not run the model ({_last(errors)}): {_RESTART}.")


def cuda_failure(doing: str, text: str) -> EngineError:
    """Return the error for a failure of CUDA other than of memory; `text` is its message."""
    reason = reason_of(_ADVICE_OF_CUDA.sub("", " ".join(text.split())))
    return EngineError(f"The GPU failed while {doing} ({reason}): {_RESTART}.")


@contextmanager
def gpu_errors(doing: str) -> Iterator[None]:
    """Turn errors of CUDA inside the block into `EngineError`; others pass.

    Args:
        doing: what the block does, as in "running the model".

    Raises:
        EngineError: if memory ran out, on the GPU or on the host, or CUDA failed otherwise.
    """
    import pycuda.driver
    import torch

    try:
        yield
    except (RuntimeError, MemoryError, pycuda.driver.Error) as error:
        text = str(error)
        is_of_cuda = isinstance(error, pycuda.driver.Error) or "CUDA" in text
        memory_ran_out = _memory_ran_out([text])
        gpu_memory = (pycuda.driver.MemoryError, torch.cuda.OutOfMemoryError)
        if isinstance(error, gpu_memory) or (is_of_cuda and memory_ran_out):
            raise EngineError(_gpu_memory(doing)) from error
        if isinstance(error, MemoryError) or memory_ran_out:
            raise EngineError(
                f"Memory ran out while {doing}: lower --batch or --size, or close other programs."
            ) from error
        if is_of_cuda:
            raise cuda_failure(doing, text) from error
        raise


def _gpu_memory(doing: str) -> str:
    return (
        f"The GPU ran out of memory while {doing}: lower --batch or --size, or close other programs that use the GPU."
    )


def _memory_ran_out(texts: Sequence[str]) -> bool:
    return any(OUT_OF_MEMORY.search(text) for text in texts)


def _last(errors: Sequence[str]) -> str:
    return reason_of(errors[-1]) if errors else "it gives no reason"
