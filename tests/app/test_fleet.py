"""A fleet: many videos over the machines of a Ray cluster."""

from __future__ import annotations

import glob
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from support import material
from support.commands import options_of, track

pytest.importorskip("ray")
fsspec: Any = pytest.importorskip("fsspec")

from benchmarks.fleet_check import differences, read_summary, run_and_kill  # noqa: E402
from fairmot.app.fleet.inputs import Video, find_videos  # noqa: E402
from fairmot.app.fleet.transfer import Output  # noqa: E402
from fairmot.app.fleet.worker import Task, Worker, remove_scratch  # noqa: E402
from fairmot.app.run_folder import RUN  # noqa: E402
from fairmot.cli.main import main  # noqa: E402
from fairmot.core import ConfigError, OutputError  # noqa: E402
from fairmot.core.locks import Lock  # noqa: E402

fleet = partial(lambda *words: main(["fleet", *map(str, words)]))


def names_of(inputs: list[str]) -> tuple[list[str], list[str]]:
    """Return the locations that inputs stand for, and the errors."""
    errors: list[str] = []
    return [video.location for video in find_videos(inputs, lambda error: errors.append(str(error)))], errors


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with files that nobody opens."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.mp4", "b.mp4", "c [1].mp4"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "list.txt").write_text("# two videos\nb.mp4\n\n  a.mp4 \n")
    return tmp_path


@pytest.fixture
def memory() -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    for name in ("x.mp4", "y.mp4", "y.json", "deep/z.mp4"):
        system.pipe_file(f"/videos/{name}", name.encode())
    yield system
    for path in system.ls("/", detail=False):
        system.rm(path, recursive=True)


