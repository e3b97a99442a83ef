"""The documentation against the project: commands, links, keys and snippets."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

import fairmot
from fairmot.cli.options import read_options
from fairmot.cli.table import COMMANDS, module_of
from fairmot.core.options import keys_of
from fairmot.tracker.settings import TrackerSettings

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
COMMAND = re.compile(r"(?:fairmot|python run_track\.py) \S")
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)(?!\()")
INCLUDE = re.compile(r'^-*8<-* "([^"]+)"$', re.MULTILINE)
ROW = re.compile(r"^\| `([\w.]+)` \| `([^`]+)` \|", re.MULTILINE)


def blocks(page: Path, language: str) -> Iterator[str]:
    """Yield the code blocks of a page in this language."""
    for _, found, content in FENCE.findall(page.read_text(encoding="utf-8")):
        if found == language:
            yield content


def commands() -> Iterator[tuple[str, str]]:
    """Yield page and command line of everything that the pages tell a user to type."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
        for line in [*lines, *re.findall(r"`([^`\n]+)`", FENCE.sub("", text))]:
            if COMMAND.match(line):
                yield page.relative_to(ROOT).as_posix(), line


COMMAND_LINES = sorted(set(commands()))


@pytest.mark.parametrize(("page", "line"), COMMAND_LINES, ids=[f"{page}: {line}" for page, line in COMMAND_LINES])
def test_every_command_can_be_read_without_a_warning(
    page: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *words = shlex.split(line.replace("python run_track.py", "fairmot track", 1), comments=True)[1:]
    if name == "--help":
        return
    assert name in COMMANDS
    if words:  # else the text mentions the subcommand
        (tmp_path / "my.yaml").write_text("size: 1088x608")
        (tmp_path / "mine.yaml").write_text("settings: {sets: {street: 1.0}}")
        (tmp_path / "configs").symlink_to(ROOT / "configs")
        monkeypatch.chdir(tmp_path)
        read_options(import_module(module_of(name)).COMMAND, name, words)
        assert not capsys.readouterr().err  # which names that are no longer used would cause


def test_flags_in_the_text_exist() -> None:
    commands = [import_module(module_of(name)).COMMAND for name in COMMANDS]
    names = {name for command in commands for name in keys_of(command.options)} | {"config"}
    known = {f"--{prefix}{name}" for name in names for prefix in ("", "no_")}
    text = "".join(FENCE.sub("", page.read_text(encoding="utf-8")) for page in PAGES)
    given = {flag.replace("-", "_").replace("__", "--", 1) for flag in re.findall(r"`(--[a-z][\w.-]*)", text)}
    assert len(given) > 20
    assert given <= known


def test_commands_are_found_in_blocks_and_in_text() -> None:
    lines = {line for _, line in COMMAND_LINES}
    assert {"fairmot track video.mp4", "fairmot associate walk.npz -o tracks.txt"} <= lines
    assert {line.split()[1] for line in lines if line.startswith("fairmot ")} >= set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_relative_link_and_every_included_file_exists(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    targets = [target.partition("#")[0] for target in LINK.findall(text) if "://" not in target]
    missing = [target for target in targets if target and not (page.parent / target).exists()]
    missing += [name for name in INCLUDE.findall(text) if not (ROOT / name).is_file()]
    assert not missing


def test_files_of_the_project_that_the_text_names_exist() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = set(re.findall(r"`((?:[a-z]\w*/)+\w+\.(?:py|md|yaml))`", text))
    drawing = (DOCS / "assets" / "architecture.svg").read_text(encoding="utf-8")
    named |= set(re.findall(r">([a-z]\w*/(?:\w+/)*(?:\w+\.py)?)<", drawing))
    assert len(named) > 15
    assert not [name for name in named if not (ROOT / name).exists()]


@pytest.mark.parametrize("name", ["architecture.md", "extending.md", "guides/python.md"])
def test_names_of_the_code_that_the_text_uses_exist(name: str) -> None:
    text = FENCE.sub("", (DOCS / name).read_text(encoding="utf-8"))
    named = set(re.findall(r"`(?:\w+\.)?(\w*_\w*)(?:\(.*?\))?`", text))
    code = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("[!.]*/**/*.py") if "tests" not in path.parts)
    assert named
    assert not named - set(re.findall(r"\w+", code))


def flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of nested keys by their full name."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def test_the_configuration_page_has_every_key_with_its_default() -> None:
    page = (DOCS / "configuration.md").read_text(encoding="utf-8").partition("## Old keys")[0]
    rows = ROW.findall(page)
    shown = {key: yaml.safe_load(default) for key, default in rows}
    assert len(shown) == len(rows)
    assert shown == flat(yaml.safe_load((ROOT / "configs" / "default.yaml").read_text(encoding="utf-8")))
    tracker = {f"tracker.{each.name}": each.default for each in fields(TrackerSettings)}
    assert {key: value for key, value in shown.items() if key.startswith("tracker.")} == tracker


def test_the_api_page_has_every_public_name() -> None:
    page = (DOCS / "api" / "index.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(\w+)`[\]\s]", page)) == set(fairmot.__all__)


SNIPPETS = [
    pytest.param(block, id=f"{page.relative_to(ROOT).as_posix()}, {number}")
    for page in PAGES
    for number, block in enumerate(blocks(page, "python"), 1)
]


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_every_snippet_runs(snippet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, "snippet", "exec"), {"__name__": "snippet"})


@pytest.mark.parametrize("block", [block for page in PAGES for block in blocks(page, "yaml")])
def test_every_yaml_block_can_be_read(block: str) -> None:
    assert isinstance(yaml.safe_load(block), dict)
