"""The report of a run whose process is gone: what it has written, put down in its place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fairmot.app.json_files import read_json, write_json
from fairmot.app.run_folder import LOCK, RUN, TRACKS_JSON
from fairmot.core import UserError
from fairmot.core.locks import Lock


def report_lost(folder: Path, message: str, seconds: float) -> bool:
    """Write `failed` into the `run.json` of a run that was broken off from outside; return whether it was one.

    Args:
        folder: of the run.
        message: what happened.
        seconds: that the run took.

    Raises:
        OutputError: if the report cannot be written.
    """
    run = read_json(folder / RUN)
    if run.get("status") != "running":
        return False
    lock = Lock(folder / LOCK)
    try:
        is_free = lock.acquire()
    except OSError:  # writing will fail as well, and explain it
        is_free = True
    if not is_free:
        raise UserError(f"{folder} is being written by another run; its report stays as it is.")
    try:
        write_json(folder / RUN, {**run, "status": "failed", "message": message, **_written(folder, seconds)})
    finally:
        lock.release()
    return True


def _written(folder: Path, seconds: float) -> dict[str, Any]:
    """Return what the JSON lines in a folder say of the frames in them, for `run.json`."""
    frames, numbers = 0, (None, None)
    ids: set[int] = set()
    for line in _lines(folder / TRACKS_JSON):
        frames += 1
        numbers = (numbers[0] or line["frame"], line["frame"])
        ids.update(track["id"] for track in line["tracks"])
    return {
        "frames": frames,
        "first_frame": numbers[0],
        "last_frame": numbers[1],
        "identities": len(ids),
        "wall_seconds": seconds,
        "frames_per_second": frames / seconds if seconds else 0.0,
    }


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the whole lines of a file."""
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                if line.endswith("\n"):
                    yield json.loads(line)
    except (OSError, ValueError):
        return
