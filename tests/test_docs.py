"""The documentation against the project: commands, links, keys and snippets."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from fairmot.cli.main import COMMANDS, main
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


def needs_torch(name: str) -> bool:
    return COMMANDS[name].extra in ("[export]", "[train]")


@cache
def flags_of(name: str) -> frozenset[str]:
    """Return the flags in the help of a subcommand, spelled with underscores."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        main([name, "--help"])
    text = printed.getvalue().replace("--[no-]", "--no-")
    found = {flag.replace("-", "_") for flag in re.findall(r"(?<![\w-])--?[a-z][\w.-]*", text)}
    return frozenset(found | {flag.replace("__no_", "__") for flag in found})


COMMAND_LINES = sorted(set(commands()))


@pytest.mark.parametrize(("page", "line"), COMMAND_LINES, ids=[f"{page}: {line}" for page, line in COMMAND_LINES])
def test_every_command_names_a_subcommand_and_its_flags(page: str, line: str) -> None:
    words = shlex.split(line.removeprefix("python run_track.py").removeprefix("fairmot"), comments=True)
    if line.startswith("python run_track.py"):
        words = ["track", *words]
    if words[0].startswith("-"):
        assert words == ["--help"]
        return
    assert words[0] in COMMANDS
    if needs_torch(words[0]) and not find_spec("torch"):
        pytest.skip("PyTorch is not installed")
    given = {word.partition("=")[0].replace("-", "_") for word in words[1:] if re.match(r"--?[a-z]", word)}
    assert given <= flags_of(words[0])


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
