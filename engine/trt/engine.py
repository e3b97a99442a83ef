"""The GPU backend: TensorRT, with letterbox and decoding on the GPU too.

The input are decoded planes, the output a few detections. Everything between runs on one CUDA stream; from the second
batch of the same formats on it is one CUDA graph: letterbox, network, decoding and the copy of the result to the host.
The host waits once for each batch, and while it waits or associates the GPU may already compute others.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import NamedTuple

import tensorrt as trt
import torch

from fairmot.core.records import ByteArray, Detections, Frame
from fairmot.engine.base import Engine
from fairmot.engine.cuda.gpu import Gpu
from fairmot.engine.cuda.kernels import DecodeKernel, LetterboxKernel, TensorDetections
from fairmot.engine.decode import HeadOutputs
from fairmot.engine.graph.input_scale import IMAGE_SCALE
from fairmot.engine.letterbox import Letterbox
from fairmot.engine.lookahead import run_ahead
from fairmot.engine.model import ModelInfo
from fairmot.engine.settings import EngineSettings
from fairmot.engine.trt.capabilities import warn_of_unrun_version
from fairmot.engine.trt.errors import gpu_errors
from fairmot.engine.trt.frames import FrameFormat, FrameSlot, page_lock, pinned
from fairmot.engine.trt.network import open_network

_SLOTS = 3  # one is filled while one is computed; the third hides frames that are slow to associate
_GRAPHS_PER_SLOT = 4


class _Captured(NamedTuple):
    """A CUDA graph, and the letterbox's tables that it reads: they must live as long."""

    graph: torch.cuda.CUDAGraph
    tables: list[tuple[torch.Tensor, torch.Tensor]]


class _Slot:
    """One of the batches that can be in flight: its frames, its result on the host, its graphs.

    Attributes:
        frames: on the GPU.
        result: page-locked bytes for the output of the decoder.
        started: when the GPU began; together with `finished`, the time on the GPU.
        finished: when the result is there.
        is_busy: from the start of its work until the result is taken.
        is_unwatched: the host has not waited for the end of the latest work.
    """

    def __init__(self, frames: FrameSlot, result: torch.Tensor) -> None:
        self.frames = frames
        self.result = result
        self.started = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        self.finished = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        self.is_busy = False
        self.is_unwatched = False
        # None for formats that were seen once: a graph pays off when they come again.
        self._graphs: OrderedDict[tuple[FrameFormat, ...], _Captured | None] = OrderedDict()
        self._generation = frames.generation

    def graph(self, capture: Callable[[], _Captured]) -> torch.cuda.CUDAGraph | None:
        """Return the CUDA graph for the frames in the slot; none if their formats are new, or are several.

        Args:
            capture: makes a graph, the second time that the same formats come.
        """
        formats = self.frames.formats
        if self.frames.generation != self._generation:  # they read where no frames are any more
            self._graphs.clear()
            self._generation = self.frames.generation
        if len(set(formats)) > 1:
            return None
        is_known = formats in self._graphs
        captured = self._graphs.pop(formats, None)
        if is_known and captured is None:
            captured = capture()
        self._graphs[formats] = captured  # to the end of the line
        while len(self._graphs) > _GRAPHS_PER_SLOT:
            self._graphs.popitem(last=False)
        return None if captured is None else captured.graph


