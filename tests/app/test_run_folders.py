"""The folder of a run: one owner at a time, no links followed, names that fit, full disks."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import material
from support.processes import tracking

from fairmot.app.folders import ResultFolders
from fairmot.app.json_files import write_json
from fairmot.app.run_folder import RUN
from fairmot.core import OutputError
from fairmot.core.locks import Lock
from run_track import main


@contextmanager
def running(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """The command, once it has begun to write, and stopped there."""
    output = Path(str(arguments[arguments.index("--output") + 1]))
    with tracking(material.command(*arguments), output, lines=1) as process:
        process.send_signal(signal.SIGSTOP)
        yield process


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return material.write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", 3000)


def test_the_second_run_of_a_source_refuses(
    tmp_path: Path, weights: Path, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    common = [clip, "--weights", weights, "--output", out, "--no-video"]
    with running(*common) as first:
        before = (out / "clip" / "tracks.jsonl").read_bytes()
        assert main([*map(str, common), "--frames", "2"]) == 1
        material.check_sentence(capsys.readouterr().err, r"out/clip is being written by another run of this source")
        other = material.write_clip(tmp_path / "other" / "clip.mp4", 4)
        assert main([str(other), *map(str, common[1:])]) == 0  # another source of this name is not kept waiting
        assert len(material.read_lines(out / "clip-2")) == 4
        assert (out / "clip" / "tracks.jsonl").read_bytes() == before
        first.send_signal(signal.SIGCONT)
        assert first.wait(60) == 0
    assert len(material.read_lines(out / "clip")) == 3000
    assert not list(out.rglob(".*"))


def test_a_killed_run_holds_nothing(tmp_path: Path, weights: Path, clip: Path) -> None:
    out = tmp_path / "out"
    common = [clip, "--weights", weights, "--output", out]
    with running(*common) as process:
        process.kill()
        process.wait()
    assert material.read_run(out / "clip")["status"] == "running"
    assert main([*map(str, common), "--frames", "3", "--resume"]) == 0
    assert material.check_results(out / "clip", status="complete") == 3
    assert sorted(path.name for path in (out / "clip").iterdir()) == [
        "run.json", "tracked.mp4", "tracks.jsonl", "tracks.txt",
    ]  # fmt: skip


def test_two_runs_cannot_save_into_one_file(
    tmp_path: Path, weights: Path, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = tmp_path / "streams" / f"{'x' * 251}.npz"
    common = [clip, "--weights", weights, "--save-detections", stream, "--no-video", "--output"]
    with running(*common, tmp_path / "one"):
        assert main([*map(str, common), str(tmp_path / "two"), "--frames", "2"]) == 1
        material.check_sentence(capsys.readouterr().err, r"x\.npz is being written by another run")
        assert material.read_run(tmp_path / "two" / "clip")["status"] == "failed"


def test_earlier_results_of_a_live_source_stay(tmp_path: Path) -> None:
    out = ResultFolders(tmp_path)
    for live, expected in ((True, "cam"), (True, "cam-2"), (False, "file"), (False, "file")):
        name = "cam" if live else "file"
        with ResultFolders(tmp_path).claim(name, f"rtsp://{name}", is_live=live) as folder:
            assert folder.path.name == expected
    with (
        out.claim("file", "rtsp://file") as first,
        ResultFolders(tmp_path).claim("cam", "rtsp://cam", is_live=True) as third,
    ):
        assert (first.path.name, third.path.name) == ("file", "cam-3")


def test_a_source_named_twice_is_tracked_twice(tmp_path: Path, weights: Path) -> None:
    clip = str(material.write_clip(tmp_path / "clip.mp4", 3))
    assert main([clip, clip, "--weights", str(weights), "--output", str(tmp_path / "out"), "--no-video"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["clip", "clip-2"]


def test_many_runs_at_once_find_their_own_folders(tmp_path: Path) -> None:
    program = """
import sys, time
from pathlib import Path
from fairmot.app.folders import ResultFolders
with ResultFolders(Path(sys.argv[1])).claim("cam", sys.argv[2]) as folder:
    print(folder.path.name, flush=True)
    sys.stdin.readline()
