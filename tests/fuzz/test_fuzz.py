"""A short share of the fuzzer: the first cases of every kind, the first of which damages nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fuzz.cases import KINDS
from fuzz.runner import Runner, Verdict

SEED = 7
CASES = 3


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    with Runner(SEED, sample=30) as each:
        yield each


def told(verdict: Verdict) -> str:
    faults = "; ".join(f"{fault.rule}: {fault.where}: {fault.detail}" for fault in verdict.faults)
    return f"python tests/fuzz --seed {SEED} --kind {verdict.kind} --case {verdict.number}: {faults}"


@pytest.mark.parametrize("kind", list(KINDS))
def test_kind(runner: Runner, kind: str) -> None:
    faulty = [told(verdict) for verdict in runner.run((kind, number) for number in range(CASES)) if verdict.faults]
    assert not faulty, "\n".join(faulty)
