"""The version of the project."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PROJECT = "fairmot-tensorrt"


def project_version() -> str:
    """Return the version of the installed project or, in a checkout that is not installed, of its pyproject.toml."""
    with suppress(PackageNotFoundError):
        return version(PROJECT)
    with suppress(OSError):
        text = (Path(__file__).resolve().parents[1] / "pyproject.toml").read_text(encoding="utf-8")
        found = re.search(r'^version = "(.+)"$', text, re.MULTILINE)
        if found:
            return found[1]
    return "unknown"


def installed_versions(packages: Iterable[str]) -> dict[str, str | None]:
    """Return the versions of distributions by name; None for one that is not installed."""
    found: dict[str, str | None] = dict.fromkeys(packages)
    for package in found:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


__version__ = project_version()
