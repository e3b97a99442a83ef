"""Terminals, pipes and logs that cannot take what is printed, and names that would play tricks on them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from support import material

TINY = np.full((32, 32, 3), 90, np.uint8)
HOSTILE = {
    "escape": "b\x1b[31m\nerror: fake",
    "C1": "c\x9b31m\x85",
    "reversed": "\u202egpj.exe",
    "not UTF-8": os.fsdecode(b"na\xffme"),
    "accents": "caf\u00e9 \u6620",
    "return": "d\rerror: fake\a\b",
}


def folder_of(name: str, parent: Path) -> Path:
    (parent / name).mkdir(parents=True)
    assert cv2.imwrite(str(parent / "1.png"), TINY)
    (parent / "1.png").rename(parent / name / "1.png")
    return parent / name


def run_bytes(
    tmp_path: Path, *arguments: object, encoding: str | None = None, **options: object
) -> subprocess.CompletedProcess[bytes]:
    environment = dict(os.environ)
    if encoding is not None:
        environment["PYTHONIOENCODING"] = encoding
    line = material.command(*arguments)
    return subprocess.run(line, capture_output=True, cwd=tmp_path, env=environment, timeout=60, check=False, **options)  # type: ignore[call-overload,no-any-return]


def check_harmless(output: bytes) -> None:
    """No control character but the end of lines, and no line that a name has made up."""
    for line in output.decode("utf-8", "surrogateescape").splitlines():
        assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in line), line
        assert not {"\u202e", "\x1b"} & set(line)
        assert not line.startswith("error: fake")


@pytest.mark.parametrize("encoding", [None, "ascii", "cp1252", "latin-1", "utf-8:strict"])
def test_names_that_cannot_be_shown_end_nothing(tmp_path: Path, weights: Path, encoding: str | None) -> None:
    folders = [folder_of(name, tmp_path) for name in HOSTILE.values()]
    done = run_bytes(
        tmp_path, *folders, "--weights", weights, "--no-video", "--output", f"out{HOSTILE['escape']}", encoding=encoding
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    assert b"Traceback" not in done.stderr
    if encoding not in ("cp1252", "latin-1"):
        check_harmless(done.stdout)
    assert done.stdout.count(b": 1 frames, ") == len(HOSTILE)


@pytest.mark.parametrize("kind", ["missing", "no video", "no images", "glob", "URL"])
def test_errors_of_sources_show_names_harmlessly(tmp_path: Path, weights: Path, kind: str) -> None:
    sources = list(HOSTILE.values())
    for name in sources:
        if kind == "no video":
            (tmp_path / name).write_text("junk")
        elif kind == "no images":
            (tmp_path / name).mkdir()
    if kind in ("glob", "URL"):
        sources = [f"{name}*" if kind == "glob" else f"http://127.0.0.1:9/{name}" for name in sources]
    done = run_bytes(tmp_path, *sources, "--weights", weights, "--output", "out")
    assert done.returncode == 1
    check_errors(done, len(HOSTILE))


@pytest.mark.parametrize("option", ["--weights", "--config", "--output", "--save-detections", "--engine"])
def test_errors_of_options_show_names_harmlessly(tmp_path: Path, weights: Path, option: str) -> None:
    name = "".join(HOSTILE.values())
    (tmp_path / name).write_bytes(b"\x00\xff")
    done = run_bytes(tmp_path, "demo?frames=1&size=64x64", "--weights", weights, "--output", "out", option, name)
    assert done.returncode in (1, 2)
    check_errors(done, 1)


def check_errors(done: subprocess.CompletedProcess[bytes], count: int) -> None:
    check_harmless(done.stdout + done.stderr)
    lines = done.stderr.decode("utf-8", "surrogateescape").splitlines()
    assert len(lines) == count, lines
    assert all(line.startswith("error: ") for line in lines)


COMMANDS = {
    "track": ["run_track.py", "NAME", "--weights", "NAME"],
    "tracker": ["-m", "fairmot", "associate", "NAME", "-o", "x"],
    "tracker option": ["-m", "fairmot", "associate", "x", "-o", "x", "--NAME", "1"],
    "evaluation": ["-m", "fairmot", "evaluate", "NAME", "NAME"],
    "evaluation option": ["-m", "fairmot", "evaluate", "x", "x", "--benchmark", "NAME"],
    "engine": ["-m", "fairmot", "inspect", "NAME"],
    "engine option": ["-m", "fairmot", "build", "x", "NAME"],
    "plugins option": ["-m", "fairmot", "plugins", "NAME"],
    "export": ["-m", "fairmot", "export", "NAME", "-o", "x.onnx"],
    "export verify": ["-m", "fairmot", "verify", "NAME", "--engine", "NAME", "--frame", "NAME"],
    "train": ["-m", "fairmot", "train", "--data", "NAME"],
    "reproduce": ["-m", "fairmot", "reproduce", "--data", "NAME", "--output", "x"],
}


@pytest.mark.parametrize("line", COMMANDS.values(), ids=COMMANDS)
def test_every_command_shows_names_harmlessly(tmp_path: Path, line: list[str]) -> None:
    if line[2] in ("export", "verify", "train", "reproduce"):
        pytest.importorskip("torch")
    name = HOSTILE["escape"] + "\u202e\udcff"
    environment = {**os.environ, "PYTHONPATH": str(material.ROOT), "PYTHONIOENCODING": "ascii"}
    arguments = [
        part.replace("NAME", name).replace("run_track.py", str(material.ROOT / "run_track.py")) for part in line
    ]
    done = subprocess.run(
        [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, timeout=120, check=False
    )
    assert done.returncode in (1, 2), done.stderr
    check_harmless(done.stdout + done.stderr)
    assert b"Traceback" not in done.stderr
    assert b"error: " in done.stderr.splitlines()[-1]


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")
@pytest.mark.parametrize("files", ["", "missing"])
@pytest.mark.parametrize(
    ("redirection", "failed"),
    [
        (">&-", False),
        ("2>&-", False),
        (">&- 2>&- <&-", False),
        ("| true", False),
        ("2>&1 | true", False),
        ("2>&1 >/dev/null | true", False),
        (">/dev/full", True),
        ("2>/dev/full", False),
    ],
)
def test_streams_that_are_closed_or_full(
    tmp_path: Path, weights: Path, redirection: str, failed: bool, files: str
) -> None:
    clip = material.write_clip(tmp_path / "clip.mp4", 5)
    line = f'set -o pipefail; "$@" {redirection}'
    track = material.command(clip, *([files] if files else []), "--weights", weights, "--output", "out")
    done = subprocess.run(["bash", "-c", line, "-", *track], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == int(failed or bool(files)), done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    assert ("standard output cannot be written (no space left on device)" in done.stderr) is failed
    assert material.check_results(tmp_path / "out" / "clip", status="complete") == 5


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")
@pytest.mark.parametrize(
    "command", ["run_track.py --help", "-m fairmot associate --help", "-m fairmot evaluate --help"]
)
def test_help_into_a_pipe_that_is_closed(command: str) -> None:
    line = f"set -o pipefail; '{sys.executable}' {command} | true"
    done = subprocess.run(["bash", "-c", line], cwd=material.ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
