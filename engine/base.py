"""The interface that every backend offers, and the settings that they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import get_args

from core.errors import ConfigError
from core.records import Detections, Frame, PixelFormat
from core.timing import StageClock
from engine.decode import BackProjection
from engine.model import ModelInfo


@dataclass(frozen=True)
class EngineSettings:
    """How a backend runs its model.

    Attributes:
        size: input `(width, height)` in pixels; the model's own if None.
        score_threshold: detections score strictly above this.
        max_detections: at most this many per frame.
        back_projection: see `engine.decode.back_project`.
        threads: CPU threads of the network; one per usable physical core if None.
        clock: gets the seconds of the stages `letterbox`, `network` and `decode`.

    Raises:
        ConfigError: if a value is out of range.
    """

    size: tuple[int, int] | None = None
    score_threshold: float = 0.4
    max_detections: int = 500
    back_projection: BackProjection = "exact"
    threads: int | None = None
    clock: StageClock = field(default_factory=StageClock)

    def __post_init__(self) -> None:
        if not 0 <= self.score_threshold < 1:
            raise ConfigError(f"score_threshold must be at least 0 and below 1, not {self.score_threshold}.")
        if self.max_detections < 1:
            raise ConfigError(f"max_detections must be at least 1, not {self.max_detections}.")
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"threads must be at least 1, not {self.threads}.")
        if self.back_projection not in get_args(BackProjection):
            raise ConfigError(
                f'back_projection must be {" or ".join(get_args(BackProjection))}, not "{self.back_projection}".'
            )


class Engine(ABC):
    """One model ready to run on one backend; a context manager, for one thread at a time.

    Attributes:
        model: facts of the model.
        name: name of the backend.
        reason: one line: which backend this is and why it was chosen.
        size: input `(width, height)` in pixels.
        pixel_format: what the engine prefers that frames hold; it takes any.
        max_batch: the most frames that it runs at once; `detect` splits longer sequences.
    """

    model: ModelInfo
    name: str
    reason: str
    size: tuple[int, int]
    pixel_format: PixelFormat
    max_batch: int

    @abstractmethod
    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Find the objects of each frame; frames may differ in size and number from call to call."""

    def close(self) -> None:  # noqa: B027 - a backend without anything to free need not override it
        """Free what the engine holds; it cannot be used afterwards."""

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
