"""Several batches of frames in flight: one is computed while the results of another are used."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from fairmot.core.records import Detections, Frame

Job = TypeVar("Job")


def run_ahead(
    batches: Iterable[Sequence[Frame]],
    prefetch_batches: int,
    size: int,
    submit: Callable[[Sequence[Frame]], Job],
    collect: Callable[[Job], list[Detections]],
    abandon: Callable[[Job], object],
) -> Generator[tuple[Sequence[Frame], list[Detections]], None, None]:
    """Yield each batch with its detections, in order, while up to `prefetch_batches` later jobs are in flight.

    Args:
        batches: frames; what their iterator raises is raised after the results of the batches before it.
        prefetch_batches: most jobs in flight while a result is yielded.
        size: most frames of a job; a longer batch becomes several.
        submit: starts a job and returns at once.
        collect: waits for a job and returns its result; every job ends here or in `abandon`, in order.
        abandon: ends a job whose result is not needed.
    """
    jobs: deque[tuple[_Part, Job | None]] = deque()
    found: list[Detections] = []
    failure: Exception | None = None
    parts = _parts(batches, size)
    try:
        while True:
            try:
                part = next(parts, None)
            except Exception as error:  # what was read before comes first
                failure, part = error, None
            if part is not None:
                jobs.append((part, submit(part.frames) if part.frames else None))
            while jobs and (part is None or len(jobs) > prefetch_batches):
                done, job = jobs.popleft()
                if job is not None:
                    found += collect(job)
                if done.is_last:
                    yield done.batch, found
                    found = []
            if part is None:
                break
        if failure is not None:
            raise failure
    finally:
        for _, job in jobs:
            if job is not None:
                abandon(job)


class _Part(NamedTuple):
    """Frames of one job, all or some of a batch."""

    batch: Sequence[Frame]
    frames: Sequence[Frame]
    is_last: bool


def _parts(batches: Iterable[Sequence[Frame]], size: int) -> Iterator[_Part]:
    for frames in batches:
        for start in range(0, max(len(frames), 1), size):
            yield _Part(frames, frames[start : start + size], start + size >= len(frames))
