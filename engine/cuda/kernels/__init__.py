"""The letterbox and decode kernels on torch tensors.

Launches are asynchronous on the stream of `fairmot.engine.cuda.gpu.Gpu`, allocate nothing and have grids that depend
on shapes alone, so that a CUDA graph can hold them.
"""

from fairmot.engine.cuda.kernels.decode import DecodeKernel
from fairmot.engine.cuda.kernels.letterbox import Layout, LetterboxKernel, input_shape
from fairmot.engine.cuda.kernels.tensors import TensorDetections

__all__ = [
    "DecodeKernel",
    "Layout",
    "LetterboxKernel",
    "TensorDetections",
    "input_shape",
]
