"""Locks between processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fairmot.core.locks import Lock

ROOT = Path(__file__).resolve().parents[2]
HOLD = (
    "import sys, time; from pathlib import Path; from fairmot.core.locks import Lock; lock = Lock(Path(sys.argv[1]))\n"
)
HOLD += "print(lock.acquire(), flush=True); lock.reserve(4096); time.sleep(30)"


def test_one_owner_at_a_time(tmp_path: Path) -> None:
    first, second = Lock(tmp_path / ".lock"), Lock(tmp_path / ".lock")
    assert first.acquire()
    assert not second.acquire()
    first.release()
    first.release()
    assert second.acquire()
    assert not first.acquire(0.1)
    second.release()
    assert list(tmp_path.iterdir()) == []


def test_a_killed_owner_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, path], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        lock = Lock(path)
        assert not lock.acquire()
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert path.exists()
    assert lock.acquire()
    lock.release()
    assert list(tmp_path.iterdir()) == []


def test_waiting_for_the_owner(tmp_path: Path) -> None:
    first, second = Lock(tmp_path / ".lock"), Lock(tmp_path / ".lock")
    assert first.acquire()
    timer = threading.Timer(0.2, first.release)
    timer.start()
    assert second.acquire(10)
    timer.join()
    second.release()


def test_many_that_take_turns(tmp_path: Path) -> None:
    """The file comes and goes with its owner; still there is never a second one."""
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(30):
            lock = Lock(tmp_path / ".lock")
            assert lock.acquire(60)
            inside += 1
            most = max(most, inside)
            time.sleep(0.0005)
            inside -= 1
            lock.release()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("plant", [lambda path, other: path.symlink_to(other), lambda path, other: os.mkfifo(path)])
def test_what_was_planted_is_replaced(tmp_path: Path, plant) -> None:
    other = tmp_path / "other"
    other.write_text("precious")
    plant(tmp_path / ".lock", other)
    lock = Lock(tmp_path / ".lock")
    assert lock.acquire()
    lock.reserve(100)
    lock.release()
    assert other.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [other]


def test_space_is_reserved_and_freed(tmp_path: Path) -> None:
    lock = Lock(tmp_path / ".lock")
    assert lock.acquire()
    lock.reserve(8192)
    assert (tmp_path / ".lock").stat().st_size == 8192
    lock.free()
    assert (tmp_path / ".lock").stat().st_size == 0
    lock.release()


USE = """
import os, sys
from pathlib import Path
from fairmot.core.locks import Lock

if not os.getuid():
    os.setuid(65534)
lock = Lock(Path(sys.argv[1]))
print(lock.acquire(), flush=True)
lock.reserve(4096)
lock.free()
"""


@pytest.mark.skipif(sys.platform == "win32" or os.getuid() != 0, reason="needs two users")
def test_the_lock_file_of_another_user(tmp_path: Path) -> None:
    """Left by a killed run in a shared folder: it can be opened for reading alone, and locked, but holds no space."""
    path = tmp_path / ".lock"
    path.touch(0o644)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    line = [sys.executable, "-c", USE, str(path)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
    assert path.stat().st_size == 0
