"""Processes of the command that a test interrupts half-way."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
