"""Processes of the command that a test interrupts half-way."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_SECONDS = 30.0


@contextmanager
def tracking(line: Sequence[str], output: Path, lines: int) -> Iterator[subprocess.Popen[str]]:
    """Run a command until a source in its output folder has so many lines of results; kill it in the end.

    Args:
        line: the command with its arguments.
        output: its output folder.
        lines: least number of lines in `tracks.jsonl`.
    """
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + _SECONDS
        while not any(path.read_text().count("\n") >= lines for path in output.glob("*/tracks.jsonl")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.communicate()


def workers_of(pid: int) -> dict[str, int]:
    """Return the worker processes of a process: the name of the function that each runs, and its pid."""
    found = {}
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            line = Path(f"/proc/{child}/cmdline").read_bytes().decode()
            if name := re.search(r"_serve\('[\w.]+:(\w+)'", line):
                found[name[1]] = child
    return found


def decoder_threads_of(pid: int) -> int:
    """Return how many threads of FFmpeg decode frames in a process; none where its own thread does."""
    names = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/comm")]
    return sum(re.match(r"av:.*:df\d+$", name) is not None for name in names)


def has_ended(pid: int, seconds: float = 10.0) -> bool:
    """Return whether a process that is not a child of this one ends in time."""
    deadline = time.monotonic() + seconds
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        with suppress(FileNotFoundError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":  # nobody collects it here
                return True
        time.sleep(0.02)
    return not Path(f"/proc/{pid}").exists()


def children(pid: int) -> list[int]:
    """Return the child processes of a process that run, the oldest first (Linux)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent, *rest = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(parent) == pid and state != "Z":
            found.append((int(rest[17]), int(path.parent.name)))  # by the time of their start
    return [number for _, number in sorted(found)]


def wait_until_ended(pids: Sequence[int], seconds: float = 10.0) -> None:
    """Wait until processes, of whatever parent, have ended; fail if they do not in time."""
    end = time.monotonic() + seconds
    for pid in pids:
        while Path(f"/proc/{pid}/stat").exists() and ") Z " not in Path(f"/proc/{pid}/stat").read_text():
            assert time.monotonic() < end, f"process {pid} is still there"
            time.sleep(0.02)
