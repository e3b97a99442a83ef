"""The subcommands of `fairmot` as functions of their arguments, which return the exit code."""

from __future__ import annotations

from functools import partial

from fairmot.cli.main import main


def _run(name: str, arguments: list[str]) -> int:
    return main([name, *arguments])


evaluate = partial(_run, "evaluate")
export = partial(_run, "export")
plugins = partial(_run, "plugins")
reproduce = partial(_run, "reproduce")
train = partial(_run, "train")
