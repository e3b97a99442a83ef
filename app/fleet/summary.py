"""The summary of a fleet: a row per video on the terminal, and `fleet.json` in the output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table

from fairmot.app.fleet.worker import Result
from fairmot.core.text import printable

CANCELED, FOUND = "canceled", "complete before"


@dataclass(frozen=True)
class Row:
    """The outcome of one video.

    Attributes:
        name: of its folder.
        location: of the video, without secrets.
        result: of the last attempt.
        retries: number of attempts before it.
        found: whether the results were complete already.
    """

    name: str
    location: str
    result: Result
    retries: int = 0
    found: bool = False

    @property
    def status(self) -> str:
        """The status in the table."""
        return FOUND if self.found else self.result.status


def table_of(rows: Sequence[Row]) -> Table:
    """Return the table, without a line break in any name."""
    table = Table()
    table.add_column("video", overflow="fold")
    for title in ("frames", "identities", "frames/s"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("retries", justify="right", no_wrap=True)
    for row in rows:
        result = row.result
        numbers = (str(result.frames), str(result.identities), f"{result.rate:.1f}") if result.frames else ("", "", "")
        table.add_row(escape(printable(row.name)), *numbers, row.status, str(row.retries) if row.retries else "")
    return table


def total_line(rows: Sequence[Row], seconds: float, workers: int, location: str) -> str:
    """Return the line that ends a fleet.

    Args:
        rows: of all videos.
        seconds: of tracking, from the start of the first worker.
        workers: number of those that were ready.
        location: of the output.
    """
    complete = sum(row.result.status == "complete" for row in rows)
    frames = sum(row.result.frames for row in rows if not row.found)
    by = f"{workers} {'worker' if workers == 1 else 'workers'}"
    rate = f"{frames} frames at {frames / seconds:.1f} frames/s by {by}" if frames else "nothing to track"
    return f"{complete} of {len(rows)} videos complete, {rate} -> {location}"


def content_of(
    rows: Sequence[Row], status: str, started: str, seconds: float, workers: int, configuration: dict[str, Any]
) -> dict[str, Any]:
    """Return the content of `fleet.json`.

    Args:
        rows: of all videos.
        status: `running`, `complete`, `incomplete` or `interrupted`.
        started: local time, ISO 8601.
        seconds: of tracking.
        workers: number of those that were ready.
        configuration: the options.
    """
    frames = sum(row.result.frames for row in rows if not row.found)
    return {
        "started": started,
        "status": status,
        "seconds": seconds,
        "workers": workers,
        "frames_per_second": frames / seconds if seconds else 0.0,
        "videos": [
            {
                "name": row.name,
                "location": row.location,
                "found": row.found,
                "retries": row.retries,
                **{key: value for key, value in asdict(row.result).items() if key != "broke_off"},
            }
            for row in rows
        ],
        "configuration": configuration,
    }
