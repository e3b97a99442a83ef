"""One CUDA context and one CUDA stream for torch, pycuda and TensorRT.

torch uses a device's primary context, so pycuda retains that one. pycuda cannot launch on a stream of
torch's, but torch can on one of pycuda's, and TensorRT accepts any handle: so pycuda creates the stream.
"""

from __future__ import annotations

import ctypes
import importlib.util
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairmot.core.errors import ConfigError
from fairmot.engine.cuda.nvrtc import compile_cached

if TYPE_CHECKING:
    import numpy as np
    import torch

Launch = Callable[..., None]
"""A kernel: called with grid, block (tuples of up to three numbers) and the kernel's own arguments."""


class Gpu:
    """One device; `open` returns the same object each time.

    Attributes:
        device: the device for torch.
        stream: the CUDA stream for torch; everything of the engine runs on it.
        handle: of the same CUDA stream, for TensorRT.
        name: of the GPU.
        compute_capability: (9, 0) for an H200.
        multiprocessors: how many the GPU has.
    """

    _opened: dict[int, Gpu] = {}  # noqa: RUF012 - shared on purpose

    def __init__(self, index: int) -> None:
        import pycuda.driver
        import torch

        _bind(index)
        pycuda.driver.init()
        self.device = torch.device("cuda", index)
        properties = torch.cuda.get_device_properties(self.device)
        self.name: str = properties.name
        self.compute_capability: tuple[int, int] = (properties.major, properties.minor)
        self.multiprocessors: int = properties.multi_processor_count
        self._context = pycuda.driver.Device(index).retain_primary_context()
        with self._pushed():
            self._stream = pycuda.driver.Stream()
        self.handle: int = self._stream.handle
        self.stream: torch.cuda.Stream = torch.cuda.ExternalStream(  # type: ignore[no-untyped-call]
            self.handle, device=self.device
        )
        self._module = lru_cache(maxsize=None)(self._load)

    @classmethod
    def open(cls, index: int = 0) -> Gpu:
        """Return a device, ready for use in the calling thread: each thread that launches calls this once.

        Args:
            index: device index of CUDA, subject to `CUDA_VISIBLE_DEVICES`.

        Raises:
            ConfigError: if there is no such device, or driver, torch or pycuda are missing or too old.
        """
        reason = gpu_unavailable_reason(index)
        if reason is not None:
            raise ConfigError(reason)
        if index not in cls._opened:
            cls._opened[index] = cls(index)
        else:
            _bind(index)
        return cls._opened[index]

    def kernel(self, source: Path, name: str, arguments: str) -> Launch:
        """Compile and load a kernel.

        Args:
            source: the `.cu` file.
            name: of the kernel in it.
            arguments: its parameters in the characters of Python's `struct`, `P` for pointers.

        Returns:
            A function that launches it asynchronously on the stream, also while a CUDA graph is captured;
            load and launch it once before that.
        """
        with self._pushed():
            function = self._module(source).get_function(name)
        function.prepare(arguments)

        def launch(grid: Sequence[int], block: Sequence[int], *values: float) -> None:
            function.prepared_async_call(tuple(grid), tuple(block), self._stream, *values)

        return launch

    def zeros(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """Return a new tensor of zeros that is ready for kernels on the stream."""
        import torch

        with torch.cuda.stream(self.stream):
            return torch.zeros(tuple(shape), dtype=dtype, device=self.device)

    def upload(self, array: np.ndarray[Any, Any]) -> torch.Tensor:
        """Return a copy of an array on the device; not while a CUDA graph is captured."""
        import torch

        with torch.cuda.stream(self.stream):
            return torch.from_numpy(array).to(self.device)

    def synchronize(self) -> None:
        """Wait until everything on the stream is done."""
        self.stream.synchronize()

    def _load(self, source: Path) -> Any:
        import pycuda.driver

        return pycuda.driver.module_from_buffer(compile_cached(source, self.compute_capability))

    @contextmanager
    def _pushed(self) -> Iterator[None]:
        # pycuda's objects belong to the context on top of its own stack. A context left there would make
        # pycuda abort at exit, so it is pushed only while such an object is created.
        self._context.push()
        try:
            yield
        finally:
            self._context.pop()


def _bind(index: int) -> None:
    """Make the primary context current in this thread: the driver calls of pycuda need one."""
    import torch

    try:
        torch.cuda.set_device(index)
        torch.cuda.synchronize(index)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise ConfigError(f"torch cannot use the GPU ({reason}): install a torch that fits the driver.") from error


def gpu_unavailable_reason(index: int = 0) -> str | None:
    """Return the reason why the GPU cannot be used, or None; fast, imports nothing large."""
    for package, remedy in (("torch", "install torch built for CUDA"), ("pycuda", "install pycuda")):
        if importlib.util.find_spec(package) is None:
            return f"The Python package {package} is missing: {remedy} to use the GPU."
    cuda_of_torch = _cuda_of_torch()
    if cuda_of_torch is None:
        return "This torch is built for the CPU only: install torch built for CUDA to use the GPU."
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "There is no NVIDIA driver: install it, or use the CPU."
    version, count = ctypes.c_int(), ctypes.c_int()
    status = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    driver.cuDriverGetVersion(ctypes.byref(version))
    major, minor = version.value // 1000, version.value % 1000 // 10
    # Within a major version, a driver runs what was built for any minor one (CUDA's minor version compatibility).
    if 0 < major < cuda_of_torch[0]:
        return (
            f"The NVIDIA driver is for CUDA {major}.{minor} but torch for {cuda_of_torch[0]}.{cuda_of_torch[1]}: "
            "update the driver, or install torch built for an older CUDA."
        )
    if status or not count.value:
        return f"The NVIDIA driver finds no GPU (error {status}): check nvidia-smi and CUDA_VISIBLE_DEVICES."
    if index >= count.value:
        return f"There is no GPU number {index}: this machine has {count.value}, counted from 0."
    return None


@lru_cache(maxsize=1)
def _cuda_of_torch() -> tuple[int, int] | None:
    """Return the CUDA version that torch is built for, from its version file: an import takes seconds."""
    spec = importlib.util.find_spec("torch")
    assert spec is not None
    assert spec.origin is not None
    found = re.search(
        r"^cuda\b.*?= *'(\d+)\.(\d+)", (Path(spec.origin).parent / "version.py").read_text(), re.MULTILINE
    )
    return (int(found[1]), int(found[2])) if found else None
