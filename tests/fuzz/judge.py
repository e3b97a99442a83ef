"""Says what is wrong with what a command did, by what a user can see of it from outside."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from fuzz.cases import OUTPUT, Case
from fuzz.media_cases import STATES_LENGTH

ROOT = Path(__file__).resolve().parents[2]
TEMPORARY, STDOUT, STDERR = "tmp", "stdout.txt", "stderr.txt"
_MOST_LINES = 20  # of a run on one source, whatever is wrong with it
_LONGEST_LINE = 2000
_FINAL = ("complete", "stopped", "interrupted", "damaged", "failed")
_NOT_OURS = (".ses",)  # ONNX Runtime 1.32 leaves it in the folder for temporary files
_LOST_FRAMES = 10  # more than a container may be off by
_LABELED = re.compile(
    r"(error|warning): |usage: |\s+\[|(python -m|run_track\.py|__main__\.py)[\w. ]*: error: ", re.IGNORECASE
)
_ERROR = re.compile(r"^(python -m [\w. ]+: )?error: ", re.MULTILINE)


@dataclass(frozen=True)
class Outcome:
    """The end of a command.

    Attributes:
        code: exit code, or minus the number of a signal.
        hung: whether it had to be killed.
        seconds, megabytes: what it took; memory in RAM at most.
        stdout, stderr: what it printed.
    """

    code: int
    hung: bool
    seconds: float
    megabytes: float
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Seen:
    """The content of a file as another program reads it.

    Attributes:
        frames: how many.
        errors: faults on the way.
        digest: of the pixels.
    """

    frames: int
    errors: int
    digest: str


@dataclass(frozen=True)
class Fault:
    """Something wrong.

    Attributes:
        rule: the rule that was broken.
        where: what faults with the same cause have in common.
        detail: what happened.
    """

    rule: str
    where: str
    detail: str


def snapshot(folder: Path) -> dict[Path, str]:
    """Return digests of a case's inputs, those beside its output folder."""
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).parts[0] != OUTPUT
    }


def judge(
    case: Case, outcome: Outcome, seen: Sequence[tuple[Seen, Seen]] | None, before: dict[Path, str]
) -> list[Fault]:
    """Return all faults of a run.

    Args:
        case: which was run.
        outcome: how it ended.
        seen: what other programs read of each file in `case.media`, and what they read before it was damaged; None
            if one of them could not end well.
        before: `snapshot` before the run.
    """
    if outcome.hung:
        return [Fault("hang", _place(outcome.stderr), f"killed after {outcome.seconds:.0f} s")]
    if outcome.code < 0:
        return [Fault("signal", _place(outcome.stderr), f"killed by signal {-outcome.code}")]
    faults = [*_printed(outcome), *_left_behind(case, before)]
    reports = [*_reports(case, faults)]
    faults += _exit_code(case, outcome, reports)
    if not any(fault.rule == "traceback" for fault in faults):
        faults += _lost(case, outcome, seen, reports)
        if case.harmless and outcome.code != 0:
            faults.append(Fault("refused", _plain(_last_line(outcome.stderr)), "nothing was wrong with the input"))
        elif case.score is not None and outcome.code == 0:
            faults += _scores(case)
    return faults


def _printed(outcome: Outcome) -> Iterator[Fault]:
    text = outcome.stdout + outcome.stderr
    if "Traceback (most recent call last)" in text or "Exception ignored" in text:
        yield Fault("traceback", _raised(text), _last_line(text))
        return
    lines = [line for line in outcome.stderr.splitlines() if line.strip()]
    if len(lines) > _MOST_LINES:
        yield Fault("flood", _plain(lines[-1]), f"{len(lines)} lines on standard error")
    for line in lines:
        if len(line) > _LONGEST_LINE:
            yield Fault("flood", _plain(line), f"a line of {len(line)} characters")
        if not _LABELED.match(line) and not (outcome.code and line == lines[-1]):  # which `_exit_code` tells
            yield Fault("stray", " ".join(_plain(line).split()[:3]), line[:200])
            break
    controls = re.search(r"[^\n\x20-\x7e\xa0-\U0010ffff]|[\u202a-\u202e\u2066-\u2069\u2028\u2029]", text)
    if controls:
        line = next(each for each in text.split("\n") if controls[0] in each)
        yield Fault("control", _plain(line), f"{controls[0]!r} in {line[:200]!r}")


