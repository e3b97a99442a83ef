"""Reading the options of a command: flags, arguments and YAML files, and every error in them as one line."""

from __future__ import annotations

import os
import re
from argparse import ArgumentError
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING
from typing import Any, TypeVar

from jsonargparse import ArgumentParser, Namespace

from fairmot.cli.command import Command, ConfigFiles
from fairmot.cli.config_files import config_values, find_file, read_config
from fairmot.cli.messages import Messages
from fairmot.cli.parser import is_switch, make_parser
from fairmot.core.console import print_warning
from fairmot.core.errors import ConfigError
from fairmot.core.options import Key, build, keys_of
from fairmot.core.renames import Renames, new_key
from fairmot.core.yaml_files import as_yaml, require_bounds

T = TypeVar("T")


def read_options(command: Command[T], name: str, arguments: Sequence[str]) -> T:
    """Return the options that a command line and the files that it names give; later values replace earlier ones.

    Old names of keys and values are understood, with a warning.

    Args:
        command: whose options these are.
        name: of it.
        arguments: what follows its name.

    Raises:
        ConfigError: if something is unknown, missing, of the wrong type or out of range.
        SystemExit: for `--help` and `--version`, after printing.
    """
    keys = keys_of(command.options)
    renames = Renames()
    words = _arguments_last(list(_present_names(arguments, keys, renames)), keys)
    warnings = _warnings(renames)
    messages = Messages(keys, f"fairmot {name}", command.config.section if command.config else "")
    defaults = _chosen_defaults(keys, words)
    parser = make_parser(command, name, keys, defaults)
    if command.config is not None:
        file_parser = make_parser(command, name, {key.name: key for key in keys.values() if not key.is_argument}, {})
        for first, last, given in reversed([*config_values(words)]):
            path = find_file(given, command.config)
            content, more = _content(path, command.config, messages, file_parser)
            warnings = [*more, *warnings]
            words[first : last + 1] = [f"--config={content}"]
    for key, value in _flags(words):
        if messages.is_group(key) and os.path.isfile(value):
            raise ConfigError(f"{messages.wrong(key, value)} Name files of keys with --config.")
        if key != "config":
            require_bounds(key, value)
    try:
        found = parser.parse_args(words)
    except ArgumentError as error:
        raise ConfigError(messages.explain(error.message)) from error
    values = {key.name: _value(key, found, messages) for key in keys.values()}
    for warning in warnings:
        print_warning(warning)
    lacking = [key for key in keys.values() if key.default is MISSING and values[key.name] in (None, ())]
    return build(command.options, keys, values, messages.missing(lacking[0]) if lacking else "")


def with_underscores(argument: str) -> str:
    """Return a flag spelled as its key: `--save-detections` is `--save_detections`."""
    name, equals, value = argument.partition("=")
    if not name.startswith("--"):
        return argument
    prefix = "--no-" if name.startswith("--no-") else "--"
    return f"{prefix}{name.removeprefix(prefix).replace('-', '_')}{equals}{value}"


def _present_names(arguments: Sequence[str], keys: Mapping[str, Key], renames: Renames) -> Iterator[str]:
    """Yield the arguments with flags and values as they are called now."""
    key = ""
    for position, argument in enumerate(arguments):
        if argument == "--":
            yield from arguments[position:]
            return
        if not argument.startswith("--"):
            yield str(renames.value(key, argument)) if key else argument
            key = ""
            continue
        flag, equals, value = with_underscores(argument).partition("=")
        prefix = "--no-" if flag.startswith("--no-") else "--"
        key = flag.removeprefix(prefix)
        if (new_key(key) or key) in keys:
            key = renames.key(key)
        yield f"{prefix}{key}{equals}{renames.value(key, value) if equals else ''}"
        key = "" if equals else key


def _arguments_last(words: Sequence[str], keys: Mapping[str, Key]) -> list[str]:
    """Return the words with all positional arguments behind all flags, which argparse wants beside each other."""
    by_flag = {f"--{key.name}": key for key in keys.values()} | {f"-{key.short}": key for key in keys.values()}
    flags: list[str] = []
    arguments: list[str] = []
    rest = deque(words)
    while rest:
        word = rest.popleft()
        if word == "--":
            arguments += rest
            break
        if not _is_flag(word):
            arguments.append(word)
            continue
        flags.append(word)
        key = by_flag.get(word.replace("--no-", "--", 1))
        takes_value = "=" not in word and (key is None or not is_switch(key))  # of an unknown one it is not known
        while takes_value and rest and not _is_flag(rest[0]):
            flags.append(rest.popleft())
            takes_value = key is not None and key.many
    return [*flags, "--", *arguments] if arguments else flags


def _is_flag(word: str) -> bool:
    return bool(re.match(r"-(?!\d|\.\d|$)", word))


def _warnings(renames: Renames, path: str = "") -> list[str]:
    where = f"{path}: " if path else ""
    return [
        f'{where}"{old}" is called "{new}" now; the old name is accepted until the next release.'
        for old, new in renames.found.items()
    ]


def _chosen_defaults(keys: Mapping[str, Key], words: Sequence[str]) -> dict[str, Any]:
    """Return the defaults that the values of some options choose for others."""
    defaults: dict[str, Any] = {}
    for key in keys.values():
        if key.defaults is not None:
            given = [value for name, value in _flags(words) if name == key.name]
            defaults |= key.defaults(given[-1] if given else key.default)
    return defaults


def _content(path: str, config: ConfigFiles, messages: Messages, parser: ArgumentParser) -> tuple[str, list[str]]:
    """Return what a file holds as YAML text in present names, and the warnings about old ones.

    Each file is checked by itself, since here it is known which one is invalid.

    Raises:
        ConfigError: if the file cannot be read, or a key in it is unknown or has a value of the wrong type.
    """
    renames = Renames()
    try:
        content = renames.content(read_config(path, config))
    except ConfigError as error:
        raise error if path in str(error) else ConfigError(f"{path}: {error}") from error
    messages.check(path, content)
    text = as_yaml(content)
    try:
        found = parser.parse_string(text)
        for key in messages.keys.values():
            if not key.is_argument:
                _value(key, found, messages)
    except ArgumentError as error:
        raise ConfigError(f"{path}: {messages.explain(error.message)}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return text, _warnings(renames, path)


def _flags(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the flags of a command line with their values; for one without a value, whatever follows it."""
    for word, following in zip(words, [*words[1:], ""], strict=False):
        if word == "--":
            return
        name, equals, value = word.partition("=")
        if name.startswith("--") and (equals or following):
            yield name.removeprefix("--"), value if equals else following


def _value(key: Key, found: Namespace, messages: Messages) -> Any:
    """Return the value of a key as its field holds it.

    Raises:
        ConfigError: if it is not written in its format.
    """
    value = found[key.name]
    if key.many:
        value = tuple(value or ())
    if key.format is None or value is None or value == key.default:
        return value
    try:
        return key.format.read(value)
    except ValueError as error:
        raise ConfigError(messages.wrong(key.name, value)) from error
