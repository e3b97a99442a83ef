"""Reading a command's options: flags and YAML files with the same keys, and every fault in them as one sentence."""

from __future__ import annotations

import os
import re
from argparse import ArgumentError
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from jsonargparse import ArgumentParser, Namespace

from fairmot.core.errors import ConfigError, suggestion
from fairmot.core.text import one_line
from fairmot.core.yaml_files import read_yaml, require_bounds

_KINDS = {
    int: "a whole number",
    float: "a number (infinity is .inf)",
    bool: "true or false",
    str: "text",
    Path: "a path",
}
_EXAMPLES = {int: "64", float: "0.5", str: "name"}
_LONGEST_MESSAGE = 400


def with_underscores(argument: str) -> str:
    """Return a flag spelled as its key: `--save-detections` is `--save_detections`."""
    name, equals, value = argument.partition("=")
    if not name.startswith("--"):
        return argument
    prefix = "--no-" if name.startswith("--no-") else "--"
    return f"{prefix}{name.removeprefix(prefix).replace('-', '_')}{equals}{value}"


@dataclass(frozen=True)
class Keys:
    """What flags and YAML files of a command may name.

    Attributes:
        kinds: type of every key; those within a dataclass have its key and a dot before theirs.
        example: a file of keys to compare a faulty one with.
    """

    kinds: Mapping[str, Any]
    example: str = ""

    @classmethod
    def of(cls, hints: Mapping[str, Any], example: str = "") -> Keys:
        """Return the keys of arguments with these type hints."""
        return cls(dict(_leaves(hints)), example)

    def check_files(self, parser: ArgumentParser, arguments: Sequence[str]) -> None:
        """Check the YAML files that `--config` names, each by itself, since here it is known which one is at fault.

        Args:
            parser: of all keys; must not require any, for a file need not hold all.
            arguments: the command line.

        Raises:
            ConfigError: if a file cannot be read, or a key in it is unknown or has a value of the wrong type.
        """
        for name, value in _values(arguments):
            if name == "config":
                self._check_keys(value)
                try:
                    parser.parse_path(value)
                except ArgumentError as error:
                    raise ConfigError(f"{value}: {self._explained(error.message)}") from error

    def parse(self, parser: ArgumentParser, arguments: Sequence[str]) -> Namespace:
        """Read the command line and the files that it names; later values replace earlier ones.

        Raises:
            ConfigError: if something is unknown or of the wrong type.
            SystemExit: for `--help` and `--version`, after printing.
        """
        for name, value in _values(arguments):
            if self._is_group(name) and os.path.isfile(value):  # which jsonargparse would read as a part of the keys
                raise ConfigError(f"{self._wrong(name, value)} Name files of keys with --config.")
            require_bounds(name, value)
        try:
            return parser.parse_args(arguments)
        except ArgumentError as error:
            raise self._explained(error.message) from error

    def _check_keys(self, path: str) -> None:
        """Raise unless a YAML file can be read and holds known keys, and true or false where a flag has no value."""
        content = read_yaml(path, self.example)
        if not isinstance(content, dict):
            raise ConfigError(f"The configuration {path} holds no `key: value` lines; see {self.example}.")
        for key, value in self._flat(content):
            if self._is_group(key):
                raise ConfigError(f"{path}: {self._wrong(key, value)}")
            if key not in self.kinds:
                raise self._unknown(key, f"{path}: the key")
            if self.kinds[key] is bool and not isinstance(value, bool):
                raise ConfigError(f"{path}: {self._wrong(key, value)}")
            for text in _texts(value):
                require_bounds(f"{path}: {key}", text)

    def _flat(self, content: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
        for name, value in content.items():
            key = f"{prefix}{name}"
            if isinstance(value, dict) and self._is_group(key):
                yield from self._flat(value, f"{key}.")
            else:
                yield key, value

    def _is_group(self, key: str) -> bool:
        return any(each.startswith(f"{key}.") for each in self.kinds)

    def _unknown(self, key: str, subject: str) -> ConfigError:
        """Return the error for a key that does not exist, with the nearest that does; its group may be left out."""
        nearest = suggestion(key, self.kinds)
        if not nearest:
            keys = {each.rpartition(".")[2]: each for each in self.kinds}
            nearest = "".join(suggestion(keys[name], self.kinds) for name in get_close_matches(key, keys, n=1))
        return ConfigError(f'{subject} "{one_line(key)}" is unknown.{nearest}')

    def _explained(self, message: str) -> ConfigError:
        """Return a message of jsonargparse as one sentence in our words."""
        unknown = re.match(r"unrecognized arguments: --(?:no-)?([^\s=]+)", message, re.IGNORECASE)
        if unknown:
            return self._unknown(unknown[1], "The option")
        wrong = re.search(
            r'Parser key "([\w.]+)".*(?:Given value:|Got value:|load config) "?(.*?)"?$', message, re.DOTALL
        )
        if wrong and (wrong[1] in self.kinds or self._is_group(wrong[1])):
            return ConfigError(self._wrong(wrong[1], wrong[2]))
        return ConfigError(one_line(message, _LONGEST_MESSAGE).rstrip(".") + "; see --help.")

    def _wrong(self, key: str, value: object) -> str:
        expected = "a group of keys with values" if self._is_group(key) else _expected(self.kinds[key])
        return f'{key} must be {expected}, not "{one_line(value)}".'


def _leaves(hints: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield keys and types, those of dataclasses instead of themselves."""
    for name, kind in hints.items():
        if is_dataclass(kind):
            yield from ((f"{name}.{key}", leaf) for key, leaf in _leaves(get_type_hints(kind)))
        else:
            yield name, kind


def _values(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the options of a command line with their values; for one without a value, whatever follows it."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):
        name, equals, value = argument.partition("=")
        if name.startswith("--") and (equals or following):
            yield name.removeprefix("--"), value if equals else following


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


def _expected(kind: Any) -> str:
    """Return in words what a type takes."""
    arguments = get_args(kind)
    if get_origin(kind) is Literal:
        *most, last = arguments
        return f"{', '.join(most)} or {last}"
    if get_origin(kind) is tuple:
        count = "" if ... in arguments else f"{len(arguments)} "
        return f"{count}values in brackets, as in {_example(kind)}"
    if get_origin(kind) is dict:
        return f"values by name, as in {_example(kind)}"
    if arguments:
        return " or ".join("null" if each is type(None) else _expected(each) for each in arguments)
    return _KINDS[kind]


def _example(kind: Any) -> str:
    """Return how values of a type may be written."""
    arguments = get_args(kind)
    if get_origin(kind) is tuple:
        value = _example(arguments[0])
        return f"[{value}, {value}]"
    if get_origin(kind) is dict:
        return f"{{name: {_example(arguments[1])}}}"
    return _EXAMPLES[kind]
