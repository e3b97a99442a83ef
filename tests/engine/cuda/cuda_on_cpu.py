"""Run the real kernels without a GPU: `CudaOnCpu` replaces `fairmot.engine.cuda.gpu.Gpu`, g++ compiles the source."""

from __future__ import annotations

import ctypes
import re
import shutil
import struct
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

HERE = Path(__file__).parent
COMPILER = shutil.which("g++")


class CudaOnCpu:
    def __init__(self, folder: Path) -> None:
        self.multiprocessors = 2
        self.launches: list[str] = []
        self._folder = folder

    def kernel(self, source: Path, name: str, arguments: str) -> Callable[..., None]:
        function = getattr(self._library(source), f"launch_{name}")
        function.restype = ctypes.c_size_t

        def launch(grid: Sequence[int], block: Sequence[int], *values: float) -> None:
            packed = struct.pack(arguments, *values)
            three = [(ctypes.c_uint * 3)(*(*sizes, 1, 1)[:3]) for sizes in (grid, block)]
            assert function(*three, packed) == len(packed)
            self.launches.append(name)

        return launch

    def zeros(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        import torch

        return torch.zeros(tuple(shape), dtype=dtype)

    def upload(self, array: np.ndarray) -> torch.Tensor:
        import torch

        return torch.from_numpy(array.copy())

    def synchronize(self) -> None:
        pass

    def _library(self, source: Path) -> ctypes.CDLL:
        library = self._folder / f"{source.stem}.so"
        if not library.exists():
            wrapper = self._folder / f"{source.stem}.cpp"
            wrapper.write_text(f'#include "{HERE / "cuda_on_cpu.h"}"\n#include "{source}"\n' + _launchers(source))
            options = ["-std=c++17", "-O2", "-ffp-contract=off", "-Wall", "-Werror", "-shared", "-fPIC"]
            subprocess.run([COMPILER, *options, "-o", library, wrapper], check=True)
        return ctypes.CDLL(str(library))


def _launchers(source: Path) -> str:
    code = (
        'extern "C" size_t launch_{0}(unsigned const* grid, unsigned const* block, char const* arguments) {{\n'
        "  return cuda_on_cpu::launch(&{0}, grid, block, arguments);\n}}\n"
    )
    return "".join(code.format(name) for name in kernel_names(source))


def kernel_names(source: Path) -> list[str]:
    """Return the names of the kernels of a source, macros expanded."""
    text = subprocess.run(
        [COMPILER, "-E", "-P", "-x", "c++", str(source)], check=True, text=True, capture_output=True
    ).stdout
    return re.findall(r"__global__\s+void\s+__launch_bounds__\(\w+\)\s+(\w+)\(", text)
