"""The fuzzer itself: it notices what it must, blames nothing that is right, and a seed decides everything."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import pytest

from fuzz import cases, corpus
from fuzz.cases import KINDS, Case, Medium
from fuzz.judge import Seen, compare, judge, snapshot
from fuzz.mutations import mend_png, mutate, mutate_json, mutate_text
from fuzz.runner import Server, job_of, outcome_of, run_alone

RUN = """
import json, os, sys
def finish(status, frames, code=0, tell=""):
    os.makedirs("out/clip")
    json.dump({"status": status, "frames": frames}, open("out/clip/run.json", "w"))
    lines = [json.dumps({"frame": number, "tracks": [{"id": 1}]}) + "\\n" for number in range(1, frames + 1)]
    open("out/clip/tracks.jsonl", "w").writelines(lines)
    open("out/clip/tracks.txt", "w").writelines(f"{n},1,2,3,4,5,0.9,-1,-1,-1\\n" for n in range(1, frames + 1))
    if tell:
        print(tell, file=sys.stderr)
    sys.exit(code)
"""
WHOLE, EMPTY, HALF = Seen(24, 0, "a"), Seen(0, 1, ""), Seen(12, 1, "b")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    each = Server()
    yield each
    each.close()


def case_of(folder: Path, **facts: Any) -> Case:
    folder.mkdir(exist_ok=True)
    case = Case("mp4", 1, 7, folder, cast(corpus.Corpus, None))
    case.write("clip.mp4", b"an input")
    for name, value in facts.items():
        setattr(case, name, value)
    return case


def script_job(case: Case, script: str, timeout: float = 30.0) -> dict[str, Any]:
    path = case.folder.parent / "script.py"
    path.write_text(RUN + script)
    return job_of(case, timeout) | {"module": False, "command": str(path)}


def rules(server: Server, case: Case, script: str, pairs: Any = None, timeout: float = 30.0) -> list[str]:
    before = snapshot(case.folder)
    job = script_job(case, script, timeout)
    return [fault.rule for fault in judge(case, outcome_of(server.call(job), job), pairs, before)]


@pytest.mark.parametrize(
    ("script", "broken"),
    [
        ("finish('complete', 24)", []),
        ("finish('complete', 24, 0, 'warning: a frame is odd.')", []),
        ("finish('damaged', 12, 1, 'warning: cut off.')", []),
        ("finish('failed', 12, 1, 'error: the disk is full.')", []),
        ("print('error: no such file.', file=sys.stderr); sys.exit(2)", []),
        ("raise KeyError('x')", ["traceback"]),
        ("import threading; threading.Thread(target=lambda: 1 / 0).start()", ["traceback"]),
        ("bytearray(8 * 2**30)", ["traceback"]),
        ("os.kill(os.getpid(), 11)", ["signal"]),
        ("os.abort()", ["signal"]),
        ("finish('complete', 24, 3, 'error: x.')", ["exit"]),
        ("finish('complete', 24, 1)", ["exit"]),
        ("finish('complete', 24, 0, 'error: x.')", ["exit"]),
        ("finish('damaged', 12, 0, 'warning: cut off.')", ["exit"]),
        ("finish('running', 24)", ["report"]),
        ("os.makedirs('out/clip'); open('out/clip/run.json', 'w').write('{')", ["report"]),
        ("os.makedirs('out'); open('out/run.json', 'w').write('{\"status\": NaN, \"frames\": 0}')", ["report"]),
        ("open('tracks.txt.part', 'w'); finish('complete', 24)", ["left"]),
        ("import tempfile; tempfile.mkstemp(); finish('complete', 24)", ["left"]),
        ("open('clip.mp4', 'a').write('x'); finish('complete', 24)", ["overwritten"]),
        ("os.remove('clip.mp4'); finish('complete', 24)", ["overwritten"]),
        ("finish('complete', 24, 0, '[h264 @ 0x1] no frame!')", ["stray"]),
        ("finish('complete', 24, 0, 'warning: x\\x1b[31m')", ["control"]),
        ("finish('complete', 24, 0, 'warning: \\u202egnp.exe')", ["control"]),
        ("finish('complete', 24, 0, 40 * 'warning: x\\n')", ["flood"]),
        ("finish('complete', 24, 0, 'warning: ' + 5000 * 'x')", ["flood"]),
    ],
)
def test_what_a_command_does_is_judged(server: Server, tmp_path: Path, script: str, broken: list[str]) -> None:
    assert rules(server, case_of(tmp_path / "case"), script) == broken


def test_a_command_that_hangs(server: Server, tmp_path: Path) -> None:
    case = case_of(tmp_path / "case")
    job = script_job(case, "while True: pass", timeout=0.5)
    (fault,) = judge(case, outcome_of(server.call(job), job), None, snapshot(case.folder))
    assert (fault.rule, fault.where.partition(":")[0]) == ("hang", "script.py")


@pytest.mark.parametrize(
    ("script", "now", "facts", "broken"),
    [
        ("finish('complete', 24)", WHOLE, {}, []),
        ("finish('damaged', 24, 1)", WHOLE, {}, []),
        ("finish('complete', 23)", WHOLE, {}, ["lost"]),
        ("print('error: no.', file=sys.stderr); sys.exit(1)", WHOLE, {}, ["lost"]),
        ("print('error: no.', file=sys.stderr); sys.exit(1)", EMPTY, {}, []),
        ("finish('complete', 1)", EMPTY, {}, ["silent"]),
        ("finish('complete', 12)", HALF, {}, []),
        ("finish('complete', 12)", HALF, {"truncated": True}, ["silent"]),
        ("finish('damaged', 12, 1)", HALF, {"truncated": True}, []),
        ("finish('complete', 24)", WHOLE, {"harmless": True}, []),
        ("finish('damaged', 24, 1)", WHOLE, {"harmless": True}, ["refused"]),
    ],
)
def test_what_can_be_read_must_be_tracked(
    server: Server, tmp_path: Path, script: str, now: Seen, facts: dict[str, Any], broken: list[str]
) -> None:
    case = case_of(tmp_path / "case", frames=24, **facts)
    case.media = [Medium("video", case.folder / "clip.mp4", b"")]
    assert rules(server, case, script, [(now, WHOLE)]) == broken


def test_a_fork_is_like_a_process_of_its_own(server: Server, tmp_path: Path) -> None:
    script = "print(sys.argv[1:], os.getcwd(), sys.stdin.read(), __name__); finish('damaged', 5, 1, 'warning: cut')"
    case = case_of(tmp_path / "case", arguments=["a", "\udcff", ""], encoding="latin-1")
    job = script_job(case, script)
    forked = outcome_of(server.call(job), job)
    case.folder.rename(tmp_path / "first")
    job = script_job(case_of(tmp_path / "case", arguments=case.arguments, encoding=case.encoding), script)
    alone = run_alone(job)
    assert "__main__" in forked.stdout
    assert (forked.code, forked.stdout, forked.stderr) == (alone.code, alone.stdout, alone.stderr)
    assert compare(tmp_path / "first", forked, tmp_path / "case", alone) == []
    (tmp_path / "case" / "out" / "clip" / "tracks.txt").write_text("")
    assert [fault.where for fault in compare(tmp_path / "first", forked, case.folder, alone)] == ["tracks"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> corpus.Corpus:
    return corpus.make(tmp_path_factory.mktemp("corpus"))


@pytest.mark.parametrize("kind", list(KINDS))
def test_seed_kind_and_number_decide_everything(whole: corpus.Corpus, tmp_path: Path, kind: str) -> None:
    """The folder has the same path each time, as arguments and some files name it."""

    def content(number: int, seed: int) -> tuple[Any, ...]:
        case = cases.make(kind, number, seed, tmp_path / "case", whole)
        case.folder.rename(case.folder.with_name(f"{seed}-{number}-{len(list(tmp_path.iterdir()))}"))
        moved = max(tmp_path.iterdir(), key=lambda path: int(path.name.rpartition("-")[2]))
        files = {path.relative_to(moved): path.read_bytes() for path in moved.rglob("*") if path.is_file()}
        return case.arguments, case.notes, files

    made = [content(number, 7) for number in range(4)]
    assert made == [content(number, 7) for number in range(4)]
    assert made != [content(number, 8) for number in range(4)]


def test_mutations_change_bytes_and_keep_their_size_in_bounds() -> None:
    data = bytes(range(256)) * 20
    changed = [mutate(random.Random(number), data, [data[::-1]])[0] for number in range(500)]
    assert sum(each != data for each in changed) > 450
    assert any(len(each) < len(data) for each in changed)
    assert max(map(len, changed)) < 2**22
    assert mutate(random.Random(1), b"")[0] is not None


def test_mutations_of_text_and_json() -> None:
    text = "1,2,3\n4,5,6\n"
    changed = [mutate_text(random.Random(number), text)[0] for number in range(300)]
    assert len(set(changed)) > 150
    tree = {"a": [1, {"b": "c"}], "d": None}
    others = [mutate_json(random.Random(number), tree)[0] for number in range(100)]
    assert tree == {"a": [1, {"b": "c"}], "d": None}
    assert sum(other != tree for other in others) > 90


def test_checksums_of_png_chunks_are_mended() -> None:
    data = corpus.encode_image(".png")
    assert mend_png(data) == data
    height = struct.pack(">I", 32)
    changed = data[:20] + height + data[24:]
    mended = mend_png(changed)
    assert mended[:29] == changed[:29]
    assert mended[29:33] != changed[29:33]
    image = cv2.imdecode(np.frombuffer(mended, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert image.shape == (32, 96, 3)
