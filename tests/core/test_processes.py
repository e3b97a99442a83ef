"""Worker processes: messages, errors, and their end with their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from fairmot.core.errors import SourceError
from fairmot.core.processes import PARENT_GONE, WorkerProcess, arrived, how_it_ended

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="descriptors are handed over")


def ended(pid: int, seconds: float = 10.0) -> bool:
    """Return whether a process, of whatever parent, ends in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(OSError):
            os.waitpid(pid, os.WNOHANG)
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] == "Z":
            return True
        time.sleep(0.02)
    return False


def test_messages_go_both_ways_until_the_channel_closes() -> None:
    worker = WorkerProcess("support.workers:answer", environment={"FAIRMOT_WORD": "yes"})
    worker.channel.send("one", {"two": 2})
    assert worker.channel.receive() == (worker.pid, "yes", "one", {"two": 2})
    os.kill(worker.pid, signal.SIGINT)  # as a terminal does to all
    os.kill(worker.pid, signal.SIGTERM)
    worker.channel.send("three")
    assert worker.channel.receive()[2] == "three"
    assert worker.exit_code() is None
    assert worker.end() == 0


def test_a_signal_while_a_worker_starts_is_ignored_too() -> None:
    worker = WorkerProcess("support.workers:answer")
    os.kill(worker.pid, signal.SIGINT)
    os.kill(worker.pid, signal.SIGTERM)
    worker.channel.send()
    assert worker.channel.receive()[0] == worker.pid
    assert worker.end() == 0


def test_a_channel_that_is_shut_down_wakes_who_waits_for_it() -> None:
    worker = WorkerProcess("support.workers:hang")
    worker.channel.receive()
    threading.Timer(0.05, worker.channel.shut_down).start()
    with pytest.raises(PARENT_GONE):
        worker.channel.receive()
    worker.end(grace=0)


def test_descriptors_are_handed_over(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        worker = WorkerProcess("support.workers:write", descriptors=[file.fileno()])
    worker.channel.send(b"content")
    assert worker.channel.receive() == ("done",)
    assert worker.end() == 0
    assert (tmp_path / "file").read_bytes() == b"content"


def test_errors_arrive_with_their_traceback_and_logs_with_their_level() -> None:
    worker = WorkerProcess("support.workers:fail")
    assert worker.channel.receive() == ("log", "fairmot.video", 30, "it is 5")
    with pytest.raises(SourceError, match="There is nothing") as caught:
        raise arrived(*worker.channel.receive())
    assert "support/workers.py" in str(caught.value.__cause__)
    with pytest.raises(RuntimeError, match="_UnportableError: has no words"):
        raise arrived(*worker.channel.receive())
    with pytest.raises(PARENT_GONE):
        worker.channel.receive()
    assert worker.end() == 0


def test_a_worker_that_hangs_is_killed() -> None:
    worker = WorkerProcess("support.workers:hang")
    worker.channel.receive()
    code = worker.end(grace=0.1)
    assert how_it_ended(code) == "was killed by SIGKILL"


def test_a_killed_parent_leaves_no_worker() -> None:
    script = (
        "import os, sys; sys.path[:] = sys.argv[1:]; from fairmot.core.processes import WorkerProcess;"
        "w = WorkerProcess('support.workers:answer'); w.channel.send(); w.channel.receive();"
        "print(w.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    parent = subprocess.run([sys.executable, "-c", script, *sys.path], capture_output=True, text=True, check=False)
    assert parent.returncode == -signal.SIGKILL
    assert ended(int(parent.stdout))
