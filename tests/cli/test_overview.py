"""`fairmot` without a command, with a wrong one, and the help of every command."""

from __future__ import annotations

import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from support.commands import options_of

from fairmot.cli.main import main
from fairmot.cli.overview import overview
from fairmot.cli.table import COMMANDS, module_of
from fairmot.core.version import __version__

ROOT = Path(__file__).resolve().parents[2]
HEAVY = (
    *("av", "cv2", "fsspec", "lap", "motmetrics", "onnx", "onnxruntime", "pandas", "pycuda", "ray", "scipy"),
    *("tensorrt", "torch"),
)


def test_the_whole_product_on_one_screen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    lines = printed.out.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    for name, entry in COMMANDS.items():
        assert f"  {name} " in printed.out
        assert entry.summary in printed.out
    assert printed.out.count("  fairmot track ") == 2


def test_without_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().err == overview() + "\n"


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_version(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([flag]) == 0
    assert capsys.readouterr().out == f"fairmot {__version__}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trak", "x"], 'There is no command "trak". Did you mean "track"?'),
        (["zebra"], 'There is no command "zebra". See fairmot --help.'),
        (["video.mp4"], "A source needs the command track: fairmot track video.mp4"),
        (["my video.mp4"], "fairmot track 'my video.mp4'"),
        (["demo"], "fairmot track demo"),
        (["demo?people=3"], "fairmot track 'demo?people=3'"),
        (["0"], "fairmot track 0"),
        (["rtsp://camera/1"], "fairmot track rtsp://camera/1"),
        ([str(ROOT)], f"fairmot track {ROOT}"),
        (["--frames", "3"], "The option --frames needs a command before it"),
        (["a\x1b[31m.mp4"], "a\\x1b[31m.mp4"),
    ],
)
def test_a_first_word_that_is_no_command(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert message in printed.err


@pytest.mark.parametrize("name", [None, *COMMANDS])
def test_help_needs_no_heavy_package(name: str | None) -> None:
    words = ["--help"] if name is None else [name, "--help"]
    check = (
        "import sys; from fairmot.cli.main import main\n"
        f"try: main({words})\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "usage: fairmot" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_ends_with_examples_that_work(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])
    text = capsys.readouterr().out
    _, _, examples = text.partition("\nExamples:\n")
    commands = [shlex.split(line) for line in examples.splitlines() if line.strip()]
    assert any(words[:2] == ["fairmot", name] for words in commands)
    for program, command, *arguments in commands:
        assert program == "fairmot"
        assert options_of(command, arguments)


def test_every_command_is_a_module_and_a_line() -> None:
    modules = {path.stem for path in (ROOT / "cli" / "commands").glob("*.py")} - {"__init__"}
    assert modules == {module_of(name).rpartition(".")[2] for name in COMMANDS}
    for name in COMMANDS:
        assert import_module(module_of(name)).COMMAND.examples


@pytest.mark.parametrize("line", [["run_track.py"], ["-m", "fairmot", "track"]])
def test_from_an_unrelated_folder(line: list[str], tmp_path: Path) -> None:
    program = [str(ROOT / line[0]) if line[0].endswith(".py") else line[0], *line[1:]]
    done = subprocess.run(
        [sys.executable, *program, "demo", "--frames", "2", "--no-video"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""} if "-m" in line else {"PATH": ""},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "output" / "demo" / "tracks.txt").is_file()
