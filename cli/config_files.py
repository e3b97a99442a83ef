"""The YAML files that `--config` names: a path, or the name of a preset of `fairmot.configs`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from fairmot.cli.command import ConfigFiles
from fairmot.core.errors import ConfigError, suggestion
from fairmot.core.yaml_files import read_yaml

_SUFFIX = ".yaml"


def preset_path(name: str) -> Path:
    """Return the file of a preset, which need not exist."""
    return Path(str(files("fairmot.configs"))) / f"{name}{_SUFFIX}"


def find_file(given: str, config: ConfigFiles) -> str:
    """Return the path that `--config` means: a file, or else the preset of that name.

    Raises:
        ConfigError: if there is neither.
    """
    if given in config.presets and not os.path.isfile(given):  # a folder may have its name, as `fairmot` here
        return str(preset_path(given))
    if os.path.exists(given) or given.endswith((_SUFFIX, ".yml")) or os.path.basename(given) != given:
        return given
    presets = ", ".join(config.presets)
    raise ConfigError(
        f"The configuration {given} is neither a file that can be read nor a preset ({presets})."
        f"{suggestion(given, config.presets)}"
    )


def read_config(path: str, config: ConfigFiles) -> dict[Any, Any]:
    """Return the keys that a file holds for a command.

    Raises:
        ConfigError: if it cannot be read or holds none.
    """
    example = example_of(config)
    content = read_yaml(path, example)
    if config.section:
        content = content.get(config.section) if isinstance(content, Mapping) else None
    if not isinstance(content, dict):
        wanted = f"`{config.section}:` keys" if config.section else "`key: value` lines"
        raise ConfigError(f"The configuration {path} holds no {wanted}; see {example}.")
    return content


def example_of(config: ConfigFiles) -> str:
    """Return the path of a file that shows every key, short where it lies below the working directory."""
    path = preset_path(config.presets[0])
    try:
        return str(path.relative_to(Path.cwd()))
    except (OSError, ValueError):
        return str(path)


def config_values(arguments: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """Yield the first and last position of every `--config FILE` in a command line, and the file."""
    position = 0
    while position < len(arguments) and arguments[position] != "--":
        name, equals, value = arguments[position].partition("=")
        if name == "--config" and equals:
            yield position, position, value
        elif name == "--config" and position + 1 < len(arguments):
            yield position, position + 1, arguments[position + 1]
            position += 1
        position += 1