@pytest.fixture
def web(folder: Path) -> Iterator[str]:
    """Serve the folder; yields the address."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            pass

        def end_headers(self) -> None:
            self.send_header("ETag", '"first"')
            super().end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("inputs", "found"),
    [
        (["b.mp4", "a.mp4"], ["b.mp4", "a.mp4"]),
        (["*.mp4"], ["a.mp4", "b.mp4", "c [1].mp4"]),
        (["b.mp4", "[ab].mp4"], ["b.mp4", "a.mp4"]),
        (["@list.txt"], ["b.mp4", "a.mp4"]),
        (["list.txt", "c [1].mp4"], ["b.mp4", "a.mp4", "c [1].mp4"]),
        (["file://{folder}/*.mp4"], ["a.mp4", "b.mp4", "c [1].mp4"]),
        (["demo?people=3"], ["demo?people=3"]),
    ],
)
def test_local_inputs(folder: Path, inputs: list[str], found: list[str]) -> None:
    locations, errors = names_of([each.format(folder=folder) for each in inputs])
    assert [each.removeprefix(f"{folder}/") for each in locations] == found
    assert not errors


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("memory://videos/*.mp4", ["x", "y"]),
        ("memory://videos/**/*.mp4", ["x", "y", "z"]),
        ("memory://videos/y.mp4", ["y"]),
    ],
)
def test_inputs_of_other_file_systems(memory: Any, given: str, found: list[str]) -> None:
    videos = find_videos([given], pytest.fail)
    assert sorted(video.name for video in videos) == found
    assert all(video.is_remote and video.size == len(memory.cat_file(video.source)) for video in videos)


def test_inputs_of_the_web(web: str) -> None:
    (first,) = find_videos([f"{web}/a.mp4?token=secret"], pytest.fail)
    assert (first.location, first.name, first.size) == (f"{web}/a.mp4", "a", 5)
    assert first.version == '"first"'
    assert [video.name for video in find_videos([f"{web}/*.mp4"], pytest.fail)][:2] == ["a", "b"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nothing.mp4", "There is no file or folder nothing.mp4"),
        ("*.avi", "Nothing matches *.avi"),
        ("@no.txt", "The list no.txt cannot be read (nothing is there)"),
        ("memory://videos/no.mp4", "memory://videos/no.mp4 cannot be read (nothing is there)"),
        ("memory://videos", "memory://videos names no files"),
        ("rtsp://user:secret@camera/1", "rtsp://camera/1 is live"),
        ("0", "0 is live"),
        ("/dev/null", "/dev/null is a device"),
        ("nosuch://a/b.mp4", "nosuch://a/b.mp4 cannot be reached (Protocol not known: nosuch)"),
        ("{web}/no.mp4", "/no.mp4 cannot be read (nothing is there)"),
    ],
)
def test_inputs_that_are_none(folder: Path, memory: Any, web: str, given: str, message: str) -> None:
    found, errors = names_of([given.format(web=web), "a.mp4"])
    assert found == [str(folder / "a.mp4")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "secret" not in errors[0]


def a_video(location: str, name: str) -> Video:
    return Video(location, location, name, 1, "1")


@pytest.mark.parametrize("kind", ["folder", "memory"])
def test_names_are_unique_and_stable(kind: str, tmp_path: Path, memory: Any) -> None:
    uri = str(tmp_path / "out") if kind == "folder" else "memory://out"
    one, other, third = a_video("/one/a.mp4", "a"), a_video("/other/A.mp4", "A"), a_video("/one/b.mp4", "b")
    assert Output(uri).names([one, third])[0] == ["a", "b"]
    both = Output(uri).names([one, other, third])[0]
    assert [name[:2] for name in both] == ["a-", "A-", "b"]
    assert Output(uri).names([third, other, one])[0] == both[::-1]

    system, path = fsspec.url_to_fs(uri)
    system.makedirs(f"{path}/b", exist_ok=True)
    system.pipe_file(f"{path}/b/video.mp4", b"not a result")
    system.makedirs(f"{path}/a", exist_ok=True)
    system.pipe_file(f"{path}/a/{RUN}", json.dumps({"location": one.location}).encode())
    names, runs = Output(uri).names([one, other, third])
    assert names == ["a", both[1], f"b-{names[2][2:]}"]  # the results of the first stay where they are
    assert runs["a"] == {"location": one.location}
    assert Output(uri).names([a_video("/elsewhere/a.mp4", "a")])[0][0].startswith("a-")


@pytest.mark.parametrize("kind", ["folder", "memory"])
def test_results_appear_whole(kind: str, tmp_path: Path, memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt that breaks off leaves the earlier results, or nothing that says that it is complete."""
    uri = str(tmp_path / "out") if kind == "folder" else "memory://out"
    system, path = fsspec.url_to_fs(uri)
    for number, files in enumerate(({"tracks.txt", "tracked.mp4"}, {"tracks.txt"})):
        made = tmp_path / f"made{number}"
        made.mkdir()
        for name in files:
            (made / name).write_text(str(number))
        (made / RUN).write_text(json.dumps({"status": "complete", "number": number}))
    system.makedirs(path, exist_ok=True)
    Output(uri).publish(tmp_path / "made0", "a", "first")

    def broken(*arguments: Any) -> None:
        raise OSError(5, "the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr("shutil.copytree", broken)
        patch.setattr(type(memory), "put_file", broken)
        with pytest.raises(OutputError, match=r"cannot be written \(.*the disk is gone\)"):
            Output(uri).publish(tmp_path / "made1", "a", "second")
    left = json.loads(system.cat_file(f"{path}/a/{RUN}"))
    assert (left["status"], left["number"]) == (("complete", 0) if kind == "folder" else ("running", 1))
    Output(uri).publish(tmp_path / "made1", "a", "third")
    assert {name.rpartition("/")[2] for name in system.find(path)} == {"tracks.txt", RUN}
    assert json.loads(system.cat_file(f"{path}/a/{RUN}"))["number"] == 1


def test_what_a_killed_worker_left_is_removed(tmp_path: Path) -> None:
    for name in (".a.0123.part", ".a.0123-old.part", ".other.0123.part"):
        (tmp_path / name).mkdir()
    Output(str(tmp_path)).clean(["a"])
    assert [path.name for path in tmp_path.iterdir()] == [".other.0123.part"]


def test_a_worker_tracks_from_and_to_another_file_system(tmp_path: Path, weights: Path, memory: Any) -> None:
    clip = material.write_clip(tmp_path / "clip.mp4", 20)
    memory.pipe_file("/videos/clip.mp4", clip.read_bytes())
    memory.pipe_file("/videos/damaged.mp4", clip.read_bytes()[:100])
    words = ["memory://videos/*.mp4", "--weights", str(weights), "--no-video", "--output", "memory://out"]
    assert track([str(clip), *words[1:4], "--output", str(tmp_path)]) == 0
    videos = {video.name: video for video in find_videos(words[:1], pytest.fail)}
    worker = Worker(options_of("fleet", words).tracking(), "memory://out", "test", weights.read_bytes())
    try:
        assert worker.ready().engine.startswith("onnxruntime")
        result = worker.track(Task(videos["clip"], "clip", "1"))
        assert (result.status, result.frames, result.message) == ("complete", 20, None)
        failed = worker.track(Task(videos["damaged"], "damaged", "2"))
    finally:
        remove_scratch("test")
    assert (failed.status, failed.broke_off) == ("failed", False)
    assert failed.message is not None
    assert failed.message.startswith("memory:///videos/damaged.mp4 is not a video that can be read")
    assert not memory.exists("/out/damaged")
    for name in ("tracks.txt", "tracks.jsonl"):
        assert memory.cat_file(f"/out/clip/{name}") == (tmp_path / "clip" / name).read_bytes()
    run = json.loads(memory.cat_file(f"/out/clip/{RUN}"))
    assert run["location"] == run["fleet"]["location"] == "memory:///videos/clip.mp4"
    assert run["model"]["path"] == run["configuration"]["weights"] == str(weights)


def test_a_worker_without_an_engine_says_why(weights: Path) -> None:
    options = options_of("fleet", ["x", "--weights", str(weights), "--size", "96x63"]).tracking()
    try:
        error = Worker(options, "memory://out", "test", weights.read_bytes()).ready().error
    finally:
        remove_scratch("test")
    assert error is not None
    assert "96x63" in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--workers-per-gpu", "0"], "workers_per_gpu must be at least 1"),
        (["--cpus-per-worker", "0"], "cpus_per_worker must be at least 1"),
        (["--eval"], 'The option "eval" is unknown'),
        (["--show"], 'The option "show" is unknown'),
        (["--output", ""], "output must name a folder or a URI"),
    ],
)
def test_options_that_are_none(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        options_of("fleet", ["a.mp4", *words])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--output", "nosuch://x"], "nosuch://x cannot be reached (Protocol not known: nosuch)"),
        (["--output", "{folder}/a.mp4/x"], "a.mp4/x cannot be written (not a directory)"),
        (["--output", "{web}/x"], "/x cannot be written ("),
        (["--address", "127.0.0.1:1"], "The Ray cluster 127.0.0.1:1 cannot be joined ([Errno 111] Connection refused)"),
        (["--address", "ray://127.0.0.1:1"], "The Ray cluster ray://127.0.0.1:1 cannot be joined"),
        (["--weights", "no.onnx"], "There is no model file no.onnx"),
        (["--classes", "cat"], 'The model has no class "cat"'),
    ],
)
def test_what_keeps_a_fleet_from_starting(
    words: list[str], message: str, folder: Path, web: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fleet("a.mp4", *(word.format(folder=folder, web=web) for word in words)) in (1, 2)
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_only_one_fleet_writes_to_a_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = Lock(folder / ".fleet.lock")
    assert lock.acquire()
    assert fleet("a.mp4", "--output", folder) == 1
    lock.release()
    assert "Another fleet writes to" in capsys.readouterr().err


@contextmanager
def killing(name: str) -> Iterator[None]:
    """Kill every worker that tracks the video of this name."""
    ended = threading.Event()

    def kill() -> None:
        while not ended.wait(0.05):
            for opened in glob.iglob("/proc/[0-9]*/fd/*"):
                with suppress(OSError):
                    if os.readlink(opened).endswith(f"/results/{name}/tracks.txt"):
                        os.kill(int(opened.split("/")[2]), signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_a_fleet_that_loses_a_node_is_complete_and_equal_to_a_plain_run(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One clip is damaged, and one kills every worker that tracks it."""
    clips = [str(material.write_clip(tmp_path / f"c{number}.mp4", 500 + 10 * number)) for number in range(5)]
    names, output = [Path(clip).stem for clip in clips], tmp_path / "fleet"
    options = ["--weights", str(weights), "--no-video"]
    assert track([*clips, *options, "--output", str(tmp_path / "plain")]) == 0
    deadly, damaged = tmp_path / "deadly.mp4", tmp_path / "damaged.mp4"
    material.write_clip(deadly, 3000)
    damaged.write_bytes(deadly.read_bytes()[:1000])
    with killing("deadly"):
        outcome = run_and_kill([str(deadly), str(damaged), *clips], output, options, half=2)
    printed = capsys.readouterr()
    assert outcome.was_killed
    assert outcome.left == ()
    assert outcome.exit_code == 1
    videos = {video["name"]: video for video in outcome.summary["videos"]}
    assert [*videos] == ["deadly", "damaged", *names]
    assert [video["status"] for video in videos.values()] == ["failed", "failed", *["complete"] * len(names)]
    assert (videos["deadly"]["retries"], videos["damaged"]["retries"]) == (3, 0)
    assert f"{deadly}: 4 workers were lost over it" in videos["deadly"]["message"]
    assert printed.err.count("damaged.mp4") == 1
    assert "is lost (" in printed.err
    assert differences(tmp_path / "plain", output, names) == []
    assert "5 of 7 videos complete" in printed.out
    assert sorted(path.name for path in output.iterdir()) == [*names, "fleet.json"]

    before = {path: path.stat().st_mtime_ns for path in output.glob("*/*")}
    assert fleet(*clips, *options, "--output", output) == 0  # takes no Ray
    assert "nothing to track" in capsys.readouterr().out
    assert all(video["found"] for video in read_summary(output)["videos"])
    assert before == {path: path.stat().st_mtime_ns for path in output.glob("*/*")}


def processes_of(group: int) -> list[int]:
    """Return the processes of a group that run; one that nobody has waited for does not."""
    found = []
    for path in glob.iglob("/proc/[0-9]*/stat"):
        with suppress(OSError):
            state, _, its_group, *_ = Path(path).read_text().rpartition(")")[2].split()
            if int(its_group) == group and state != "Z":
                found.append(int(path.split("/")[2]))
    return found


def test_ctrl_c_leaves_complete_results_and_no_process(tmp_path: Path, weights: Path) -> None:
    short = material.write_clip(tmp_path / "a.mp4", 12)
    long = "demo?frames=200000&size=96x64"
    output = tmp_path / "out"
    line = [sys.executable, "-m", "fairmot", "fleet", str(short), str(long), "--weights", str(weights), "--no-video"]
    environment = {**os.environ, "PYTHONPATH": str(material.ROOT), "TMPDIR": str(tmp_path)}
    words = [*line, "--output", str(output)]
    with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        deadline = time.monotonic() + 60
        while not ((output / "a" / RUN).is_file() and [*tmp_path.glob("fairmot-fleet-*/*/results/demo/tracks.txt")]):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert len(processes_of(process.pid)) > 3
        process.send_signal(signal.SIGINT)
        _, printed = process.communicate(timeout=20)
    assert process.returncode == 130, printed
    assert "Traceback" not in printed
    deadline = time.monotonic() + 5
    while processes_of(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    summary = read_summary(output)
    assert summary["status"] == "interrupted"
    assert [video["status"] for video in summary["videos"]] == ["complete", "canceled"]
    assert sorted(path.name for path in output.iterdir()) == ["a", "fleet.json"]
    assert not [*tmp_path.glob("fairmot-fleet-*")]
