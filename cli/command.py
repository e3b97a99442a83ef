"""The record that a module of `fairmot.cli.commands` leaves as `COMMAND`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class ConfigFiles:
    """The YAML files that a command reads with `--config`.

    Attributes:
        presets: names of `fairmot.configs` that suit it; the first shows every key.
        section: the group that holds its keys, of a file for another command; empty if the file is its own.
    """

    presets: tuple[str, ...]
    section: str = ""


@dataclass(frozen=True)
class Command(Generic[T]):
    """A subcommand of `fairmot`.

    Attributes:
        options: dataclass of its options, see `fairmot.core.options`.
        run: does the work and returns the exit code.
        description: what it does; the beginning of its help.
        examples: command lines that work as they stand, with a comment where it helps.
        module: what `run` imports, which may take seconds or lack packages.
        config: the files that it reads, if any.
    """

    options: type[T]
    run: Callable[[T], int]
    description: str
    examples: tuple[str, ...]
    module: str
    config: ConfigFiles | None = None
