"""The sources of several jobs and what became of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fairmot.app.session import Outcome
from fairmot.video.source import safe_name
from fairmot.video.urls import is_url, name_of_url


@dataclass
class TrackedSource:
    """A source and what became of it.

    Attributes:
        spec: as for `open_source`.
        number: its position among the sources.
        is_live: whether it runs at once.
        name: its name, once it is open.
        folder: of its results, once it has one.
        frames: number of frames that were tracked.
        is_settled: whether nothing more is to be done for it.
        exit_code: 0 if it was tracked as asked.
        outcome: of the session, if it came so far.
    """

    spec: str
    number: int
    is_live: bool
    name: str | None = None
    folder: Path | None = None
    frames: int = 0
    is_settled: bool = False
    exit_code: int = 0
    outcome: Outcome | None = None

    @property
    def is_unfinished(self) -> bool:
        """Whether the user ended the jobs before the end of this source."""
        return self.outcome.ends if self.outcome is not None else not self.exit_code

    @property
    def family(self) -> str:
        """What is common to the names of the folders that it could get: no number at the end, no case."""
        name = self.name
        if name is None:
            spec = self.spec
            name = f"camera{spec}" if spec.isdecimal() else name_of_url(spec) if is_url(spec) else Path(spec).stem
            name = safe_name(name)
        return re.sub(r"(-\d+)+$", "", name).casefold()


@dataclass(frozen=True)
class JobsResult:
    """The result of all jobs.

    Attributes:
        sources: in the order in which they were given.
        exit_code: of the first source that failed, or of the signal that ended them.
        was_stopped: whether a signal ended them.
        processes: most of them at the same time.
        seconds: from the first source handed out until the last one ended.
    """

    sources: Sequence[TrackedSource]
    exit_code: int
    was_stopped: bool
    processes: int
    seconds: float

    def summary(self) -> str:
        """Return the line that ends several jobs."""
        frames = sum(source.frames for source in self.sources)
        unfinished = sum(each.is_unfinished for each in self.sources)
        failed = sum(each.exit_code != 0 and not each.is_unfinished for each in self.sources)
        counts = [f"{failed} failed"] * bool(failed) + [f"{unfinished} unfinished"] * bool(unfinished)
        failures = f" ({', '.join(counts)})" if counts else ""
        rate = frames / self.seconds if self.seconds else 0.0
        return (
            f"{len(self.sources)} sources{failures}: {frames} frames in {self.seconds:.1f} s, {rate:.1f} frames/s in "
            f"sum, {self.processes} processes"
        )
