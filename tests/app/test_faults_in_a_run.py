"""Whatever is raised in the middle of a batch: a line, a report, complete results so far, and the next source."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException
from support import material

from fairmot.core import OutputError
from run_track import main

Fault = Callable[[], BaseException]


def onnx_fault() -> BaseException:
    return RuntimeException("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code\nwhile running Conv")


_ENGINE_SENTENCES = {
    MemoryError: r"Memory ran out while ONNX Runtime .* ran the model: lower --size or --batch",
    cv2.error: r"OpenCV failed while the engine ran the model \(no\): start again",
    RuntimeException: r"ONNX Runtime .* failed while the engine ran the model \(.*while running Conv\): start again",
}


def failing(monkeypatch: pytest.MonkeyPatch, target: str, fault: Fault, call: int = 5) -> None:
    """Make the n-th call of a function raise."""
    module, _, path = target.partition(":")
    *parts, attribute = path.split(".")
    owner: Any = import_module(module)
    for part in parts:
        owner = getattr(owner, part)
    real, calls = getattr(owner, attribute), 0

    def fails(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise fault()
        return real(*arguments, **options)

    monkeypatch.setattr(owner, attribute, fails)


@pytest.mark.parametrize(
    ("target", "part"),
    [
        ("onnxruntime:InferenceSession.run", "the network"),
        ("fairmot.tracker.kalman:KalmanFilter.update", "the tracker"),
        ("fairmot.video.sink:JSONLSink._text", "writing the results"),
        ("fairmot.video.video_sink:draw_tracks", "writing the video"),
        ("fairmot.video.images:read_image", "the source"),
    ],
)
@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (lambda: MemoryError(), r"a: memory ran out in ({part}) \(MemoryError\); free some"),
        (onnx_fault, r"a: ({part}) failed \(RuntimeException: .*code while running Conv\); see .*a/run\.json\."),
        (lambda: OSError(errno.EIO, "Input/output error"), r"a: ({part}) failed \(OSError: Input/output error\)"),
        (lambda: cv2.error("no"), r"a: ({part}) failed \(error: no\)"),
        (
            lambda: KeyError("x\x1b[31m"),
            r"a: internal error in ({part}) \(KeyError: .*\); please report it with .*",
        ),
        (lambda: OutputError("It is full."), r"It is full\."),
    ],
)
def test_a_fault_in_the_loop(
    tmp_path: Path,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    target: str,
    part: str,
    fault: Fault,
    sentence: str,
) -> None:
    sources = [material.write_images(tmp_path / name, [material.image()] * 9) for name in ("a", "b")]
    failing(monkeypatch, target, fault, call=3 if "Session" in target else 5)  # the network takes 4 frames at once
    if "Session" in target:  # the engine explains the faults of its libraries itself
        sentence = _ENGINE_SENTENCES.get(type(fault()), sentence)
    explained = sentence in (r"It is full\.", *_ENGINE_SENTENCES.values())
    out = tmp_path / "out"
    assert main([*map(str, sources), "--weights", str(weights), "--output", str(out)]) == 1
    err = capsys.readouterr().err
    material.check_sentence(err, f"error: {sentence.format(part=part)}")
    report = material.read_run(out / "a")
    assert report["status"] == "failed"
    assert f"error: {report['message']}\n" == err
    assert ("traceback" in report) is not explained
    lines = material.read_lines(out / "a")
    assert [line["frame"] for line in lines] == list(range(1, len(lines) + 1))
    if target == "fairmot.video.video_sink:draw_tracks":  # which is noticed some frames later
        assert material.count_frames(out / "a" / "tracked.mp4") == 4 <= report["frames"]
    else:
        assert material.count_frames(out / "a" / "tracked.mp4") == report["frames"] == len(lines) >= 3
    assert material.check_results(out / "b", status="complete") == 9
    assert not list(out.rglob(".*"))


@pytest.mark.parametrize(
    ("target", "part"),
    [
        ("fairmot.video.images:read_image", "the source"),
        ("fairmot.app.scoring:read_ground_truth", "scoring"),
        ("fairmot.app.scoring:read_tracks", "scoring"),
        ("fairmot.app.session:inputs_of", "the program"),
        ("fairmot.app.run_folder:RunFolder.complete_report", "the program"),
        ("fairmot.app.command:expand_sources", "the program"),
    ],
)
@pytest.mark.parametrize("fault", [MemoryError, lambda: RuntimeError("no"), onnx_fault])
def test_a_fault_around_the_loop(
    tmp_path: Path,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    target: str,
    part: str,
    fault: Fault,
) -> None:
    sources = [str(material.write_sequence(tmp_path / name, [material.PEOPLE] * 3)) for name in ("a", "b")]
    failing(monkeypatch, target, fault, call=1)
    out = tmp_path / "out"
    assert main([*sources, "--weights", str(weights), "--output", str(out), "--eval", "--resume"]) == 1
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.startswith(f"error: {sources[0]}: ")
    assert f" in {part} (" in first or f"{part} failed (" in first
    assert all(line.startswith("warning: The combined scores lack 1 of 2") for line in rest)
    assert material.check_results(out / "b", status="complete") == 3
    scores = [path.parent.name for path in out.glob("*/scores.json")]
    assert scores == ["b"]


def test_a_fault_of_the_combined_scores(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = [str(material.write_sequence(tmp_path / name, [material.PEOPLE] * 3)) for name in ("a", "b")]
    failing(monkeypatch, "fairmot.app.command:write_combined", lambda: ZeroDivisionError("no"), call=1)
    assert main([*sources, "--weights", str(weights), "--output", str(tmp_path / "out"), "--eval"]) == 1
    material.check_sentence(capsys.readouterr().err, r"error: Internal error in .* \(ZeroDivisionError: no\)")


def test_a_fault_of_the_model(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, "fairmot.app.command:open_engine", onnx_fault, call=1)
    assert main(["demo", "--weights", str(weights), "--output", str(tmp_path / "out")]) == 1
    material.check_sentence(capsys.readouterr().err, r"error: .* failed \(RuntimeException")


def test_the_traceback_is_in_the_report_without_secrets(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = material.write_clip(tmp_path / "clip.mp4", 9)
    failing(
        monkeypatch,
        "fairmot.tracker.kalman:KalmanFilter.update",
        lambda: TypeError("rtsp://me:secret@host/a?token=secret"),
    )
    common = [str(clip), "--weights", str(weights), "--output", str(tmp_path / "out"), "--no-video"]
    assert main(common) == 1
    assert "Traceback" not in capsys.readouterr().err
    text = (tmp_path / "out" / "clip" / "run.json").read_text()
    assert "secret" not in text
    assert "in track_frames" in json.loads(text)["traceback"]
    # And on the terminal if that is asked for.
    failing(monkeypatch, "fairmot.tracker.kalman:KalmanFilter.update", lambda: TypeError("\x1b[31m"))
    monkeypatch.setenv("FAIRMOT_TRACEBACK", "1")
    assert main(common) == 1
    err = capsys.readouterr().err
    assert "in track_frames" in err
    assert "\x1b" not in err


def test_the_first_fault_is_told_where_closing_fails_too(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = material.write_clip(tmp_path / "clip.mp4", 9)
    failing(monkeypatch, "fairmot.tracker.kalman:KalmanFilter.update", lambda: TypeError("the first"))
    failing(monkeypatch, "fairmot.video.sink:TextSink.close", lambda: OutputError("The second."), call=1)
    assert main([str(clip), "--weights", str(weights), "--output", str(tmp_path / "out")]) == 1
    material.check_sentence(capsys.readouterr().err, "the first")
    assert material.count_frames(tmp_path / "out" / "clip" / "tracked.mp4") == len(
        material.read_lines(tmp_path / "out" / "clip")
    )


def test_a_fault_of_the_source_comes_after_its_frames(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = material.write_images(tmp_path / "a", [np.asarray(material.image())] * 9)
    failing(monkeypatch, "fairmot.video.images:read_image", MemoryError, call=7)  # the first looks at the first image
    assert main([str(folder), "--weights", str(weights), "--output", str(tmp_path / "out")]) == 1
    material.check_sentence(capsys.readouterr().err, "memory ran out in the source")
    assert material.check_results(tmp_path / "out" / "a", status="failed") == 5
