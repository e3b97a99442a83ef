"""The interface that every backend offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Sequence
from types import TracebackType

import numpy as np

from fairmot.core.records import ByteArray, Detections, Frame, PixelFormat
from fairmot.engine.model import ModelInfo


class Engine(ABC):
    """One model ready to run on one backend; a context manager, for one thread at a time.

    Attributes:
        model: facts of the model.
        name: name of the backend.
        reason: one line: which backend this is and why it was chosen.
        size: input `(width, height)` in pixels.
        pixel_format: what the engine prefers that frames hold; it takes any.
        max_batch: the most frames that it runs at once; `detect` splits longer sequences.
        ahead: how many batches `detect_stream` had best keep in flight; 0 where nothing runs beside the caller.
    """

    model: ModelInfo
    name: str
    reason: str
    size: tuple[int, int]
    pixel_format: PixelFormat
    max_batch: int
    ahead: int = 0

    @abstractmethod
    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Find the objects of each frame; frames may differ in size and number from call to call.

        Raises:
            EngineError: if the backend fails: memory, its library, or the GPU.
        """

    def detect_stream(
        self, batches: Iterable[Sequence[Frame]], ahead: int
    ) -> Generator[tuple[Sequence[Frame], list[Detections]], None, None]:
        """Find the objects of one batch after the other, if the backend can while the caller uses earlier results.

        What `batches` raises is raised here, after the results of all batches before it.

        Args:
            batches: frames in order; a batch may be longer than `max_batch`.
            ahead: how many further batches may be taken before the result of one is handed over. With 0 a result
                is as fresh as `detect` would give it, which a live source asks for.

        Yields:
            Each batch with what was found in its frames.
        """
        for frames in batches:
            yield frames, self.detect(frames)

    def allocate(self, shape: tuple[int, ...]) -> ByteArray:
        """Return uint8 memory of any content that the engine reads frames from fastest; a source may decode into it."""
        return np.empty(shape, np.uint8)

    def close(self) -> None:  # noqa: B027 - a backend without anything to free need not override it
        """Free what the engine holds; it cannot be used afterwards."""

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
