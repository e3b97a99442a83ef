"""Queries of the NVIDIA driver that need neither CUDA's runtime nor a context."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*, cuda.h


@dataclass(frozen=True)
class Driver:
    """The driver's CUDA version, as in (13, 0), and the compute capability of its first GPU, as in (9, 0)."""

    cuda: tuple[int, int]
    compute_capability: tuple[int, int]


def find_driver() -> Driver | None:
    """Return the driver and its first GPU, or None without either."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    version, device = ctypes.c_int(), ctypes.c_int()
    if (
        library.cuInit(0)
        or library.cuDriverGetVersion(ctypes.byref(version))
        or library.cuDeviceGet(ctypes.byref(device), 0)
    ):
        return None
    capability = []
    for attribute in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR):
        value = ctypes.c_int()
        if library.cuDeviceGetAttribute(ctypes.byref(value), attribute, device):
            return None
        capability.append(value.value)
    return Driver((version.value // 1000, version.value % 1000 // 10), (capability[0], capability[1]))
