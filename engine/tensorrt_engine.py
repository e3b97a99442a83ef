"""The GPU backend: TensorRT, with letterbox and decoding on the GPU too.

Frames go in as decoded planes, a handful of detections comes out. Everything between is on one stream; after a
format of frames has been seen once it is one CUDA graph: letterbox, network, decoding and the copy of the result to
the host. The host waits once for each batch, and while it waits or associates the GPU may already compute others.
"""

from __future__ import annotations

import contextlib
import logging
from collections import OrderedDict
from collections.abc import Generator, Iterable, Sequence

import tensorrt as trt
import torch

from core.records import ByteArray, Detections, Frame
from engine.base import Engine, EngineSettings
from engine.flow import run_ahead
from engine.gpu_faults import gpu_faults
from engine.gpu_frames import FrameSlot, pinned
from engine.letterbox import Letterbox
from engine.model import ModelInfo
from engine.trt_choice import open_plan
from engine.trt_network import TensorRTNetwork
from plugins.gpu import Gpu
from plugins.kernels import DecodeKernel, LetterboxKernel, TensorDetections, TensorHeads

_log = logging.getLogger(__name__)

_SLOTS = 3  # one is filled while one is computed; the third hides frames that are slow to associate
_GRAPHS_PER_SLOT = 4


class _Slot:
    """One of the batches that can be in flight: its frames, its result on the host, its graphs."""

    def __init__(self, frames: FrameSlot, result: torch.Tensor) -> None:
        self.frames = frames
        self.result = result
        self.finished = torch.cuda.Event()
        # None stands for a format that has been seen once: a graph pays when it comes again.
        self.graphs: OrderedDict[tuple[object, ...], torch.cuda.CUDAGraph | None] = OrderedDict()
        self.generation = frames.generation
        self.is_busy = False

    def graph(self, key: tuple[object, ...]) -> torch.cuda.CUDAGraph | None:
        """Return the graph of a key if there is one; forget those that have been without use longest."""
        if self.frames.generation != self.generation:  # they read where no frames are any more
            self.graphs.clear()
            self.generation = self.frames.generation
        if key in self.graphs:
            self.graphs.move_to_end(key)
        return self.graphs.get(key)

    def remember(self, key: tuple[object, ...], graph: torch.cuda.CUDAGraph | None) -> None:
        self.graphs[key] = graph
        while len(self.graphs) > _GRAPHS_PER_SLOT:
            self.graphs.popitem(last=False)


