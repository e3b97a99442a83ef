"""The parser of a command, made from its declared options, and the form of its help."""

from __future__ import annotations

import re
import textwrap
from argparse import Action
from collections.abc import Mapping
from dataclasses import MISSING
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from jsonargparse import ActionYesNo, ArgumentParser, DefaultHelpFormatter

from fairmot.cli.command import Command, ConfigFiles
from fairmot.core.options import Key
from fairmot.core.version import __version__

_SPELLING = "Flags may be written with - or _."


def make_parser(
    command: Command[Any], name: str, keys: Mapping[str, Key], defaults: Mapping[str, Any]
) -> ArgumentParser:
    """Return a parser.

    Args:
        command: whose options it parses.
        name: of the command.
        keys: the options, by name.
        defaults: in place of those of the keys.
    """
    examples = "\n".join(f"  {line}" for line in command.examples)
    parser = ArgumentParser(
        prog=f"fairmot {name}",
        usage=" ".join([f"fairmot {name}", *filter(None, map(_in_usage, keys.values())), "[options]"]),
        description=f"{command.description.strip()} {_SPELLING}",
        epilog=f"Examples:\n{examples}",
        version=__version__,
        formatter_class=_HelpFormatter,
        exit_on_error=False,
        allow_abbrev=False,
        print_config=None,
    )
    if command.config is not None:
        parser.add_argument("--config", action="config", metavar="FILE", help=_about(command.config))
    groups: dict[str, Any] = {"arguments": parser, "options": parser}
    for key in keys.values():
        if key.group not in groups:
            groups[key.group] = parser.add_argument_group(key.group)
        _add(groups[key.group], key, defaults.get(key.name, key.default))
    return parser


def is_switch(key: Key) -> bool:
    """Tell whether a flag stands alone, as `--video` and `--no-video`; those of nested settings take true or false."""
    return key.kind is bool and len(key.path) == 1


def _add(group: Any, key: Key, default: Any) -> None:
    required = default is MISSING
    text = key.help if required else _with_default(key, default)
    named: dict[str, Any] = {"help": text.replace("%", "%%")}
    if key.metavar:
        named["metavar"] = key.metavar
    elif NoneType in get_args(key.kind) and get_origin(get_args(key.kind)[0]) is Literal:
        named["metavar"] = f"{{{','.join(get_args(get_args(key.kind)[0]))}}}"
    kind = key.kind
    if key.format is not None:
        kind = str | None if NoneType in get_args(kind) else str
        default = default if required or default is None else key.format.write(default)
    elif key.many:
        kind = get_args(kind)[0]
    if is_switch(key):
        named["action"] = ActionYesNo(yes_prefix="", no_prefix="no-")
    else:
        named["type"] = kind
    if not required and not (key.is_argument and key.many):
        named["default"] = default
    if key.is_argument:
        group.add_argument(key.name, nargs="*" if key.many else "?", **named)
        return
    if key.many:
        named["nargs"] = "+"
    if key.const is not None:
        named |= {"nargs": "?", "const": key.const}
    group.add_argument(*([f"-{key.short}"] if key.short else []), f"--{key.name}", **named)


def _with_default(key: Key, default: Any) -> str:
    if default is None or default == ():
        return key.help
    text = key.format.write(default) if key.format is not None else default
    shown = str(default).lower() if isinstance(default, bool) else text
    return key.help if isinstance(default, dict) or shown == "" else f"{key.help} (default: {shown})"


def _in_usage(key: Key) -> str:
    """Return how a key shows in the usage: arguments, and what must be given."""
    if key.is_argument:
        name = f"{key.metavar} [{key.metavar} ...]" if key.many else key.metavar
        return name if key.default is MISSING else f"[{name}]"
    if key.default is not MISSING:
        return ""
    return f"{f'-{key.short}' if key.short else f'--{key.name}'} {key.metavar or key.name.upper()}"


def _about(config: ConfigFiles) -> str:
    what = f"whose `{config.section}:` keys are taken" if config.section else "with any of the keys below"
    presets = ", ".join(config.presets)
    return f"YAML file {what}, or the name of a preset ({presets}); flags after it win"


class _HelpFormatter(DefaultHelpFormatter):
    """Wraps paragraphs, keeps lines that are indented as they stand, and shows help texts without types."""

    def _get_help_string(self, action: Action) -> str:
        return action.help or ""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = re.split(r"\n\s*\n", text.strip())
        return "\n\n".join(
            each if re.search(r"^ ", each, re.MULTILINE) else textwrap.fill(" ".join(each.split()), width)
            for each in paragraphs
        )
