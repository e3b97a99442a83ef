"""Faults of ONNX Runtime and of the code around it as errors for the user."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import onnxruntime

from fairmot.core.errors import EngineError, ModelError, UserError
from fairmot.engine.messages import OUT_OF_MEMORY, one_line

_RUNTIME = "onnxruntime."  # module of ONNX Runtime's exceptions, which share no base class


def open_failure(path: Path, error: Exception) -> UserError:
    """Return the error to raise where ONNX Runtime does not load or try a model."""
    if _is_memory(error):
        return _memory("opened the model")
    return ModelError(
        f"ONNX Runtime {onnxruntime.__version__} cannot run {path} ({_detail(error)}): "
        "export the checkpoint again with `fairmot export`, or update onnxruntime."
    )


@contextmanager
def run_faults() -> Iterator[None]:
    """Turn faults of ONNX Runtime, OpenCV and the allocator inside the block into `EngineError`; others pass.

    Raises:
        EngineError: if memory ran out or the runtime failed.
    """
    try:
        yield
    except Exception as error:
        if _is_memory(error):
            raise _memory("ran the model") from error
        if isinstance(error, cv2.error) or type(error).__module__.startswith(_RUNTIME):
            library = "OpenCV" if isinstance(error, cv2.error) else f"ONNX Runtime {onnxruntime.__version__}"
            raise EngineError(
                f"{library} failed while the engine ran the model ({_detail(error)}): start again; if it happens "
                "again, lower --size or --batch, or update the package."
            ) from error
        raise


def _is_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError):
        return True
    is_foreign = isinstance(error, cv2.error) or type(error).__module__.startswith(_RUNTIME)
    return is_foreign and OUT_OF_MEMORY.search(str(error)) is not None


def _memory(action: str) -> EngineError:
    return EngineError(
        f"Memory ran out while ONNX Runtime {onnxruntime.__version__} {action}: lower --size or --batch, close other "
        "programs, or use a machine with more memory."
    )


def _detail(error: Exception) -> str:
    return one_line(error) or type(error).__name__