"""
    line = [sys.executable, "-c", program, tmp_path / "out"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": material.ROOT}
    processes = [subprocess.Popen([*line, f"rtsp://cam{number}"], **pipes) for number in range(5)]  # type: ignore[call-overload]
    names = sorted(process.stdout.readline().strip() for process in processes)
    for process in processes:
        process.communicate("\n")
    assert names == ["cam", "cam-2", "cam-3", "cam-4", "cam-5"]
    owners = {material.read_run(path)["location"] for path in (tmp_path / "out").iterdir()}
    assert owners == {f"rtsp://cam{number}" for number in range(5)}


@pytest.mark.parametrize("name", ["x" * 5000, "映" * 200, "é" * 300])
def test_names_that_are_too_long(tmp_path: Path, name: str) -> None:
    folders = ResultFolders(tmp_path)
    for location in ("rtsp://a", "rtsp://b"):
        with folders.claim(name, location) as folder:
            (folder.path / "file").touch()
            (tmp_path / f"{folder.path.name}.npz").touch()
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 2


def test_a_folder_that_stays_empty_is_removed(tmp_path: Path) -> None:
    with ResultFolders(tmp_path).claim("a", "rtsp://a") as folder:
        (folder.path / RUN).unlink()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_planted_links_are_not_followed(tmp_path: Path, weights: Path, link: str) -> None:
    clip = material.write_clip(tmp_path / "clip.mp4", 3)
    precious = tmp_path / "precious"
    precious.write_text("{}")
    out = tmp_path / "out"
    (out / "clip").mkdir(parents=True)
    names = ("tracks.txt", "tracks.jsonl", "tracked.mp4", "run.json", ".run.json.part", ".lock", "scores.json")
    for path in (*(out / "clip" / name for name in names), out / "clip.npz", out / ".lock"):
        if path.name != ".lock" or link == "symlink_to":  # a lock on a file of somebody else does no harm to it
            getattr(path, link)(precious)
    before = precious.stat()
    arguments = [str(clip), "--weights", str(weights), "--output", str(out), "--save-detections", str(out)]
    assert main([*arguments, "--interpolate"]) == 0
    assert material.check_results(out / "clip", status="complete") == 3
    assert precious.read_text() == "{}"
    assert precious.stat().st_mtime_ns == before.st_mtime_ns
    assert not any(path.is_symlink() or (path.stat().st_nlink > 1 and path.is_file()) for path in out.rglob("*"))


def test_a_planted_folder_is_refused(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = material.write_clip(tmp_path / "clip.mp4", 3)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "clip").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "out").symlink_to(tmp_path / "real")  # which the user names
    common = [str(clip), "--weights", str(weights), "--output", str(tmp_path / "out"), "--no-video"]
    assert main(common) == 1
    material.check_sentence(capsys.readouterr().err, r"out/clip is a symbolic link, which is not followed; remove it")
    assert list((tmp_path / "elsewhere").iterdir()) == []
    (tmp_path / "real" / "clip").unlink()
    assert main(common) == 0


def test_results_are_in_the_way_of_a_lock(tmp_path: Path) -> None:
    """A folder where the lock would be."""
    (tmp_path / "a" / ".lock").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"a cannot be written \(is a directory\)"):
        ResultFolders(tmp_path).claim("a", "rtsp://a")


def test_the_locked_folder_of_another_source_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    lock = Lock(tmp_path / "a" / ".lock")
    assert lock.acquire()
    with ResultFolders(tmp_path).claim("a", "rtsp://a") as folder:
        assert folder.path.name == "a-2"
    write_json(tmp_path / "a" / RUN, {"location": "rtsp://b"})
    with pytest.raises(OutputError, match="by another run of this source"):
        ResultFolders(tmp_path).claim("a", "rtsp://b")
    lock.release()


def can_mount() -> bool:
    line = ["unshare", "-m", "mount", "-t", "tmpfs", "x", "/mnt"]
    return sys.platform == "linux" and subprocess.run(line, capture_output=True, check=False).returncode == 0


needs_mounts = pytest.mark.skipif(not can_mount(), reason="needs the right to mount a small file system")


@needs_mounts
@pytest.mark.parametrize("size", [4, 8, 12, 16, 20, 24, 28, 40, 60, 100])
@pytest.mark.parametrize("flags", [[], ["--no-video"], ["--save-detections", "disk"]], ids=str)
def test_a_full_disk_at_any_moment(tmp_path: Path, weights: Path, size: int, flags: list[str]) -> None:
    clip = material.write_clip(tmp_path / "clip.mp4", 400)
    (tmp_path / "disk").mkdir()
    line = material.command(clip, "--weights", weights, "--output", "disk", *flags)
    script = f'mount -t tmpfs -o size={size}k x disk && "$@"; code=$?; cp -a disk kept; exit $code'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "-", *line], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    material.check_sentence(done.stderr, r"cannot be written \(no space left on device\)")
    kept = tmp_path / "kept"
    assert not list(kept.rglob(".*")), "nothing but results is left"
    if (kept / "clip").exists():
        report = material.read_run(kept / "clip")
        assert (report["status"], "no space left" in report["message"]) == ("failed", True)
        lines = material.read_lines(kept / "clip") if (kept / "clip" / "tracks.jsonl").exists() else []
        assert report["frames"] <= len(lines)
        assert [line["frame"] for line in lines] == list(range(1, len(lines) + 1))
        if (kept / "clip" / "tracked.mp4").exists():
            assert 0 < material.count_frames(kept / "clip" / "tracked.mp4") <= len(lines) + 1


@needs_mounts
def test_a_disk_that_can_only_be_read(tmp_path: Path, weights: Path) -> None:
    clip = material.write_clip(tmp_path / "clip.mp4", 4)
    (tmp_path / "disk").mkdir()
    track = material.command(clip, "--weights", weights, "--output", "disk")
    assert subprocess.run(track, cwd=tmp_path, check=False).returncode == 0
    script = 'mount --bind disk disk && mount -o remount,ro,bind disk; "$@" --resume && exec "$@"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "-", *track], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "already complete" in done.stdout
    material.check_sentence(done.stderr, r"run\.json cannot be written \(read-only file system\)")


def test_other_users_files_are_left(tmp_path: Path) -> None:
    """Files beside results stay."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "notes.txt").write_text("mine")
    with ResultFolders(tmp_path).claim("a", "rtsp://a") as folder:
        folder.clear()
    assert (tmp_path / "a" / "notes.txt").read_text() == "mine"
    shutil.rmtree(tmp_path / "a")
    assert os.listdir(tmp_path) == []
