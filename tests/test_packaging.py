"""The lists of packages agree with the folders, and packages load no more than they should.

What the wheel holds and whether it works is the session `wheel` of noxfile.py.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
TOP = sorted(path.parent.name for path in ROOT.glob("[!.]*/__init__.py"))


@pytest.fixture(scope="module")
def tool() -> dict[str, Any]:
    """Return the tables of the tools in pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]


def dotted(folder: Path) -> str:
    """Return the name by which a folder of the checkout is imported."""
    parts = folder.relative_to(ROOT).parts
    return ".".join(parts if parts[0] == "fairmot" else ("fairmot", *parts))


def test_every_folder_with_modules_is_a_package_of_the_distribution(tool: dict[str, Any]) -> None:
    with_modules = {path.parent for top in TOP for path in (ROOT / top).rglob("*.py")}
    assert tool["setuptools"]["packages"] == sorted(map(dotted, with_modules))
    assert all((folder / "__init__.py").is_file() for folder in with_modules)


def test_packages_at_the_top_have_their_place(tool: dict[str, Any]) -> None:
    assert tool["setuptools"]["package-dir"] == {dotted(ROOT / top): top for top in TOP}


def test_the_linters_know_every_package(tool: dict[str, Any]) -> None:
    others = [top for top in TOP if top != "fairmot"]
    listed = re.search(r"^PACKAGES := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert listed is not None
    assert sorted(listed[1].split()) == others
    assert sorted(tool["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]) == others
    layers = tool["importlinter"]["contracts"][0]
    placed = [name for layer in layers["layers"] for name in re.findall(r"\w+", layer)]
    assert sorted([*placed, *layers["exhaustive_ignores"]]) == sorted(["__main__", *others])


def test_a_checkout_runs_from_any_folder(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "run_track.py", "--help"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "run_track.py" in answer.stdout or "fairmot track" in answer.stdout
    assert list(tmp_path.iterdir()) == []
