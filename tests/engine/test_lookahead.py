"""The order of jobs that are in flight together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from fairmot.core import Detections, Frame, SourceError
from fairmot.engine.lookahead import run_ahead


def frames(*numbers: int) -> list[Frame]:
    return [Frame(number, 0.0, np.zeros((2, 2, 3), np.uint8)) for number in numbers]


class Jobs:
    """Does jobs when they are collected, one detection for each frame with its number as the score, and keeps a log."""

    def __init__(self, failing: int = -1) -> None:
        self.log: list[str] = []
        self._failing = failing

    def submit(self, batch: Sequence[Frame]) -> list[int]:
        numbers = [frame.index for frame in batch]
        self.log.append("submit " + " ".join(map(str, numbers)))
        return numbers

    def collect(self, numbers: list[int]) -> list[Detections]:
        self.log.append("collect " + " ".join(map(str, numbers)))
        if self._failing in numbers:
            raise RuntimeError("the job failed")
        empty = np.zeros(1, np.int64)
        return [
            Detections(np.zeros((1, 4), np.float32), np.float32([number]), empty, np.zeros((1, 0), np.float32))
            for number in numbers
        ]

    def abandon(self, numbers: list[int]) -> None:
        self.log.append("abandon " + " ".join(map(str, numbers)))

    def run(self, batches, prefetch_batches: int, size: int = 2):
        return run_ahead(batches, prefetch_batches, size, self.submit, self.collect, self.abandon)


def scores(found: Sequence[Detections]) -> list[float]:
    return [score for each in found for score in each.scores.tolist()]


@pytest.mark.parametrize("prefetch_batches", [0, 1, 2, 5])
def test_every_batch_comes_back_with_its_own_results(prefetch_batches: int) -> None:
    batches = [frames(1, 2), [], frames(3), frames(4, 5, 6, 7, 8), frames(9), []]
    jobs = Jobs()
    result = list(jobs.run(batches, prefetch_batches))
    assert [batch for batch, _ in result] == batches
    assert [scores(found) for _, found in result] == [[1, 2], [], [3], [4, 5, 6, 7, 8], [9], []]
    in_flight = most = 0
    for line in jobs.log:
        in_flight += 1 if line.startswith("submit") else -1
        most = max(most, in_flight)
    assert (in_flight, most) == (0, min(prefetch_batches + 1, 5))  # an empty batch takes a place too


def test_without_looking_ahead_a_result_comes_before_the_next_batch_is_taken() -> None:
    taken: list[int] = []

    def batches() -> Iterator[list[Frame]]:
        for number in (1, 2):
            taken.append(number)
            yield frames(number)

    stream = Jobs().run(batches(), 0)
    next(stream)
    assert taken == [1]


@pytest.mark.parametrize("prefetch_batches", [0, 2, 5])
def test_a_fault_of_the_source_comes_after_what_was_read_before_it(prefetch_batches: int) -> None:
    def batches() -> Iterator[list[Frame]]:
        yield frames(1)
        yield frames(2, 3)
        raise SourceError("the cable is out")

    jobs = Jobs()
    stream = jobs.run(batches(), prefetch_batches)
    assert [scores(next(stream)[1]) for _ in range(2)] == [[1], [2, 3]]
    with pytest.raises(SourceError, match="cable"):
        next(stream)
    assert not any("abandon" in line for line in jobs.log)


def test_jobs_in_flight_are_ended_when_the_caller_stops() -> None:
    jobs = Jobs()
    stream = jobs.run([frames(number) for number in range(1, 9)], 2)
    next(stream)
    stream.close()
    assert jobs.log == ["submit 1", "submit 2", "submit 3", "collect 1", "abandon 2", "abandon 3"]


def test_jobs_in_flight_are_ended_when_one_fails() -> None:
    jobs = Jobs(failing=2)
    stream = jobs.run([frames(number) for number in range(1, 9)], 1)
    next(stream)
    with pytest.raises(RuntimeError, match="failed"):
        next(stream)
    assert jobs.log[-2:] == ["collect 2", "abandon 3"]
