"""Running cases: in forks of a server, a few at a time, a part of them also in processes of their own."""

from __future__ import annotations

import itertools
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuzz import cases, corpus, file_cases, media_cases, word_cases  # noqa: F401 - they register their kinds
from fuzz.cases import Case, Medium
from fuzz.judge import STDERR, STDOUT, TEMPORARY, Fault, Outcome, Seen, compare, judge, snapshot

ROOT = Path(__file__).resolve().parents[2]
_SERVER, _REFERENCE = (Path(__file__).with_name(name) for name in ("server.py", "reference.py"))
MEMORY = 4 * 2**30  # of address space; the libraries alone take 0.7 to 1.5 GB of it
_MOST_TEXT = 2**20
_REFERENCE_SECONDS = 20.0


@dataclass(frozen=True)
class Verdict:
    """The outcome of a case.

    Attributes:
        kind, number: which one.
        faults: what was wrong, nothing if all was right.
        outcome: what the command did.
        notes: what was changed.
        arguments: the command line.
    """

    kind: str
    number: int
    faults: list[Fault]
    outcome: Outcome
    notes: list[str]
    arguments: list[str]


class Server:
    """A fork server, one job at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(_SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_environment()
        )

    def call(self, job: dict[str, Any]) -> dict[str, Any]:
        """Run a job and return how it ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"The fork server ended with code {self._process.wait()}.")
        ended: dict[str, Any] = json.loads(answer)
        return ended

    def close(self) -> None:
        """End the server."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Runner:
    """A runner of the cases of one seed; a context manager.

    Args:
        seed: decides every case together with its kind and number.
        workers: how many run at a time.
        timeout: seconds after which a command counts as hung.
        keep: folder for the files of cases with faults, nowhere if not given.
        sample: every so many-th case is also run in a process of its own, which must end alike; 0 for none.
    """

    def __init__(
        self, seed: int, *, workers: int = 2, timeout: float = 60.0, keep: Path | None = None, sample: int = 0
    ) -> None:
        self.seed = seed
        self._workers, self._timeout, self._keep, self._sample = workers, timeout, keep, sample
        self._folder = Path(tempfile.mkdtemp(prefix="fairmot-fuzz-"))
        self._servers: queue.Queue[Server] = queue.Queue()
        self._all: list[Server] = []
        self._count = itertools.count()
        self._seen: dict[tuple[str, str, bytes], Seen | None] = {}

    def __enter__(self) -> Runner:
        self._all = [Server() for _ in range(self._workers)]
        for server in self._all:
            self._servers.put(server)
        self.corpus = corpus.make(self._folder / "corpus")
        return self

    def __exit__(self, *error: object) -> None:
        for server in self._all:
            server.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, names: Iterable[tuple[str, int]]) -> Iterator[Verdict]:
        """Run cases by kind and number; yield their verdicts in this order."""
        with ThreadPoolExecutor(self._workers) as pool:
            yield from pool.map(self._run, names)

    def _run(self, name: tuple[str, int]) -> Verdict:
        kind, number = name
        folder = self._folder / f"{kind}-{number}"
        case = cases.make(kind, number, self.seed, folder, self.corpus)
        before = snapshot(folder)
        with self._server() as server:
            job = job_of(case, self._timeout)
            outcome = outcome_of(server.call(job), job)
            seen = self._look_at_all(server, case)
        faults = judge(case, outcome, seen, before)
        if self._sample and next(self._count) % self._sample == 0:
            forked = folder.rename(folder.with_name(f"{folder.name}-forked"))
            case = cases.make(kind, number, self.seed, folder, self.corpus)
            faults += compare(forked, outcome, folder, run_alone(job_of(case, self._timeout)))
            shutil.rmtree(forked)
        if faults and self._keep is not None:
            shutil.copytree(folder, self._keep / folder.name, symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(folder)
        return Verdict(kind, number, faults, outcome, case.notes, case.arguments)

    @contextmanager
    def _server(self) -> Iterator[Server]:
        """Borrow a server that is free."""
        server = self._servers.get()
        try:
            yield server
        finally:
            self._servers.put(server)

    def _look_at_all(self, server: Server, case: Case) -> list[tuple[Seen, Seen]] | None:
        """Return what is to be seen in each file now and was before, None if a reader hangs, dies or lacks memory."""
        pairs = []
        for medium in case.media:
            now = self._look(server, case, medium, medium.path.read_bytes())
            before = self._look(server, case, medium, medium.whole)
            if now is None or before is None:
                return None
            pairs.append((now, before))
        return pairs

    def _look(self, server: Server, case: Case, medium: Medium, data: bytes) -> Seen | None:
        key = medium.reader, medium.path.suffix, data
        if key not in self._seen:
            path = case.folder / TEMPORARY / f"seen{medium.path.suffix}"
            path.write_bytes(data)
            job = job_of(case, _REFERENCE_SECONDS) | {"module": False, "command": str(_REFERENCE)}
            job |= {"arguments": [medium.reader, str(path)], "stdout": f"{path}.out", "stderr": f"{path}.err"}
            answer = outcome_of(server.call(job), job)
            self._seen[key] = Seen(**json.loads(answer.stdout)) if answer.code == 0 else None
            for each in (path, Path(job["stdout"]), Path(job["stderr"])):
                each.unlink()
        return self._seen[key]


def job_of(case: Case, timeout: float) -> dict[str, Any]:
    """Return what a server must know of a case."""
    temporary = case.folder / TEMPORARY
    temporary.mkdir(exist_ok=True)
    return {
        "module": True,
        "command": "fairmot",
        "arguments": [case.command, *case.arguments],
        "folder": str(case.folder),
        "stdout": str(case.folder / STDOUT),
        "stderr": str(case.folder / STDERR),
        "encoding": case.encoding,
        "environment": {"TMPDIR": str(temporary)},
        "timeout": timeout,
        "memory": MEMORY,
    }


def outcome_of(answer: dict[str, Any], job: dict[str, Any]) -> Outcome:
    stdout, stderr = (_read(Path(job[name]), job["encoding"]) for name in ("stdout", "stderr"))
    return Outcome(**answer, stdout=stdout, stderr=stderr)


def _read(path: Path, encoding: str) -> str:
    """Return what a command has printed, cut where it is endless."""
    with path.open("rb") as file:
        return file.read(_MOST_TEXT).decode(encoding, "surrogateescape")


def run_alone(job: dict[str, Any]) -> Outcome:
    """Run a job as a user would, in a process of its own, with the same limit of memory."""
    command = [sys.executable, *(["-m"] if job["module"] else []), job["command"], *job["arguments"]]
    limited = ["/bin/sh", "-c", f'ulimit -v {job["memory"] // 1024} && exec "$@"', "sh", *command]
    environment = _environment() | job["environment"] | {"PYTHONIOENCODING": job["encoding"], "PYTHONPATH": str(ROOT)}
    began = time.monotonic()
    with open(job["stdout"], "wb") as stdout, open(job["stderr"], "wb") as stderr:
        process = subprocess.Popen(
            limited, cwd=job["folder"], env=environment, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr
        )
        try:
            hung, code = False, process.wait(job["timeout"])
        except subprocess.TimeoutExpired:
            process.kill()
            hung, code = True, process.wait()
    return outcome_of({"code": code, "hung": hung, "seconds": time.monotonic() - began, "megabytes": 0.0}, job)


def _environment() -> dict[str, str]:
    """Return the environment of commands: no display, one thread for BLAS (a fork must not inherit more)."""
    kept = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY", "COLUMNS")}
    return kept | dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
