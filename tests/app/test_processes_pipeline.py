"""One stream in processes: the same results as in threads, and an end without a hang or an orphan whatever happens."""

from __future__ import annotations

import errno
import os
import resource
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from support import material
from support.processes import has_ended, tracking, workers_of

from fairmot.app.options import Options
from fairmot.app.run import _Tally
from fairmot.app.stages import shared_frames, uses_processes
from fairmot.app.tracking_process import TrackingProcess
from fairmot.core import ConfigError
from fairmot.core.processes import CAN_SHARE_MEMORY
from fairmot.engine.onnxruntime import OnnxRuntimeEngine
from fairmot.tracker.detection_file import read_detection_file
from fairmot.video import open_source
from fairmot.video.decoder_process import DecoderProcess
from fairmot.video.video_process import VideoProcess
from run_track import main

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not CAN_SHARE_MEMORY, reason="there is no memory that processes share without a name"),
]

FRAMES = 200  # far more than the ring holds


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people who walk to the right."""
    folder = tmp_path_factory.mktemp("clips")
    images = [
        material.image([(row + number // 40, column) for row, column in material.PEOPLE]) for number in range(FRAMES)
    ]
    return material.write_video(folder / "clip.mp4", images)


class Ahead(OnnxRuntimeEngine):
    """What the choice looks at in an engine."""

    max_batch = 4

    def __init__(self, prefetch_batches: int) -> None:
        self.prefetch_batches = prefetch_batches


def track(source: object, out: Path, weights: Path, *options: object, pipeline: str = "processes") -> int:
    arguments = [source, "--weights", weights, "--output", out, "--pipeline", pipeline, *options]
    code = main(list(map(str, arguments)))
    assert not workers_of(os.getpid()), "no worker outlives its run"
    return code


def at_frame(number: int, do: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Do something when a frame is counted, which its tracks have been written for."""
    real = _Tally.add

    def add(self: Any, frame: Any, tracks: Any) -> None:
        real(self, frame, tracks)
        if frame.index == number:
            do()

    monkeypatch.setattr(_Tally, "add", add)


def times_of(video: Path) -> list[Any]:
    with av.open(str(video)) as container:
        return [frame.time for frame in container.decode(video=0)]


def packets_of(video: Path) -> list[Any]:
    with av.open(str(video)) as container:
        return [(packet.stream_index, packet.pts, bytes(packet)) for packet in container.demux()]


@pytest.mark.parametrize(
    ("source", "options", "count"),
    [
        ("clip", ["--start", 3, "--stride", 2, "--frames", 60, "--overlay", "subtitles", "--interpolate"], 60),
        ("clip", ["--frames", 5, "--gmc"], 5),
        ("demo?size=320x192&people=4&frames=10", ["--eval", "--classes", "blob"], 10),
    ],
)
def test_results_are_those_of_threads(
    tmp_path: Path, weights: Path, clip: Path, source: str, options: list[object], count: int
) -> None:
    spec, name = (clip, "clip") if source == "clip" else (source, "demo")
    videos = {}
    for pipeline in ("threads", "processes"):
        out = tmp_path / pipeline
        found = out / "found.npz"
        assert track(spec, out, weights, "--csv", "--save-detections", found, *options, pipeline=pipeline) == 0
        # The rate in the corner of each drawn frame differs from run to run.
        copy = out / name / "tracked.mkv"
        videos[pipeline] = packets_of(copy) if copy.exists() else times_of(out / name / "tracked.mp4")
    assert len(videos["threads"]) >= count
    assert videos["threads"] == videos["processes"]
    one, other = (tmp_path / pipeline / name for pipeline in ("threads", "processes"))
    names = {"tracks.txt", "tracks.jsonl", "tracks.csv", "scores.json"} & {path.name for path in one.iterdir()}
    assert len(names) == 3 + ("--eval" in options)
    for each in names:
        assert (one / each).read_bytes() == (other / each).read_bytes()
    reports = list(map(material.read_run, (one, other)))
    assert [report["frames"] for report in reports] == [count] * 2
    assert reports[0]["identities"] == reports[1]["identities"] == (2 if source == "clip" else 0)
    assert {"read", "track", "write", "exchange"} - reports[1]["milliseconds"].keys() == (
        {"exchange"} if "--gmc" in options else set()
    )
    with np.load(one.parent / "found.npz") as expected, np.load(other.parent / "found.npz") as found:
        assert {key: expected[key].tobytes() for key in expected} == {key: found[key].tobytes() for key in found}


@pytest.mark.parametrize(
    ("worker", "sentence"),
    [
        ("decode", r"The process that reads clip was killed by SIGKILL; .* --pipeline threads"),
        ("associate", r"clip: the process that tracks was killed by SIGKILL; .* --pipeline threads"),
        ("write_video", r"clip/tracked\.mp4: the process that writes the video was killed by SIGKILL; .* --no-video"),
    ],
)
def test_a_worker_that_is_killed(
    tmp_path: Path,
    weights: Path,
    clip: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    worker: str,
    sentence: str,
) -> None:
    at_frame(5, lambda: os.kill(workers_of(os.getpid())[worker], signal.SIGKILL), monkeypatch)
    assert track(clip, tmp_path, weights) == 1
    material.check_sentence(capsys.readouterr().err, f"error: .*{sentence}")
    lines = material.read_lines(tmp_path / "clip")
    assert [line["frame"] for line in lines] == list(range(1, len(lines) + 1))
    report = material.read_run(tmp_path / "clip")
    assert report["status"] == "failed"
    assert 5 <= report["frames"] <= len(lines) < FRAMES
    if worker != "associate":  # which may have written frames without saying so
        assert report["frames"] == len(lines)
    if worker != "write_video":
        assert material.count_frames(tmp_path / "clip" / "tracked.mp4") == report["frames"]