class TensorRTEngine(Engine):
    """A model that runs on an NVIDIA GPU; its plan is built first if the cache has none.

    Args:
        model: metadata of the model to load.
        settings: how to run it.

    Raises:
        ConfigError: if the model does not take an input of `settings.size`, or the GPU does not support the settings.
        EngineError: if memory ran out or CUDA failed.
        ModelError: if TensorRT cannot build or run the model.
    """

    name = "tensorrt"
    pixel_format = "yuv420p"
    prefetch_batches = _SLOTS - 1

    def __init__(self, model: ModelInfo, settings: EngineSettings) -> None:
        self.model = model
        self.size = settings.size or model.size
        model.check_size(self.size)
        self._settings = settings
        self._gpu = gpu = Gpu.open()
        self._closed = False
        warn_of_unrun_version(trt.__version__)
        with gpu_errors("opening the model"):
            network, dcn = open_network(model, settings, gpu)
            self._network = network
            self.reason = f"TensorRT {trt.__version__} on {gpu.name}, {settings.precision}, {dcn}"
            self.max_batch = network.batches[-1]
            half = network.half_images
            mean, std = (model.mean, model.std) if half is None else (half.black.tolist(), (1 / IMAGE_SCALE,) * 3)
            self._letterbox = LetterboxKernel(
                gpu, self.size, mean, std, model.channel_order, model.border, network.layout
            )
            self._decode = {batch: self._decode_kernel(batch) for batch in network.batches}
            self._copies = copies = torch.cuda.Stream()  # type: ignore[no-untyped-call]
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
        """Detect the objects of each frame; see `Engine`."""
        ((_, found),) = self.detect_batches([frames], self.prefetch_batches)
        return found

    def detect_batches(
        self, batches: Iterable[Sequence[Frame]], prefetch_batches: int
    ) -> Generator[tuple[Sequence[Frame], list[Detections]], None, None]:
        """Detect the objects of batch after batch while the caller uses earlier results; see `Engine`."""
        return run_ahead(
            batches,
            min(prefetch_batches, self.prefetch_batches),
            self.max_batch,
            self._submit,
            self._collect,
            abandon=self._abandon,
        )

    def heads(self, frames: Sequence[Frame]) -> HeadOutputs[torch.Tensor]:
        """Run letterbox and network alone and leave the result on the GPU.

        Args:
            frames: at most `max_batch`.

        Returns:
            Tensors of `len(frames)` images that work on the current stream of PyTorch may read until this engine is
            used again.
        """
        self._run_for_gpu(frames, decode=False)
        return self._network.heads(len(frames))

    def detect_on_gpu(self, frames: Sequence[Frame]) -> TensorDetections:
        """Detect the objects of each frame and leave them on the GPU.

        Args:
            frames: at most `max_batch`.

        Returns:
            Tensors of `len(frames)` images, in source pixels, that work on the current stream of PyTorch may read
            until this engine is used again; only the first `counts[i]` rows of image `i` mean anything.
        """
        batch, count = self._run_for_gpu(frames, decode=True), len(frames)
        found = self._decode[batch].detections
        return TensorDetections(
            found.counts[:count],
            found.tlbr[:count],
            found.scores[:count],
            found.class_ids[:count],
            found.embeddings[:count],
            found.landmarks[:count],
        )

    def allocate(self, shape: tuple[int, ...]) -> ByteArray:
        """Return page-locked memory, from which frames are copied without an intermediate copy."""
        return pinned(shape, self._copies)

    @contextlib.contextmanager
    def page_locked(self, memory: ByteArray) -> Iterator[None]:
        """Page-lock memory of frames, so that they are copied to the GPU without an intermediate copy; see `Engine`."""
        unlock = page_lock(memory, self._gpu)
        try:
            yield
        finally:
            with contextlib.suppress(Exception):  # after an error of the GPU there is nothing to wait for
                self._gpu.synchronize()  # copies may be under way
            unlock()

    def close(self) -> None:
        """Free what the engine holds on the GPU; it cannot be used afterwards."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(Exception):  # after an error of the GPU there is nothing to wait for
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
            max_detections=settings.max_detections or model.max_detections,
            score_threshold=settings.score_threshold,
            raw_heads=model.raw_heads,
            class_boxes=model.class_boxes,
            landmark_count=model.landmark_count,
        )

    def _submit(self, frames: Sequence[Frame]) -> _Slot:
        """Launch all work on some frames in the next slot."""
        with self._settings.clock("upload"), gpu_errors("running the model"):
            slot = self._take_slot()
            self._fill(slot, frames)
            graph = slot.graph(lambda: self._capture(slot))
            with torch.cuda.stream(self._gpu.stream):
                slot.started.record(self._gpu.stream)
                if graph is None:
                    self._launch(slot)
                else:
                    graph.replay()
                slot.finished.record(self._gpu.stream)
            slot.is_busy = True
            return slot

    def _capture(self, slot: _Slot) -> _Captured:
        """Return a CUDA graph of the work on a slot, which has run once without one."""
        graph = torch.cuda.CUDAGraph()
        tables = [self._letterbox.prepare(self._geometry(form)) for form in slot.frames.formats]
        # Other threads may ask for page-locked memory meanwhile, which a global capture would forbid them.
        with torch.cuda.graph(graph, stream=self._gpu.stream, capture_error_mode="thread_local"):
            self._launch(slot)
        return _Captured(graph, tables)

    def _launch(self, slot: _Slot) -> None:
        """Queue the work on a slot, up to the copy of the result to the host."""
        self._launch_network(slot)
        packed = self._launch_decode(slot).packed
        slot.result[: packed.numel()].copy_(packed, non_blocking=True)

    def _launch_network(self, slot: _Slot) -> None:
        frames, images = slot.frames, self._network.images
        for image, (pixels, form) in enumerate(zip(frames.frames, frames.formats, strict=True)):
            self._letterbox.launch(
                pixels, form.pixel_format, form.color_space, form.full_range, self._geometry(form), images, image
            )
        self._network.enqueue(self._network.batch_for(len(frames.formats)))

    def _launch_decode(self, slot: _Slot) -> DecodeKernel:
        count = len(slot.frames.formats)
        kernel = self._decode[self._network.batch_for(count)]
        kernel.launch(self._network.heads(count), slot.frames.transforms[:count])
        return kernel

    def _geometry(self, form: FrameFormat) -> Letterbox:
        return Letterbox.fit(form.size, self.size, self.model.resize)

    def _fill(self, slot: _Slot, frames: Sequence[Frame]) -> None:
        if self._lent_to is not None:  # work there may still read our tensors
            self._gpu.stream.wait_stream(self._lent_to)
            self._lent_to = None
        slot.frames.fill(frames, self._geometry, self.model.stride, self._settings.box_mapping)

    def _take_slot(self) -> _Slot:
        """Return the slots in turn, so that each is free again when its turn comes."""
        self._check_open()
        slot = self._slots[self._next_slot]
        if slot.is_busy:
            raise RuntimeError("Results of this engine's detect_batches are outstanding: take them all, or close it")
        self._next_slot = (self._next_slot + 1) % len(self._slots)
        if slot.is_unwatched:
            slot.finished.synchronize()
            slot.is_unwatched = False
        return slot

    def _collect(self, slot: _Slot) -> list[Detections]:
        """Wait for the result of a slot, the one time that the host waits for the GPU, and unpack it."""
        self._check_open()
        clock = self._settings.clock
        with clock("wait"), gpu_errors("running the model"):
            slot.is_busy = False
            slot.finished.synchronize()
            clock.add("gpu", slot.started.elapsed_time(slot.finished) / 1000)
            count = len(slot.frames.formats)
            return self._decode[self._network.batch_for(count)].unpack(slot.result.numpy(), count)

    def _abandon(self, slot: _Slot) -> None:
        """Free a slot whose result is not needed; its memory must be idle before it is used again."""
        with contextlib.suppress(Exception):  # an error has been raised, or ends the next run
            slot.finished.synchronize()
        slot.is_busy = False

    def _run_for_gpu(self, frames: Sequence[Frame], *, decode: bool) -> int:
        """Run without a result on the host; return the batch size that was run."""
        if not 1 <= len(frames) <= self.max_batch:
            raise ValueError(f"This engine takes 1 to {self.max_batch} frames at once, not {len(frames)}")
        with gpu_errors("running the model"):
            slot = self._take_slot()
            slot.is_unwatched = True
            self._fill(slot, frames)
            with torch.cuda.stream(self._gpu.stream):
                self._launch_network(slot)
                if decode:
                    self._launch_decode(slot)
                slot.finished.record(self._gpu.stream)
            self._lent_to = torch.cuda.current_stream()
            self._lent_to.wait_event(slot.finished)
            return self._network.batch_for(len(frames))
