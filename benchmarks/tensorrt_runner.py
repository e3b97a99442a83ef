"""A TensorRT plan behind the calls of `benchmarks/gpu_networks.py`, which itself needs PyTorch alone."""

from __future__ import annotations

import torch

from benchmarks.gpu_networks import Runner
from fairmot.engine.cuda.gpu import Gpu
from fairmot.engine.trt.network import TensorRTNetwork
from fairmot.engine.trt.plan import Plan


class TensorRTRunner(Runner):
    """A plan, replayed as a CUDA graph."""

    def __init__(self, plan: Plan, batch: int) -> None:
        gpu = Gpu.open()
        self.stream = gpu.stream
        self._network = TensorRTNetwork(plan, gpu)
        self._network.enqueue(batch)
        self._batch = batch
        gpu.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, stream=gpu.stream, capture_error_mode="thread_local"):
            self._network.enqueue(batch)

    def load(self, images: torch.Tensor) -> None:
        """Put images in place."""
        self._network.set_images(images)

    def run(self) -> None:
        """Start the network."""
        self._graph.replay()

    def boxes(self) -> torch.Tensor:
        """Return the boxes of the last run."""
        return self._network.heads(self._batch).box
