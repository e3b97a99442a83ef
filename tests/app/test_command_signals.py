"""Ctrl-C and SIGTERM half-way, through the real command."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import material
import pytest

from fairmot.tracker.detection_file import read_stream
from run_track import main


@contextmanager
def tracking(folder: Path, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run the command until `folder` holds 20 lines of results."""
    process = subprocess.Popen(material.command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        lines = folder / "tracks.jsonl"
        deadline = time.monotonic() + 30
        while not lines.exists() or lines.read_text().count("\n") < 20:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return material.write_clip(tmp_path_factory.mktemp("clips") / "long.mp4", 6000)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_with_complete_files(
    tmp_path: Path, weights: Path, long_clip: Path, number: signal.Signals
) -> None:
    folder = tmp_path / "long"
    streams = tmp_path / "streams"
    common = ["--weights", weights, "--output", tmp_path, "--save-detections", streams]
    with tracking(folder, long_clip, long_clip, *common) as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    assert process.returncode == 128 + number
    material.check_sentence(err, rf"Stopped by {number.name} after frame \d+; what was tracked is kept")
    count = material.check_results(folder, status="interrupted", least=20)
    assert count < 6000
    assert len(read_stream(streams / "long.npz")) == count
    assert "long: " in out
    assert not (tmp_path / "long-2").exists(), "no further source after a signal"


@contextmanager
def stalling_stream(data: bytes) -> Iterator[tuple[str, threading.Event]]:
    """A live stream that sends `data` and then nothing, until the event closes it."""
    end = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(data)
                end.wait(30)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}", end
        end.set()
        thread.join()


# What pip makes of [project.scripts] does the same.
SCRIPT = "import sys; from fairmot.__main__ import run; sys.exit(run())"
ENTRIES = {
    "run_track.py": [str(material.ROOT / "run_track.py")],
    "python -m fairmot": ["-m", "fairmot", "track"],
    "fairmot": ["-c", SCRIPT, "track"],
}


def test_the_script_is_what_is_tested() -> None:
    assert 'fairmot = "fairmot.__main__:run"' in (material.ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize(
    ("entry", "stopped_by"), [*((entry, "Ctrl-C") for entry in ENTRIES), ("run_track.py", "its end")]
)
def test_a_live_stream_that_stops_sending(tmp_path: Path, weights: Path, entry: str, stopped_by: str) -> None:
    data = material.write_clip(tmp_path / "stream.ts", 500).read_bytes()
    with stalling_stream(data) as (url, end):
        process = subprocess.Popen(
            [sys.executable, *ENTRIES[entry], url, "--weights", str(weights), "--output", str(tmp_path / "out")],
            cwd=material.ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        folder = tmp_path / "out" / "127.0.0.1"
        sizes = [0]
        while sizes[-1] == 0 or sizes[-1] != sizes[-2]:  # until nothing more comes
            assert process.poll() is None, process.communicate()
            time.sleep(0.3)
            lines = folder / "tracks.jsonl"
            sizes.append(lines.stat().st_size if lines.exists() else 0)
        began = time.monotonic()
        if stopped_by == "Ctrl-C":
            process.send_signal(signal.SIGINT)
        else:
            end.set()
        _, err = process.communicate(timeout=20)
        assert time.monotonic() - began < 4, "a stream that is silent must not hold up the end"
    if stopped_by == "Ctrl-C":
        assert process.returncode == 130
        material.check_results(folder, status="interrupted")
    else:
        assert process.returncode == 1
        material.check_sentence(err, r"The stream tcp://127\.0\.0\.1:\d+ ended after frame \d+")
        material.check_results(folder, status="damaged")


def test_a_live_stream_has_no_half(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = material.write_clip(tmp_path / "stream.ts", 100).read_bytes()
    with stalling_stream(data) as (url, _):
        assert main([url, "--weights", str(weights), "--output", str(tmp_path / "out"), "--split", "val-half"]) == 1
    material.check_sentence(capsys.readouterr().err, r"The length of 127\.0\.0\.1 is not known, so it has no half")


@pytest.mark.parametrize("phase", ["ended_by_signals()", "StopSignals(lambda: None)"])
def test_a_signal_kills_where_nothing_can_be_saved(phase: str) -> None:
    """Before the loop the first signal, inside it the second one, also while a library call blocks."""
    program = (
        f"import time\nfrom core.signals import *\nwith {phase}:\n    print('in', flush=True)\n    time.sleep(20)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=material.ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    signals = 1 if phase.startswith("ended") else 2
    for _ in range(signals):
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
    assert process.wait(timeout=5) == -signal.SIGINT
    process.stdout.close()
