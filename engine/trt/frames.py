"""Upload of frames to the GPU: pinned memory, a second CUDA stream, and slots that are filled in turn.

While the GPU computes on one slot the next one is filled and copied, so copies cost no time of their own. Frames are
copied as they are: planes stay planes, 3.1 MB instead of 6.2 for an image of 1920x1080.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch

from fairmot.core.records import ByteArray, Frame, PixelFormat
from fairmot.engine.cuda.gpu import Gpu
from fairmot.engine.decode import cell_transform
from fairmot.engine.letterbox import Letterbox
from fairmot.engine.settings import BoxMapping

log = logging.getLogger(__name__)

_ALIGNMENT = 512  # of a frame within a slot, bytes; as generous as the allocator of CUDA


class FrameFormat(NamedTuple):
    """Everything that a kernel needs of a frame besides its bytes; frames of one format can share a CUDA graph."""

    size: tuple[int, int]
    pixel_format: PixelFormat
    color_space: Literal["ITU601", "ITU709"]
    full_range: bool

    @classmethod
    def of(cls, frame: Frame) -> FrameFormat:
        """Return the format of a frame; the colors of BGR are always the same."""
        if frame.pixel_format == "bgr24":
            return cls(frame.size, "bgr24", "ITU601", True)
        return cls(frame.size, frame.pixel_format, frame.color_space, frame.full_range)


def pinned(shape: tuple[int, ...], copies: torch.cuda.Stream) -> ByteArray:
    """Return uninitialized page-locked uint8 memory, which copies to the GPU fastest; from any thread.

    PyTorch's allocator takes it back when the array is gone and no copy uses it any more, and reuses it.

    Args:
        shape: of the array.
        copies: CUDA stream that copies it. The allocator may ask the current stream whether it is being captured, which
            for the default stream is an error while any other is.
    """
    with torch.cuda.stream(copies):
        return cast(ByteArray, torch.empty(shape, dtype=torch.uint8, pin_memory=True).numpy())


def page_lock(memory: ByteArray, gpu: Gpu) -> Callable[[], None]:
    """Page-lock memory that something else has allocated, as `cudaHostRegister` does (CUDA runtime API).

    Where the system refuses (`ulimit -l`, too little memory) the memory stays as it is, with a warning: frames in it
    are then copied through page-locked memory of PyTorch's.

    Args:
        memory: `(n,)` uint8, page-aligned.
        gpu: whose copies read it.

    Returns:
        What undoes it; to be called when no copy reads the memory any more, and before it is unmapped.
    """
    runtime: Any = torch.cuda.cudart()  # type: ignore[no-untyped-call]
    address = memory.ctypes.data
    failure = runtime.cudaHostRegister(address, memory.nbytes, 0)
    if failure == runtime.cudaError.success:
        return lambda: runtime.cudaHostUnregister(address)
    log.warning(
        "%.0f MB for frames cannot be page-locked (%s); they are copied once more. Raise the limit (ulimit -l).",
        *(memory.nbytes / 1e6, runtime.cudaGetErrorString(failure)),
    )
    # CUDA keeps the error until somebody asks for it, which the next launch does; here it harms nobody.
    with contextlib.suppress(RuntimeError):
        torch.empty(1, device=gpu.device).zero_()
    return lambda: None


class FrameSlot:
    """Room on the GPU for the frames of one batch, and for the transforms of their boxes.

    The memory grows with the largest batch of frames it gets and is then reused.

    Args:
        gpu: where.
        copies: CUDA stream of the copies to the GPU.
        batch: most frames.

    Attributes:
        formats: of the frames that it holds.
        frames: the bytes of each frame on the GPU, as uint8 tensors.
        transforms: `(batch, 4)` float64 on the GPU: per frame scale x, scale y, shift x, shift y from cells to pixels.
        generation: changes when `frames` move to other addresses.
    """

    def __init__(self, gpu: Gpu, copies: torch.cuda.Stream, batch: int) -> None:
        self.formats: tuple[FrameFormat, ...] = ()
        self.frames: list[torch.Tensor] = []
        self.generation = 0
        self._gpu = gpu
        self._copies = copies
        self._memory = torch.empty(0, dtype=torch.uint8, device=gpu.device)
        self._staging = torch.empty(0, dtype=torch.uint8, pin_memory=True)
        self._transforms_on_host = torch.zeros((batch, 4), dtype=torch.float64, pin_memory=True)
        self.transforms = gpu.zeros((batch, 4), torch.float64)
        self._uploaded = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._held: Sequence[Frame] = ()  # until nothing reads them any more

    def fill(
        self, frames: Sequence[Frame], geometry: Callable[[FrameFormat], Letterbox], stride: int, mode: BoxMapping
    ) -> None:
        """Start to copy frames to the GPU; the GPU's own stream waits for them.

        Nothing may still be reading what the slot held before.

        Args:
            frames: of any sizes and formats.
            geometry: returns where a frame of a format lies in the network's input.
            stride: input pixels per cell.
            mode: see `fairmot.engine.decode.map_boxes`.
        """
        self._held = frames
        formats = tuple(map(FrameFormat.of, frames))
        if formats != self.formats:
            self._rearrange(frames, formats, geometry, stride, mode)
        with torch.cuda.stream(self._copies):
            for frame, room in zip(frames, self.frames, strict=True):
                room.copy_(self._on_host(frame, room), non_blocking=True)
            self._uploaded.record(self._copies)
        self._gpu.stream.wait_event(self._uploaded)

    def _rearrange(
        self,
        frames: Sequence[Frame],
        formats: tuple[FrameFormat, ...],
        geometry: Callable[[FrameFormat], Letterbox],
        stride: int,
        mode: BoxMapping,
    ) -> None:
        """Make room for frames of these formats."""
        sizes = [frame.pixels.size for frame in frames]
        starts = [0, *np.cumsum([-(-size // _ALIGNMENT) * _ALIGNMENT for size in sizes]).tolist()]
        if starts[-1] > len(self._memory):
            # Not filled: that would happen on another stream than the copies.
            self._memory = torch.empty(starts[-1], dtype=torch.uint8, device=self._gpu.device)
            self._staging = torch.empty(0, dtype=torch.uint8, pin_memory=True)
            self.generation += 1
        self.frames = [self._memory[start : start + size] for start, size in zip(starts, sizes, strict=False)]
        for row, each in enumerate(formats):
            scale, shift = cell_transform(geometry(each), stride, mode)
            self._transforms_on_host[row] = torch.tensor([*scale, *shift], dtype=torch.float64)
        with torch.cuda.stream(self._gpu.stream):
            self.transforms.copy_(self._transforms_on_host, non_blocking=True)
        self.formats = formats

    def _on_host(self, frame: Frame, room: torch.Tensor) -> torch.Tensor:
        """Return the bytes of a frame in page-locked memory: its own if they lie there already, else a copy."""
        pixels = frame.pixels
        if pixels.flags.c_contiguous and pixels.flags.writeable:
            flat = torch.from_numpy(pixels.reshape(-1))
            if flat.is_pinned():
                return flat
        if len(self._staging) < len(self._memory):
            self._staging = torch.empty(len(self._memory), dtype=torch.uint8, pin_memory=True)
        start = room.storage_offset()
        staged = self._staging[start : start + len(room)]
        np.copyto(staged.numpy().reshape(pixels.shape), pixels)
        return staged
