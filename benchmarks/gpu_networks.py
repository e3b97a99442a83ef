"""The ways to run a network that the GPU benchmarks compare, behind the same calls, and how they are timed."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from statistics import median

import torch

from fairmot.export.networks.network import Network
from fairmot.export.onnx_model import ExportedNetwork, fold_batch_norm

INPUTS = 4  # random images that take turns, so that nothing is computed on what is in a cache
_WARM_UP = 10
_HEAD_START = 400_000  # clock cycles, some 0.2 ms, in which the host queues the work before the GPU begins


@dataclass(frozen=True)
class Times:
    """Medians in milliseconds: what the GPU took by its events, and what the host saw from the call to the end."""

    gpu: float
    wall: float


class Runner(ABC):
    """A network for one batch size; `load` sets its input and `run` starts it on `stream`."""

    stream: torch.cuda.Stream

    @abstractmethod
    def load(self, images: torch.Tensor) -> None:
        """Put images `(n, 3, h, w)` float32 where the network reads them."""

    @abstractmethod
    def run(self) -> None:
        """Start the network."""

    @abstractmethod
    def boxes(self) -> torch.Tensor:
        """Return the boxes of the last run, `(n, 4, h / 4, w / 4)`."""


class EagerRunner(Runner):
    """PyTorch as FairMOT runs it: float32, the defaults of PyTorch (TF32 in convolutions), nothing folded.

    Args:
        network: in PyTorch.
        batch: number of images.
        size: of the input, `(width, height)`.
        tf32: convolutions may use TF32, as by default; False means float32 throughout.
    """

    def __init__(self, network: Network, batch: int, size: tuple[int, int], *, tf32: bool = True) -> None:
        self._tf32 = tf32
        self.stream = torch.cuda.current_stream()
        self._images = torch.zeros(batch, 3, size[1], size[0], device="cuda")
        self._outputs: tuple[torch.Tensor, ...] = ()
        self._module = ExportedNetwork(network).cuda().eval()

    def load(self, images: torch.Tensor) -> None:
        """Put images in place."""
        self._images.copy_(images)

    def run(self) -> None:
        """Start the network."""
        tf32 = nullcontext() if self._tf32 else torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
        with torch.inference_mode(), tf32:
            self._outputs = self._module(self._images)

    def boxes(self) -> torch.Tensor:
        """Return the boxes of the last run."""
        return self._outputs[1]


class GraphRunner(Runner):
    """The fastest way of PyTorch alone: half precision, channels last, BatchNorm folded, one CUDA graph."""

    def __init__(self, network: Network, batch: int, size: tuple[int, int], *, compiled: bool = False) -> None:
        self.stream = torch.cuda.Stream()
        images = torch.zeros(batch, 3, size[1], size[0], device="cuda", dtype=torch.float16)
        self._images = images.contiguous(memory_format=torch.channels_last)
        module = ExportedNetwork(fold_batch_norm(network)).cuda().eval().half().to(memory_format=torch.channels_last)
        called: Callable[[torch.Tensor], tuple[torch.Tensor, ...]] = torch.compile(module) if compiled else module
        self._graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, benchmark=True):
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                for _ in range(3):
                    called(self._images)
            torch.cuda.synchronize()
            with torch.cuda.graph(self._graph, stream=self.stream):
                self._outputs = called(self._images)

    def load(self, images: torch.Tensor) -> None:
        """Put images in place."""
        self._images.copy_(images)

    def run(self) -> None:
        """Start the network."""
        self._graph.replay()

    def boxes(self) -> torch.Tensor:
        """Return the boxes of the last run."""
        return self._outputs[1]


def random_images(batch: int, size: tuple[int, int]) -> list[torch.Tensor]:
    """Return the images that take turns, each `(batch, 3, height, width)` float32 from 0 to 1 on the GPU."""
    generator = torch.Generator("cuda").manual_seed(batch)
    return [torch.rand(batch, 3, *size[::-1], device="cuda", generator=generator) for _ in range(INPUTS)]


def time_network(runner: Runner, images: list[torch.Tensor], runs: int) -> Times:
    """Time a network alone, on images that take turns.

    The GPU's time is between two events around the network, which are queued behind a short wait so that the host's
    launches do not count unless they take longer than the network. The wall time is another set of runs without it,
    from the call until the host knows that all is done.
    """
    with torch.cuda.stream(runner.stream):
        for number in range(_WARM_UP):
            runner.load(images[number % len(images)])
            runner.run()
        torch.cuda.synchronize()
        gpu, wall = [], []
        for number in range(runs):
            runner.load(images[number % len(images)])
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda._sleep(_HEAD_START)
            start.record(runner.stream)
            runner.run()
            end.record(runner.stream)
            end.synchronize()
            gpu.append(start.elapsed_time(end))
        for number in range(runs):
            runner.load(images[number % len(images)])
            torch.cuda.synchronize()
            began = time.perf_counter()
            runner.run()
            runner.stream.synchronize()
            wall.append(1000 * (time.perf_counter() - began))
    return Times(median(gpu), median(wall))
