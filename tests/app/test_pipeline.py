"""The loop, and the same in a few lines of a user's own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support import material

from fairmot.app.pipeline import run_pipeline
from fairmot.core import Detections, Frame, SourceError, StageClock, Tracks
from fairmot.engine import EngineSettings, ModelInfo, open_engine
from fairmot.engine.lookahead import run_ahead
from fairmot.engine.onnxruntime import OnnxRuntimeEngine
from fairmot.tracker import FairMOTTracker
from fairmot.tracker.association import track
from fairmot.tracker.detection_file import DetectionWriter, read_detection_file
from fairmot.tracker.gmc.flow import OpticalFlowGMC
from fairmot.video import JSONLSink, Sink, Source, VideoSink, open_source


class BreakingSource(Source):
    """A source of four frames that then fails, as a camera that is unplugged."""

    def __init__(self, live: bool = False) -> None:
        super().__init__("breaking", material.SIZE, 25.0, is_live=live)

    def _frames(self) -> Iterator[Frame]:
        for number in range(1, 5):
            yield Frame(number, number / 25, material.image())
        raise SourceError("The cable is out.")


class ListSink(Sink):
    """Keeps what it gets, and asks to stop after some frames."""

    def __init__(self, stop_after: int = 1000) -> None:
        self.numbers: list[int] = []
        self._stop_after = stop_after

    def write(self, frame: Frame, tracks: Tracks) -> None:
        assert len(tracks) == 2
        self.numbers.append(frame.index)
        self.stop_requested = len(self.numbers) >= self._stop_after

    def close(self) -> None:
        pass


class EarlyEngine(OnnxRuntimeEngine):
    """Computes up to three batches in a thread of its own, as a GPU does."""

    prefetch_batches = 2

    def __init__(self, weights: Path, clock: StageClock) -> None:
        super().__init__(ModelInfo.read(weights), EngineSettings(clock=clock))
        self._pool = ThreadPoolExecutor(1)
        self.most_in_flight = 0
        self._in_flight: list[Future[list[Detections]]] = []

    def detect_batches(self, batches: Iterable[Sequence[Frame]], prefetch_batches: int) -> Any:
        return run_ahead(batches, prefetch_batches, self.max_batch, self._submit, self._collect, abandon=self._collect)

    def _submit(self, frames: Sequence[Frame]) -> Future[list[Detections]]:
        self._in_flight.append(self._pool.submit(self.detect, frames))
        self.most_in_flight = max(self.most_in_flight, len(self._in_flight))
        return self._in_flight[-1]

    def _collect(self, job: Future[list[Detections]]) -> list[Detections]:
        assert self._in_flight.pop(0) is job
        return job.result()

    def close(self) -> None:
        assert not self._in_flight
        self._pool.shutdown()
        super().close()


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("batch", [1, 3])
def test_frames_before_a_fault_are_tracked(weights: Path, batch: int, ahead: bool) -> None:
    sink, clock = ListSink(), StageClock()
    engine = (
        EarlyEngine(weights, clock)
        if ahead
        else open_engine(EngineSettings(weights=weights, backend="onnxruntime"), clock=clock)
    )
    with BreakingSource() as source, engine:
        engine.max_batch = batch
        with pytest.raises(SourceError, match="cable"):
            run_pipeline(source, engine, FairMOTTracker(25), [sink], clock=clock)
    assert sink.numbers == [1, 2, 3, 4]
    assert set(clock.milliseconds()) == {"read", "letterbox", "network", "decode", "track", "write"}


class PausingSource(Source):
    """A source of eight frames at 25 frames/s, with a pause after the fourth."""

    def __init__(self, pause: float) -> None:
        super().__init__("pausing", material.SIZE, 25.0)
        self._pause = pause

    def _frames(self) -> Iterator[Frame]:
        for number in range(1, 9):
            yield Frame(number, number / 25 + (self._pause if number > 4 else 0.0), material.image())


class IdSink(Sink):
    """Keeps the identities."""

    def __init__(self) -> None:
        self.ids: list[set[int]] = []

    def write(self, frame: Frame, tracks: Tracks) -> None:
        self.ids.append(set(tracks.ids.tolist()))

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("pause", "same"), [(0.5, True), (2.0, False)])
def test_time_is_that_of_the_frames(tmp_path: Path, weights: Path, pause: float, same: bool) -> None:
    """A track may be lost for a second; and what is saved gives the same tracks."""
    sink, path = IdSink(), tmp_path / "a.npz"
    with (
        PausingSource(pause) as source,
        open_engine(EngineSettings(weights=weights, backend="onnxruntime")) as engine,
        DetectionWriter(path, 25, material.SIZE) as stream,
    ):
        run_pipeline(source, engine, FairMOTTracker(25), [sink], clock=StageClock(), writer=stream)
    assert (sink.ids[0] == sink.ids[-1]) is same
    assert len(sink.ids[-1]) == 2
    boxes = track(read_detection_file(path), FairMOTTracker(25))
    assert [set(boxes.ids[boxes.frames == number].tolist()) for number in range(1, 9)] == sink.ids


@pytest.mark.parametrize(("live", "most"), [(False, 3), (True, 1)])
def test_only_frames_of_a_file_are_taken_ahead(weights: Path, live: bool, most: int) -> None:
    source, sink = BreakingSource(live), ListSink(stop_after=2 if live else 1000)
    with source, EarlyEngine(weights, StageClock()) as engine:
        engine.max_batch = 1
        with contextlib.suppress(SourceError):
            run_pipeline(source, engine, FairMOTTracker(25), [sink], clock=StageClock())
        assert engine.most_in_flight == most


def test_a_sink_can_end_the_loop_while_frames_are_in_flight(weights: Path) -> None:
    sink = ListSink(stop_after=1)
    with BreakingSource() as source, EarlyEngine(weights, StageClock()) as engine:
        engine.max_batch = 1
        assert run_pipeline(source, engine, FairMOTTracker(25), [sink], clock=StageClock())
        assert sink.numbers == [1]
        assert len(engine.detect([Frame(1, 0.0, material.image())])[0]) == 2


def test_batches_give_the_same_tracks(tmp_path: Path, weights: Path) -> None:
    people = [[(4 + number // 4, 5), (20 - number // 4, 9)] for number in range(24)]
    sequence = material.write_sequence(tmp_path / "seq", people)
    texts = []
    for batch in (1, 5):
        with (
            open_source(str(sequence)) as source,
            open_engine(EngineSettings(weights=weights)) as engine,
            JSONLSink(tmp_path / "tracks.jsonl") as sink,
        ):
            engine.max_batch = batch
            run_pipeline(source, engine, FairMOTTracker(25), [sink], clock=StageClock())
        texts.append((tmp_path / "tracks.jsonl").read_text())
    assert texts[0] == texts[1]
    assert texts[0].count('"id": 2') == 24


@pytest.mark.parametrize("pixel_format", ["bgr24", "yuv420p"])
def test_the_camera_is_seen_in_any_pixels(tmp_path: Path, weights: Path, pixel_format: Any) -> None:
    """A camera that turns by 4 pixels a frame over a cluttered wall."""
    moves = []

    class Listener(FairMOTTracker):
        def move(self, transform: Any) -> None:
            moves.append(transform)
            super().move(transform)

    wall = np.random.default_rng(3).integers(0, 120, (16, 48), np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    wall = cv2.GaussianBlur(wall, (5, 5), 0)
    views = [np.repeat(wall[:, 100 - 4 * number : 292 - 4 * number, None], 3, axis=2) for number in range(4)]
    clip = material.write_video(tmp_path / "turn.mp4", map(np.ascontiguousarray, views))
    with (
        open_source(str(clip), pixel_format=pixel_format) as source,
        open_engine(EngineSettings(weights=weights, size=(192, 128))) as engine,
    ):
        run_pipeline(source, engine, Listener(25), [], clock=StageClock(), gmc=OpticalFlowGMC())
    assert len(moves) == 4
    np.testing.assert_array_equal(moves[0], np.eye(2, 3))
    for transform in moves[1:]:
        np.testing.assert_allclose(transform, [[1, 0, 4], [0, 1, 0]], atol=0.5)


def test_a_sink_can_end_the_loop(weights: Path) -> None:
    sink, reported = ListSink(stop_after=2), []
    with BreakingSource() as source, open_engine(EngineSettings(weights=weights)) as engine:
        stopped = run_pipeline(
            source,
            engine,
            FairMOTTracker(25),
            [sink],
            clock=StageClock(),
            report=lambda frame, tracks: reported.append(frame.index),
        )
    assert stopped
    assert sink.numbers == reported == [1, 2]


def test_the_example_of_the_readme(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with (
        open_source("demo?frames=5&size=160x96") as source,
        open_engine(EngineSettings(weights=weights)) as engine,
        VideoSink("out.mp4", source.size, source.frame_rate) as sink,
    ):
        tracker = FairMOTTracker(source.frame_rate)
        for frame in source:
            tracks = tracker.update(engine.detect([frame])[0])
            sink.write(frame, tracks)
    assert material.count_frames(tmp_path / "out.mp4") == 5
