"""Errors in options as lines that say what to write instead."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from fairmot.core.errors import ConfigError, suggestion
from fairmot.core.options import Key
from fairmot.core.text import one_line
from fairmot.core.yaml_files import require_bounds

_LONGEST = 400


@dataclass(frozen=True)
class Messages:
    """The errors in the options of a command.

    Attributes:
        keys: of the command, by name.
        command: as it is called.
        section: the group of a file that holds the keys, for a command that reads the files of another.
    """

    keys: Mapping[str, Key]
    command: str
    section: str = ""

    def check(self, path: str, content: Mapping[Any, Any]) -> None:
        """Check that a file holds known keys, and true or false where a flag has no value.

        Args:
            path: of the file.
            content: of it.

        Raises:
            ConfigError: if it does not.
        """
        section = f"{self.section}." if self.section else ""
        for name, value in self._flat(content):
            if self.is_group(name):
                raise ConfigError(f"{path}: {self.wrong(name, value)}")
            if name not in self.keys or self.keys[name].is_argument:
                raise self._unknown(name, f"{path}: the key", section)
            if self.keys[name].kind is bool and not isinstance(value, bool):
                raise ConfigError(f"{path}: {self.wrong(name, value)}")
            for text in _texts(value):
                require_bounds(f"{path}: {name}", text)

    def is_group(self, name: str) -> bool:
        """Tell whether a name is the beginning of keys, and no key."""
        return any(each.startswith(f"{name}.") for each in self.keys)

    def wrong(self, name: str, value: object) -> str:
        """Return the error for a value of the wrong type."""
        expected = "a group of keys with values" if self.is_group(name) else self.keys[name].expected
        return f'{name} must be {expected}, not "{one_line(value)}".'

    def missing(self, key: Key) -> str:
        """Return the error for an option that must be given."""
        if key.missing:
            return f"{key.missing}; see {self.command} --help."
        what = key.metavar if key.is_argument else f"--{key.name}"
        return f"{what} is missing ({key.help}); see {self.command} --help."

    def explain(self, message: str) -> str:
        """Return a message of jsonargparse as one line in our words."""
        unknown = re.match(r"unrecognized arguments: (--?)(?:no-)?([^\s=]+)", message, re.IGNORECASE)
        if unknown and self.is_group(unknown[2]):
            value = re.match(r"[^=]*?--[^\s=]+[\s=]?(.*)", message, re.DOTALL)
            return self.wrong(unknown[2], value[1] if value else "")
        if unknown:
            return str(self._unknown(unknown[2], "The option"))
        switch = re.match(r"argument --([\w.]+)/.*: ignored explicit argument", message)
        if switch:
            flag = switch[1].replace("_", "-")
            return f"{switch[1]} takes no value: write --{flag} or --no-{flag}."
        surplus = re.match(r"unrecognized arguments: (.*)", message, re.IGNORECASE | re.DOTALL)
        if surplus:
            return f'The argument "{one_line(surplus[1])}" is one too many; see {self.command} --help.'
        wrong = re.search(
            r'Parser key "([\w.]+)".*(?:Given value:|Got value:|load config) "?(.*?)"?$', message, re.DOTALL
        )
        if wrong and (wrong[1] in self.keys or self.is_group(wrong[1])):
            return self.wrong(wrong[1], wrong[2])
        return f"{one_line(message, _LONGEST).rstrip('.')}; see {self.command} --help."

    def _flat(self, content: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
        for name, value in content.items():
            key = f"{prefix}{name}"
            if isinstance(value, dict) and self.is_group(key):
                yield from self._flat(value, f"{key}.")
            else:
                yield key, value

    def _unknown(self, name: str, subject: str, section: str = "") -> ConfigError:
        """Return the error for a key that does not exist, with the nearest that does; its group may be left out."""
        known = {key.name for key in self.keys.values() if not key.is_argument}
        nearest = suggestion(name, known)
        if not nearest:
            last = {each.rpartition(".")[2]: each for each in known}
            nearest = "".join(suggestion(last[each], known) for each in get_close_matches(name, last, n=1))
        return ConfigError(f'{subject} "{one_line(section + name)}" is unknown.{nearest}')


def _texts(value: Any) -> Iterator[str]:
    """Yield every text within a value of a YAML file."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