class TensorRTEngine(Engine):
    """Runs a model on an NVIDIA GPU; builds its plan first if the cache has none.

    Args:
        model: facts of the model to load.
        settings: how to run it.

    Raises:
        ConfigError: if the model does not take an input of `settings.size`, or the GPU cannot do what is asked.
        ModelError: if TensorRT cannot build or run the model.
    """

    name = "tensorrt"
    pixel_format = "yuv420p"
    ahead = _SLOTS - 1

    def __init__(self, model: ModelInfo, settings: EngineSettings) -> None:
        self.model = model
        self.size = settings.size or model.size
        model.check_size(self.size)
        self._settings = settings
        self._gpu = gpu = Gpu.open()
        self._closed = False
        with gpu_faults("opening the model"):
            engine, dcn = open_plan(model, settings, gpu)
            self.reason = f"TensorRT {trt.__version__} on {gpu.name}, {settings.precision}, {dcn}"
            self._network = network = TensorRTNetwork(engine, gpu, model)
            self.max_batch = network.batches[-1]
            self._letterbox = LetterboxKernel(
                gpu, model.mean, model.std, model.channel_order, model.border, layout=network.layout
            )
            self._decode = {batch: self._decode_kernel(batch) for batch in network.batches}
            copies = torch.cuda.Stream()
            size = self._decode[self.max_batch].packed.numel()
            self._slots = [
                _Slot(FrameSlot(gpu, copies, self.max_batch), torch.empty(size, dtype=torch.uint8, pin_memory=True))
                for _ in range(_SLOTS)
            ]
            self._next_slot = 0
            self._lent_to: torch.cuda.Stream | None = None
            for batch in network.batches:
                network.enqueue(batch)  # TensorRT sets itself up in the first run
            gpu.synchronize()

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Find the objects of each frame; frames may differ in size and number from call to call."""
        ((_, found),) = self.detect_stream([frames], self.ahead)
        return found

    def detect_stream(
        self, batches: Iterable[Sequence[Frame]], ahead: int
    ) -> Generator[tuple[Sequence[Frame], list[Detections]], None, None]:
        """Find the objects of one batch after the other while the caller uses earlier results; see `Engine`."""
        return run_ahead(
            batches, min(ahead, self.ahead), self.max_batch, self._submit, self._collect, abandon=self._abandon
        )

    def heads(self, frames: Sequence[Frame]) -> TensorHeads:
        """Run letterbox and network alone and leave the result on the GPU.

        Args:
            frames: at most `max_batch`.

        Returns:
            Tensors of `len(frames)` images that work on the current stream of PyTorch may read until this engine is
            used again.
        """
        batch = self._run_for_gpu(frames, decode=False)
        return TensorHeads(*(None if head is None else head[: len(frames)] for head in self._network.heads(batch)))

    def detect_on_gpu(self, frames: Sequence[Frame]) -> TensorDetections:
        """Find the objects of each frame and leave them on the GPU.

        Args:
            frames: at most `max_batch`.

        Returns:
            Tensors of `len(frames)` images, in source pixels, that work on the current stream of PyTorch may read
            until this engine is used again; only the first `counts[i]` rows of image `i` mean anything.
        """
        batch = self._run_for_gpu(frames, decode=True)
        return TensorDetections(*(part[: len(frames)] for part in self._decode[batch].detections))

    def allocate(self, shape: tuple[int, ...]) -> ByteArray:
        """Return page-locked memory, from which frames are copied without the detour over the engine's own."""
        return pinned(shape)

    def close(self) -> None:
        """Free what the engine holds on the GPU; it cannot be used afterwards."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(Exception):  # after a fault of the GPU there is nothing to wait for
            self._gpu.synchronize()
        del self._slots, self._decode, self._letterbox, self._network

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("The engine is closed")

    def _decode_kernel(self, batch: int) -> DecodeKernel:
        model, settings = self.model, self._settings
        return DecodeKernel(
            self._gpu,
            batch=batch,
            classes=len(model.class_names),
            rows=self.size[1] // model.stride,
            columns=self.size[0] // model.stride,
            embedding_size=model.embedding_size,
            max_detections=settings.max_detections,
            score_threshold=settings.score_threshold,
            stride=model.stride,
            raw_heads=model.raw_heads,
        )

    def _submit(self, frames: Sequence[Frame]) -> _Slot:
        """Start everything for some frames in the next slot, which nothing may be using."""
        with self._settings.clock("upload"), gpu_faults("running the model"):
            slot = self._take_slot()
            batch = self._fill(slot, frames)
            key = (batch, slot.frames.formats)
            graph = slot.graph(key)
            with torch.cuda.stream(self._gpu.stream):
                if graph is not None:
                    graph.replay()
                elif key in slot.graphs:
                    graph = torch.cuda.CUDAGraph()
                    # Other threads may allocate page-locked memory meanwhile, which a global capture forbids.
                    with torch.cuda.graph(graph, stream=self._gpu.stream, capture_error_mode="thread_local"):
                        self._launch(slot, batch, decode=True, copy=True)
                    graph.replay()
                    slot.remember(key, graph)
                else:
                    self._launch(slot, batch, decode=True, copy=True)
                    slot.remember(key, None)
                slot.finished.record(self._gpu.stream)
            slot.is_busy = True
            return slot

    def _take_slot(self) -> _Slot:
        """Return the slots in turn, so that each is free again when its turn comes."""
        self._check_open()
        slot = self._slots[self._next_slot]
        if slot.is_busy:
            raise RuntimeError("Results of this engine's detect_stream are outstanding: take them all, or close it")
        self._next_slot = (self._next_slot + 1) % len(self._slots)
        return slot

    def _collect(self, slot: _Slot) -> list[Detections]:
        """Wait for the result of a slot, the one time that the host waits for the GPU, and unpack it."""
        self._check_open()
        with self._settings.clock("gpu"), gpu_faults("running the model"):
            slot.is_busy = False
            slot.finished.synchronize()
            count = len(slot.frames.formats)
            return self._decode[self._batch_for(count)].unpack(slot.result.numpy(), count)

    def _abandon(self, slot: _Slot) -> None:
        """Free a slot whose result nobody wants; its memory must be idle before it is used again."""
        with contextlib.suppress(Exception):  # a fault has been told, or ends the next run
            slot.finished.synchronize()
        slot.is_busy = False

    def _batch_for(self, count: int) -> int:
        """Return the smallest batch size of the plan that holds `count` frames."""
        return next(batch for batch in self._network.batches if batch >= count)

    def _fill(self, slot: _Slot, frames: Sequence[Frame]) -> int:
        """Send frames to a slot and return the batch size that takes them."""
        if self._lent_to is not None:  # somebody may still read our tensors there
            self._gpu.stream.wait_stream(self._lent_to)
            self._lent_to = None
        slot.frames.fill(frames, self.size, self.model.stride, self._settings.back_projection)
        return self._batch_for(len(frames))

    def _launch(self, slot: _Slot, batch: int, *, decode: bool, copy: bool) -> None:
        """Queue the work of a batch on the stream; of images beyond the slot's frames the results mean nothing."""
        for image, (pixels, form) in enumerate(zip(slot.frames.frames, slot.frames.formats, strict=True)):
            geometry = Letterbox.fit(form.size, self.size)
            self._letterbox.launch(
                pixels, form.pixel_format, form.color_space, form.full_range, geometry, self._network.images, image
            )
        self._network.enqueue(batch)
        if decode:
            kernel = self._decode[batch]
            kernel.launch(self._network.heads(batch), slot.frames.transforms[:batch])
            if copy:
                slot.result[: kernel.packed.numel()].copy_(kernel.packed, non_blocking=True)

    def _run_for_gpu(self, frames: Sequence[Frame], *, decode: bool) -> int:
        """Run without the host waiting for anything but the slot; return the batch size."""
        if not 1 <= len(frames) <= self.max_batch:
            raise ValueError(f"This engine takes 1 to {self.max_batch} frames at once, not {len(frames)}")
        with gpu_faults("running the model"):
            slot = self._take_slot()
            slot.finished.synchronize()
            batch = self._fill(slot, frames)
            with torch.cuda.stream(self._gpu.stream):
                self._launch(slot, batch, decode=decode, copy=False)
                slot.finished.record(self._gpu.stream)
            self._lent_to = torch.cuda.current_stream()
            self._lent_to.wait_event(slot.finished)
            return batch