def _left_behind(case: Case, before: dict[Path, str]) -> Iterator[Fault]:
    after = snapshot(case.folder)
    for path, digest in before.items():
        if after.get(path) != digest:
            yield Fault("overwritten", path.suffix, f"{path.name} is not as it was")
    for path in case.folder.rglob("*"):
        inside = path.relative_to(case.folder).parts[0] == TEMPORARY
        draft = path.suffix in (".part", ".tmp") or (path.name.startswith(".") and "lock" not in path.name)
        if path not in before and path.is_file() and (inside or draft) and path.name not in _NOT_OURS:
            yield Fault("left", path.suffix or path.name[:8], f"{path.relative_to(case.folder)} is left behind")


def _reports(case: Case, faults: list[Fault]) -> Iterator[dict[str, Any]]:
    """Yield the reports of runs; add what is wrong with them and with the results beside them."""
    if case.command != "track":
        return
    for path in case.folder.rglob("run.json"):
        if not path.is_file():
            continue
        try:
            report = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
            status, frames = report["status"], report["frames"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            faults.append(Fault("report", type(error).__name__, f"run.json cannot be read: {error}"))
            continue
        if status not in _FINAL:
            faults.append(Fault("report", str(status), f"the status is {status!r}"))
        try:
            _check_results(path.parent, frames)
        except (OSError, ValueError, KeyError, TypeError, av.FFmpegError) as error:
            faults.append(Fault("results", _plain(str(error)), f"status {status}: {error!r}"))
        yield report


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _check_results(folder: Path, frames: int) -> None:
    """Raise unless the results in a folder are whole and tell of the same frames and people."""
    if not (folder / "tracks.txt").exists() and frames == 0:
        return
    lines = [json.loads(line, parse_constant=_no_constant) for line in _lines(folder / "tracks.jsonl")]
    if len(lines) != frames:
        raise ValueError(f"tracks.jsonl has {len(lines)} frames, run.json {frames}")
    tracked = {(line["frame"], track["id"]) for line in lines for track in line["tracks"]}
    rows = [list(map(float, line.split(","))) for line in _lines(folder / "tracks.txt")]
    if not all(len(row) == 10 and all(map(math.isfinite, row)) for row in rows):
        raise ValueError("tracks.txt holds a line that is no box")
    if not tracked <= {(row[0], row[1]) for row in rows}:
        raise ValueError("tracks.txt lacks boxes of tracks.jsonl")
    video = folder / "tracked.mp4"
    if video.exists():
        with av.open(str(video)) as container:
            count = sum(1 for _ in container.decode(video=0))
        if count != frames:
            raise ValueError(f"tracked.mp4 has {count} frames, run.json {frames}")


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def _exit_code(case: Case, outcome: Outcome, reports: Sequence[dict[str, Any]]) -> Iterator[Fault]:
    said = _ERROR.search(outcome.stderr) is not None
    damaged = any(report["status"] == "damaged" for report in reports)
    failed = any(report["status"] == "failed" for report in reports)
    if outcome.code not in (0, 1, 2):
        yield Fault("exit", str(outcome.code), f"exit code {outcome.code}")
    elif outcome.code == 0 and (said or damaged or failed):
        yield Fault("exit", "0 after a fault", f"exit code 0; {_last_line(outcome.stderr)}")
    elif outcome.code and not said and not damaged and "Traceback" not in outcome.stderr:
        yield Fault("exit", f"{case.command} without error:", f"exit code {outcome.code}; {_last_line(outcome.stderr)}")


def _lost(
    case: Case, outcome: Outcome, seen: Sequence[tuple[Seen, Seen]] | None, reports: Sequence[dict[str, Any]]
) -> Iterator[Fault]:
    """Yield what the command did not track although it is there, or did not tell although it is not."""
    tracked = sum(report["frames"] for report in reports)
    message = _plain(_last_line(outcome.stderr) or "nothing was said")
    if case.harmless and case.frames is not None and outcome.code == 0 and tracked not in (0, case.frames):
        yield Fault("lost", message, f"{tracked} of {case.frames} frames tracked")
    if not seen:
        return
    readable, errors = sum(now.frames for now, _ in seen), sum(now.errors for now, _ in seen)
    images = case.media[0].reader == "image"
    told = images and "damaged" in message  # by bytes that do not belong there, which OpenCV alone passes over
    if all(now == before for now, before in seen) and tracked < readable and not told:
        yield Fault("lost", message, f"{tracked} of {readable} frames tracked, all of which can be read unchanged")
    if readable == 0 and outcome.code == 0:
        yield Fault("silent", message, "no frame can be read, and the exit code is 0")
    cut = case.truncated and case.kind in STATES_LENGTH and readable + _LOST_FRAMES < (case.frames or 0)
    if outcome.code == 0 and (cut or (images and errors)):
        yield Fault("silent", message, f"{readable} of {case.frames} frames can be read, and the exit code is 0")


def _scores(case: Case) -> Iterator[Fault]:
    try:
        content = json.loads((case.folder / OUTPUT / "scores.json").read_text(encoding="utf-8"))
        score = content["combined"]["mota"]
    except (OSError, ValueError, KeyError) as error:
        yield Fault("results", type(error).__name__, f"scores.json: {error}")
        return
    if case.harmless and score != case.score:
        yield Fault("lost", "score", f"MOTA {score} where {case.score} is right")


def compare(first: Path, forked: Outcome, second: Path, alone: Outcome) -> list[Fault]:
    """Return a fault if a fork and a process of its own, each in its copy of a folder, ended differently."""
    a, b = _essence(first, forked), _essence(second, alone)
    return [Fault("unfaithful", key, f"forked {a[key]!r}, alone {b[key]!r}"[:1000]) for key in a if a[key] != b[key]]


def _essence(folder: Path, outcome: Outcome) -> dict[str, Any]:
    texts = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("tracks.txt") if path.is_file()}
    return {"code": outcome.code, "hung": outcome.hung, "last line": _last_line(outcome.stderr), "tracks": texts}


