"""The interface that every backend offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

import numpy as np

from fairmot.core.records import ByteArray, Detections, Frame, PixelFormat
from fairmot.engine.model import ModelInfo


class Engine(ABC):
    """One model ready to run on one backend; a context manager, for one thread at a time.

    Attributes:
        model: metadata of the model.
        name: name of the backend.
        reason: one line: which backend this is and why it was chosen.
        size: input `(width, height)` in pixels.
        pixel_format: preferred format of frames; the engine takes any.
        max_batch: the most frames that it runs at once; `detect` splits longer sequences.
        prefetch_batches: recommended number of batches in flight in `detect_batches`; 0 where nothing runs beside the
            caller.
    """

    model: ModelInfo
    name: str
    reason: str
    size: tuple[int, int]
    pixel_format: PixelFormat
    max_batch: int
    prefetch_batches: int = 0

    @abstractmethod
    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Detect the objects of each frame; frames may differ in size and number from call to call.

        Raises:
            EngineError: if the backend fails: memory, its library, or the GPU.
        """

    def detect_batches(
        self, batches: Iterable[Sequence[Frame]], prefetch_batches: int
    ) -> Generator[tuple[Sequence[Frame], list[Detections]], None, None]:
        """Detect the objects of batch after batch, if the backend can while the caller uses earlier results.

        What `batches` raises is raised here, after the results of all batches before it.

        Args:
            batches: frames in order; a batch may be longer than `max_batch`.
            prefetch_batches: how many further batches may be read before the result of one is yielded. 0 gives results
                as early as `detect` does, which a live source needs.

        Yields:
            Each batch with the detections of its frames.
        """
        for frames in batches:
            yield frames, self.detect(frames)

    def warm_up(self, frame: Frame) -> None:
        """Run on a frame until others of its format take no longer than they always will.

        Raises:
            EngineError: see `detect`.
        """
        # TensorRT's engine captures a CUDA graph when a format comes for the second time, for each batch in flight.
        for _ in range(2 * (self.prefetch_batches + 1)):
            self.detect([frame])

    def allocate(self, shape: tuple[int, ...]) -> ByteArray:
        """Return uninitialized uint8 memory that the engine reads fastest; a source may decode frames into it."""
        return np.empty(shape, np.uint8)

    @contextmanager
    def page_locked(self, memory: ByteArray) -> Iterator[None]:
        """Let the engine read frames fastest that lie in some memory, inside a `with` block; also where it cannot.

        Args:
            memory: all of it, `(n,)` uint8, page-aligned; it is mapped until the block ends.
        """
        yield

    def close(self) -> None:  # noqa: B027 - a backend without anything to free need not override it
        """Free what the engine holds; it cannot be used afterwards."""

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
