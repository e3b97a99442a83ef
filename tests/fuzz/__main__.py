"""Fuzz the project's commands.

Every case is determined by SEED, its kind and its number, and by the versions of PyAV and OpenCV that write its whole
input. Cases with faults are grouped by what they have in common, each with the command that runs one of them again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:1] = [str(ROOT), str(ROOT / "tests")]  # started as a folder: python tests/fuzz

from fuzz.cases import KINDS  # noqa: E402
from fuzz.judge import Fault  # noqa: E402
from fuzz.runner import Runner, Verdict  # noqa: E402


def main() -> int:
    """Run the command; return 1 if any case has a fault."""
    options = _parser().parse_args()
    kinds = options.kind or list(KINDS)
    names = [(kind, options.case) for kind in kinds] if options.case is not None else list(spread(kinds, options.cases))
    groups: dict[tuple[str, str], list[tuple[Verdict, Fault]]] = defaultdict(list)
    verdicts: list[Verdict] = []
    began = time.monotonic()
    with Runner(
        options.seed, workers=options.workers, timeout=options.timeout, keep=options.keep, sample=options.sample
    ) as runner:
        for verdict in runner.run(names):
            verdicts.append(verdict)
            for fault in verdict.faults:
                groups[fault.rule, fault.where].append((verdict, fault))
            if options.case is not None:
                _show(verdict)
            elif len(verdicts) % 50 == 0:
                print(f"{len(verdicts)} of {len(names)} cases", file=sys.stderr)
    for (rule, where), found in sorted(groups.items(), key=lambda item: (item[0][0], -len(item[1]))):
        verdict, fault = found[0]
        print(f"{rule}: {where} ({len(found)}: {', '.join(sorted({each.kind for each, _ in found}))})")
        print(f"    {fault.detail}\n    {reproduction(options.seed, verdict)}")
    _summarize(verdicts, time.monotonic() - began)
    return int(bool(groups))


def spread(kinds: Sequence[str], count: int) -> Iterator[tuple[str, int]]:
    """Yield so many cases, of each kind in turn."""
    for position in range(count):
        yield kinds[position % len(kinds)], position // len(kinds)


def reproduction(seed: int, verdict: Verdict) -> str:
    """Return the command that runs a case again."""
    return f"python tests/fuzz --seed {seed} --kind {verdict.kind} --case {verdict.number}"


def _show(verdict: Verdict) -> None:
    print(f"{verdict.kind} {verdict.number}: {'; '.join(verdict.notes) or 'nothing changed'}")
    print(f"arguments: {verdict.arguments}\nexit code {verdict.outcome.code}, {verdict.outcome.seconds:.1f} s")
    print(
        ascii(verdict.outcome.stdout)[:500]
        + "\n"
        + verdict.outcome.stderr[-6000:].encode("ascii", "backslashreplace").decode()
    )


def _summarize(verdicts: Sequence[Verdict], seconds: float) -> None:
    faulty = sum(bool(verdict.faults) for verdict in verdicts)
    codes = [verdict.outcome.code for verdict in verdicts]
    slowest = max(verdicts, key=lambda verdict: verdict.outcome.seconds)
    largest = max(verdicts, key=lambda verdict: verdict.outcome.megabytes)
    print(
        f"{len(verdicts)} cases in {seconds:.0f} s, {faulty} with faults; exit codes "
        f"{', '.join(f'{code}: {codes.count(code)}' for code in sorted(set(codes)))}; slowest {slowest.kind} "
        f"{slowest.number} with {slowest.outcome.seconds:.1f} s, largest {largest.kind} {largest.number} with "
        f"{largest.outcome.megabytes:.0f} MB"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python tests/fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=1000, help="how many, of each kind in turn (1000)")
    parser.add_argument("--seed", type=int, default=7, help="what decides them (7)")
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="only this kind; may be repeated")
    parser.add_argument(
        "--case", type=int, metavar="NUMBER", help="only the case of this number, with all that it says"
    )
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep the files of cases with faults in DIR/KIND-NUMBER"
    )
    parser.add_argument("--workers", type=int, default=2, help="cases at a time (2)")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds until a command counts as hung (60)")
    parser.add_argument(
        "--sample",
        type=int,
        default=50,
        help="every so many-th case also runs in a process of its own; 0 for none (50)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
