"""Several sources at the same time, in worker processes: the same results, and errors that harm no other source."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support import blob_network, material
from support.commands import track as main
from support.processes import children, decoder_threads_of, tracking, wait_until_ended

from fairmot.app.job_plan import JobPlan
from fairmot.app.jobs import _Jobs, _Worker
from fairmot.app.options import Options
from fairmot.app.terminal import ManyProgress, Terminal
from fairmot.core.cores import usable_cores
from fairmot.core.processes import WorkerProcess
from fairmot.engine import EngineSettings

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc"),
]

TIMES = {"started", "wall_seconds", "frames_per_second", "milliseconds"}


def results(output: Path) -> dict[str, Any]:
    """Return the content of all files of a run but for times and what `--jobs` is meant to change."""
    found: dict[str, Any] = {}
    for path in sorted(output.rglob("*")):
        name = path.relative_to(output).as_posix()
        if path.name == "run.json":
            run = {key: value for key, value in json.loads(path.read_text()).items() if key not in TIMES}
            del (
                run["configuration"]["jobs"],
                run["configuration"]["pipeline"],
                run["configuration"]["output"],
                run["engine"]["reason"],
            )
            found[name] = run
        elif path.suffix == ".mp4":
            found[name] = material.count_frames(path)  # the frames show how fast they were tracked
        elif path.is_file():
            found[name] = path.read_bytes()
    return found


def test_the_results_are_those_of_one_after_the_other(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    walks = [[material.PEOPLE] * 40, [[(6, 5)]] * 20]
    same_name = [
        material.write_sequence(tmp_path / name / "walk", walk) for name, walk in zip("xy", walks, strict=True)
    ]
    (tmp_path / "broken.mp4").write_text("no video")
    sources = [same_name[0], tmp_path / "broken.mp4", same_name[1], tmp_path / "no*.mp4"]
    printed = []
    for jobs in (1, 2):
        arguments = [*sources, "--weights", weights, "--eval", "--jobs", jobs, "--output", tmp_path / f"out{jobs}"]
        assert main(list(map(str, arguments))) == 1
        printed.append(capsys.readouterr())
    assert results(tmp_path / "out1") == results(tmp_path / "out2")
    assert material.read_run(tmp_path / "out2" / "walk")["frames"] == 40
    assert material.check_results(tmp_path / "out2" / "walk-2", status="complete") == 20
    assert sorted(printed[0].err.splitlines()) == sorted(printed[1].err.splitlines())
    assert printed[1].err.count("error: ") == 2
    *lines, last = printed[1].out.splitlines()
    assert re.fullmatch(r"3 sources \(1 failed\): 60 frames in .* s, .* frames/s in sum, 2 processes", last)
    tables = [out[out.index("scores (") :] for out in (printed[0].out, "\n".join([*lines, ""]))]
    assert tables[0] == tables[1]
    assert sum("on the CPU with" in line for line in lines) == 1, "once, not for each worker"


def test_the_order_in_which_folders_are_claimed() -> None:
    """Files in their order; live sources before them, and not after one of another name that does not answer."""
    specs = ["a.mp4", "rtsp://one/cam", "b.mp4", "rtsp://two/other", "rtsp://three/cam-2", "rtsp://four/Cam"]
    plan = JobPlan(EngineSettings(), frozenset({1, 3, 4, 5}), files=2)
    jobs = _Jobs(Options(tuple(specs)), specs, plan, Terminal(), ManyProgress(None))
    assert [source.spec for source in jobs._allowed()] == [*specs[1::2][:2], *specs[4:], "a.mp4", "b.mp4"]
    a, cam, b, other, cam_2, upper_case = jobs._sources
    assert not jobs._must_wait(a), "no live source before it can have its name"
    assert jobs._must_wait(b)
    assert [jobs._must_wait(each) for each in (cam, other, cam_2, upper_case)] == [False, False, True, True]
    cam.folder = Path("output/cam")
    assert [jobs._must_wait(each) for each in (cam_2, upper_case)] == [False, True]
    cam_2.is_settled = True
    assert not jobs._must_wait(upper_case)
    other.name = "A"
    assert jobs._must_wait(a)
    other.is_settled = True
    assert [jobs._must_wait(each) for each in (a, b)] == [False, True]


def test_live_sources_begin_together_and_files_at_once() -> None:
    specs = ["udp://:1", "a.mp4", "udp://:2"]
    jobs = _Jobs(
        Options(tuple(specs)), specs, JobPlan(EngineSettings(), frozenset({0, 2})), Terminal(), ManyProgress(None)
    )
    jobs._workers = [_Worker(WorkerProcess("support.workers:answer"), None) for _ in specs]
    jobs._workers[0].state = jobs._workers[1].state = "ready"
    jobs._hand_out()
    assert [worker.source and worker.source.spec for worker in jobs._workers] == ["a.mp4", None, None]
    jobs._workers[2].state = "ready"
    jobs._hand_out()
    assert [worker.source and worker.source.spec for worker in jobs._workers] == ["a.mp4", *specs[::2]]
    assert jobs._workers[2].process.channel.receive()[2:] == ("track", "udp://:2")
    jobs._workers[0].source, jobs._workers[1].state = None, "opening"  # as after a crash
    jobs._waiting.append(jobs._sources[0])
    jobs._hand_out()
    assert jobs._workers[0].source is jobs._sources[0]
    for worker in jobs._workers:
        worker.process.interrupt(signal.SIGKILL)
        worker.process.end()


def test_gpus_that_are_asked_for_and_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if any(Path("/dev").glob("nvidia[0-9]*")):
        pytest.skip("this machine has one")
    assert main(["demo", "demo", "--gpus", "all", "--output", str(tmp_path)]) == 2
    material.check_sentence(capsys.readouterr().err, r"error: --gpus needs an NVIDIA GPU, and the driver finds none")


def test_an_engine_that_cannot_be_opened_is_one_error(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = blob_network.save(tmp_path / "wrong.onnx", blob_network.build(cell=8))
    clips = [str(material.write_clip(tmp_path / name)) for name in ("a.mp4", "b.mp4")]
    assert main([*clips, "--weights", str(wrong), "--jobs", "2", "--output", str(tmp_path / "out")]) == 1
    material.check_sentence(capsys.readouterr().err, r"error: .*wrong\.onnx.*stride of 4")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return material.write_clip(tmp_path_factory.mktemp("clips") / "long.mp4", 6000)


def wait_for(path: Path, lines: int) -> None:
    """Wait until a file has so many lines."""
    end = time.monotonic() + 20
    while not path.exists() or path.read_text().count("\n") < lines:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_killed_worker_and_a_signal(tmp_path: Path, weights: Path, long_clip: Path) -> None:
    arguments = ["--weights", weights, "--output", tmp_path / "out", "--jobs", 2, "--csv"]
    with tracking(material.command(*[long_clip] * 4, *arguments), tmp_path / "out", lines=20) as process:
        folders = [tmp_path / "out" / name for name in ("long", "long-2", "long-3")]
        wait_for(folders[1] / "tracks.jsonl", 20)
        killed, other = children(process.pid)
        os.kill(killed, signal.SIGKILL)
        wait_for(folders[2] / "tracks.jsonl", 20)  # by a new worker
        workers = children(process.pid)
        assert other in workers
        assert len(workers) == 2
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=10)
        assert time.monotonic() - began < 5
    assert process.returncode == 143
    reports = [material.read_run(folder) for folder in folders]
    (failed,) = (report for report in reports if report["status"] == "failed")
    folder = folders[reports.index(failed)]
    sentence = f"{long_clip.stem}: its process was killed by SIGKILL; what was tracked is kept in {folder}."
    assert failed["message"] == sentence
    assert err.splitlines().count(f"error: {sentence}") == 1
    assert failed["frames"] == failed["last_frame"] == len(material.read_lines(folder)) >= 1
    assert len(re.findall(r"^warning: Stopped by SIGTERM after frame \d+; what", err, re.MULTILINE)) == 2
    for each in folders:
        if each != folder:
            material.check_results(each, status="interrupted")
        assert not list(each.glob(".*"))
    assert re.search(r"^4 sources \(1 failed, 3 unfinished\): ", out, re.MULTILINE)
    wait_until_ended(workers)


def test_a_killed_parent_leaves_no_worker(tmp_path: Path, weights: Path, long_clip: Path) -> None:
    arguments = ["--weights", weights, "--output", tmp_path, "--jobs", 2]
    with tracking(material.command(long_clip, long_clip, *arguments), tmp_path, lines=20) as process:
        wait_for(tmp_path / "long-2" / "tracks.jsonl", 20)
        workers = children(process.pid)
        assert len(workers) == 2
        share = max(1, usable_cores() // 2)
        assert [decoder_threads_of(pid) for pid in workers] == [share if share > 1 else 0] * 2
        process.kill()
        wait_until_ended(workers)
    for name in ("long", "long-2"):
        material.check_results(tmp_path / name, status="interrupted")


@contextmanager
def live_stream(packets: list[bytes], end_after: float = 60.0) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A live stream at its own pace in a process of its own, which ends after some seconds."""
    program = (
        "import socket, sys, time\n"
        "server = socket.create_server(('127.0.0.1', 0)); print(server.getsockname()[1], flush=True)\n"
        "data = sys.stdin.buffer.read(); connection, _ = server.accept(); began = time.monotonic()\n"
        "size = len(data) // 250 // 188 * 188\n"
        f"while (passed := time.monotonic() - began) < {end_after}:\n"
        "    connection.sendall(data[:size]); data = data[size:]; time.sleep(0.02)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    url = f"tcp://127.0.0.1:{process.stdout.readline().decode().strip()}"
    process.stdin.write(b"".join(packets))
    process.stdin.close()
    try:
        yield url, process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_live_sources_run_at_once_and_one_that_ends_harms_no_other(tmp_path: Path, weights: Path) -> None:
    data = [material.write_clip(tmp_path / "stream.ts", 1500).read_bytes()]
    with live_stream(data) as (first, _), live_stream(data, 0.7) as (ends, _), live_stream(data) as (last, _):
        line = material.command(first, ends, last, "--weights", weights, "--output", tmp_path / "out")
        with tracking(line, tmp_path / "out", lines=5) as process:
            folders = [tmp_path / "out" / name for name in ("127.0.0.1", "127.0.0.1-2", "127.0.0.1-3")]
            for folder in folders:
                wait_for(folder / "tracks.jsonl", 5)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=10)
    assert process.returncode == 130
    statuses = [material.read_run(folder)["status"] for folder in folders]
    assert statuses[::2] == ["interrupted", "interrupted"]
    for folder, status in zip(folders, statuses, strict=True):
        material.check_results(folder, status=status)
        report = material.read_run(folder)
        assert 0 < report["latency_ms"]["median"] <= report["latency_ms"]["p95"] < 5000
        assert report["dropped"] == report["last_frame"] - report["first_frame"] + 1 - report["frames"] >= 0
