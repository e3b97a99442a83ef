"""The letterbox and decode kernels on torch tensors.

Launches are asynchronous on the stream of `plugins.gpu.Gpu`, allocate nothing and have grids that depend
on shapes alone, so that a CUDA graph can hold them.
"""

from plugins.kernels.decode import DecodeKernel
from plugins.kernels.letterbox import Layout, LetterboxKernel, Placement, input_shape
from plugins.kernels.tensors import TensorDetections, TensorHeads

__all__ = [
    "DecodeKernel",
    "Layout",
    "LetterboxKernel",
    "Placement",
    "TensorDetections",
    "TensorHeads",
    "input_shape",
]