def _last_line(text: str) -> str:
    """Return the last line that is not empty."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def _plain(line: str) -> str:
    """Return a message without what differs from case to case."""
    line = re.sub(r"/[^\s:;,]*|\"[^\"]*\"|'[^']*'", "X", line)
    return re.sub(r"\d+", "N", line).encode("ascii", "backslashreplace").decode()[:110]


def _raised(text: str) -> str:
    """Return the type of an exception and the last line of the project that it went through."""
    block = text[text.rindex("Traceback (most recent call last)") :] if "Traceback (most" in text else text
    error = re.search(
        r"^(\w[\w.]*(?:Error|Exception|Warning|Exit|Interrupt|\w))\b", block.partition("\n")[2], re.MULTILINE
    )
    return f"{error[1] if error else 'exception'} at {_place(block)}"


def _place(text: str) -> str:
    """Return the innermost place of the project in a traceback of Python, or in a dump of `faulthandler`."""
    dumped = re.search(r"Current thread.*|Thread 0x.*", text)
    if dumped and "Traceback (most" not in text:
        stack = text[dumped.start() :].split("\n\n")[0]
        places = re.findall(r'File "([^"]+)", line (\d+) in (\S+)', stack)
    else:
        places = re.findall(r'File "([^"]+)", line (\d+), in (\S+)', text)[::-1]
    for file, line, function in places:
        path = Path(file)
        if path.is_relative_to(ROOT) and not path.is_relative_to(ROOT / "tests"):
            return f"{path.relative_to(ROOT)}:{line} in {function}"
    return f"{Path(places[0][0]).name}:{places[0][1]}" if places else "no place of the project"
