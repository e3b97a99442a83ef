"""The interface of every backend, and the settings that they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, get_args

import numpy as np

from fairmot.core.errors import ConfigError
from fairmot.core.records import ByteArray, Detections, Frame, PixelFormat
from fairmot.core.timing import StageClock
from fairmot.engine.decode import BoxMapping
from fairmot.engine.model import ModelInfo

Precision = Literal["fp16", "fp32"]
DeformableConvolution = Literal["auto", "plugin", "native", "nvidia"]

MAX_BATCH = 64


@dataclass(frozen=True)
class EngineSettings:
    """How a backend runs its model.

    Attributes:
        size: input `(width, height)` in pixels; the model's own if None.
        score_threshold: detections score strictly above this.
        max_detections: at most this many per frame.
        back_projection: see `fairmot.engine.decode.map_boxes`.
        threads: CPU threads of the network; one per usable physical core if None. The GPU needs none.
        precision: of the network on a GPU; the CPU computes in float32.
        dcn: what runs deformable convolutions on a GPU: this project's plugin, native TensorRT layers, or NVIDIA's
            plugin. `auto` is this project's, or native layers where it cannot be built.
        batch: most frames at once on a GPU.
        clock: gets the seconds of the stages: on the CPU `letterbox`, `network` and `decode`; on a GPU, which does
            these three in one go, `upload` (handing frames over), `wait` (for the detections) and `gpu` (what the GPU
            itself took, beside the other stages).

    Raises:
        ConfigError: if a value is out of range.
    """

    size: tuple[int, int] | None = None
    score_threshold: float = 0.4
    max_detections: int = 500
    back_projection: BoxMapping = "exact"
    threads: int | None = None
    precision: Precision = "fp16"
    dcn: DeformableConvolution = "auto"
    batch: int = 1
    clock: StageClock = field(default_factory=StageClock)

    def __post_init__(self) -> None:
        if not 0 <= self.score_threshold < 1:
            raise ConfigError(f"score_threshold must be at least 0 and below 1, not {self.score_threshold}.")
        if self.max_detections < 1:
            raise ConfigError(f"max_detections must be at least 1, not {self.max_detections}.")
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"threads must be at least 1, not {self.threads}.")
        if not 1 <= self.batch <= MAX_BATCH:
            raise ConfigError(f"batch must be from 1 to {MAX_BATCH}, not {self.batch}.")
        for name, choices in (
            ("back_projection", BoxMapping),
            ("precision", Precision),
            ("dcn", DeformableConvolution),
        ):
            value = getattr(self, name)
            if value not in get_args(choices):
                raise ConfigError(f'{name} must be {" or ".join(get_args(choices))}, not "{value}".')


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

    def allocate(self, shape: tuple[int, ...]) -> ByteArray:
        """Return uninitialized uint8 memory that the engine reads fastest; a source may decode frames into it."""
        return np.empty(shape, np.uint8)

    def close(self) -> None:  # noqa: B027 - a backend without anything to free need not override it
        """Free what the engine holds; it cannot be used afterwards."""

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