def fill_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a file of text, that with the longest lines, not grow any more."""
    real = TrackingProcess.open

    def opened(self: Any, plan: Any) -> None:
        real(self, plan)
        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.prlimit(self._worker.pid, resource.RLIMIT_FSIZE, (5000, most))

    monkeypatch.setattr(TrackingProcess, "open", opened)


def lose_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a frame have no time, which no sink of text expects."""
    real = DecoderProcess.__next__
    monkeypatch.setattr(
        *(DecoderProcess, "__next__"),
        lambda self: replace(frame, timestamp=None) if (frame := real(self)).index == 22 else frame,  # type: ignore[arg-type]
    )


def change_embeddings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a frame have embeddings that the tracker does not accept."""
    real = OnnxRuntimeEngine.detect

    def detect(self: Any, frames: Any) -> Any:
        return [
            replace(found, embeddings=found.embeddings[:, 1:]) if frame.index == 22 else found
            for frame, found in zip(frames, real(self, frames), strict=True)
        ]

    monkeypatch.setattr(OnnxRuntimeEngine, "detect", detect)


def press_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a sink ask to stop."""
    at_frame(22, lambda: monkeypatch.setattr(VideoProcess, "stop_requested", True), monkeypatch)


@pytest.mark.parametrize(
    ("cause", "sentence"),
    [
        (fill_disk, r"tracks\.jsonl cannot be written \(file too large\)"),
        (lose_time, r"clip: internal error in tracking or writing the results \(TypeError: .*/run\.json"),
        (change_embeddings, r"error: .*embedding"),
        (press_key, None),
    ],
)
def test_a_run_that_breaks_off(
    tmp_path: Path,
    weights: Path,
    clip: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    cause: Callable[[pytest.MonkeyPatch], None],
    sentence: str | None,
) -> None:
    cause(monkeypatch)
    began = time.monotonic()
    code = track(clip, tmp_path, weights)
    assert time.monotonic() - began < 8
    err, report = capsys.readouterr().err, material.read_run(tmp_path / "clip")
    if sentence is None:
        assert (code, err, report["status"]) == (0, "", "stopped")
        assert 22 <= report["frames"] < FRAMES, "the frames in flight are finished"
    else:
        assert (code, report["status"]) == (1, "failed")
        material.check_sentence(err, sentence)
        assert report["frames"] == 21 or (cause is fill_disk and 5 <= report["frames"] < FRAMES // 2)
        assert ("video/sink.py" in report.get("traceback", "")) == (cause is lose_time)
    assert len(material.read_lines(tmp_path / "clip")) == report["frames"]
    assert material.count_frames(tmp_path / "clip" / "tracked.mp4") == report["frames"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_signal_ends_all_processes(tmp_path: Path, weights: Path, number: signal.Signals) -> None:
    arguments = ["demo?frames=5000&size=320x192", "--weights", weights, "--output", tmp_path, "--pipeline", "processes"]
    found = tmp_path / "found.npz"
    with tracking(material.command(*arguments, "--save-detections", found), tmp_path, lines=20) as process:
        workers = workers_of(process.pid)
        assert workers.keys() == {"decode", "associate", "write_video"}
        process.send_signal(number)
        _, err = process.communicate(timeout=10)
    assert all(map(has_ended, workers.values()))
    lines = material.read_lines(tmp_path / "demo")
    assert [line["frame"] for line in lines] == list(range(1, len(lines) + 1))
    assert read_detection_file(found).frames.max() == len(lines), "all that was sent is tracked and written"
    if number == signal.SIGKILL:
        # The worker has still finished the video of what it got: the tracks of some frames were on the way.
        assert 0 <= len(lines) - material.count_frames(tmp_path / "demo" / "tracked.mp4") <= 20
    else:
        assert process.returncode == 128 + number
        material.check_sentence(err, rf"Stopped by {number.name} after frame {len(lines)}; what was tracked is kept")
        material.check_results(tmp_path / "demo", status="interrupted", least=20)


@pytest.mark.parametrize(
    ("pipeline", "spec", "prefetch_batches", "expected"),
    [
        ("auto", "demo?frames=401", 2, True),
        ("auto", "demo?frames=400", 2, False),  # short
        ("auto", "demo?frames=401", 0, False),  # an engine that does not work ahead
        ("auto", "file://{clip}", 2, False),
        ("processes", "file://{clip}", 2, False),
        ("processes", "demo?frames=1", 0, True),
        ("threads", "demo?frames=401", 2, False),
    ],
)
def test_the_choice(clip: Path, pipeline: Any, spec: str, prefetch_batches: int, expected: bool) -> None:
    engine = Ahead(prefetch_batches)
    options = Options(("any",), pipeline=pipeline)
    with open_source(spec.format(clip=clip)) as source:
        assert uses_processes(options, source, engine) == expected
        source.is_live = True
        assert not uses_processes(options, source, engine), "a camera or stream has a thread"


def test_a_system_that_refuses(clip: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(name: str) -> int:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "memfd_create", refuse)
    with ExitStack() as stack, open_source("demo?frames=401&size=64x64&people=1") as source:
        assert shared_frames(stack, Options(("any",)), source, Ahead(2)) is None
        assert "demo is read by a thread" in caplog.text
        assert "(operation not permitted)" in caplog.text
        assert next(source).index == 1
        with pytest.raises(PermissionError):
            shared_frames(stack, Options(("any",), pipeline="processes"), source, Ahead(2))


def test_systems_without_such_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairmot.app.options.CAN_SHARE_MEMORY", False)
    with pytest.raises(ConfigError, match=r"pipeline \(processes\) needs memory that only Linux shares"):
        Options(("clip.mp4",), pipeline="processes")
