"""A live source in a run: the engine is warm when the first frame comes, and that costs no frame and no figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from support import material
from support.live_streams import udp_stream

from fairmot.app.options import Options
from fairmot.app.session import Session
from fairmot.app.terminal import PacedCount, Terminal
from fairmot.core import Detections, Frame, StageClock, Tracks
from fairmot.engine import EngineSettings
from fairmot.engine.model import ModelInfo
from fairmot.engine.onnxruntime import OnnxRuntimeEngine


class SlowToStart(OnnxRuntimeEngine):
    """Takes long for the first frames of a format, as an engine that captures CUDA graphs, and works ahead."""

    prefetch_batches = 2

    def __init__(self, weights: Path, clock: StageClock) -> None:
        super().__init__(ModelInfo.read(weights), EngineSettings(clock=clock))
        self._clock = clock
        self.seen: list[Frame] = []

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        self.seen += frames
        if len(self.seen) <= 6:
            self._clock.add("capture", 0.1)
        return super().detect(frames)


def test_the_engine_is_warm_when_the_first_frame_comes(tmp_path: Path, weights: Path) -> None:
    options, clock = Options(("any",), output=str(tmp_path / "out"), frames=8, video=False), StageClock()
    with SlowToStart(weights, clock) as engine, udp_stream(tmp_path) as stream:
        outcome = Session(options, engine, clock, Terminal()).track(stream.url)
    report = material.read_run(outcome.folder)
    assert (report["frames"], report["status"]) == (8, "complete")
    numbers = [frame.index for frame in engine.seen]
    assert numbers[:6] == [0] * 6, "twice for each batch that can be in flight"
    assert len(numbers) == 14
    assert {(frame.size, frame.pixel_format, frame.pixels.shape) for frame in engine.seen} == {
        (engine.seen[-1].size, "bgr24", engine.seen[-1].pixels.shape)
    }
    assert report["milliseconds"]["capture"] == 0, "what is not a frame of the source does not count"
    assert report["first_frame"] == numbers[6] > 1
    assert report["dropped"] == report["last_frame"] - report["first_frame"] + 1 - 8


@pytest.mark.parametrize(("seconds", "expected"), [(60.0, [(1, 2)]), (0.0, [(1, 2), (2, 2), (3, 2)])])
def test_progress_is_shown_now_and_then(seconds: float, expected: list[tuple[int, int]]) -> None:
    shown: list[tuple[int, int]] = []
    count = PacedCount(lambda frames, tracks: shown.append((frames, tracks)), seconds)
    frame = Frame(1, 0.0, np.zeros((2, 4, 3), np.uint8))
    tracks = Tracks(np.arange(2), np.zeros((2, 4)), np.ones(2), np.zeros(2, int))
    for _ in range(3):
        count(frame, tracks)
    assert shown == expected
    assert count.frames == 3
