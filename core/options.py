"""Declaration of options: what a command line has to know of a dataclass field beside its type and default.

A dataclass of options is the one place where an option is stated. Help texts stand in `option` and `argument`, or, for
settings that a library user constructs as well, in the `Attributes` section of the class.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from fairmot.core.errors import ConfigError

T = TypeVar("T")

_OPTION = "fairmot option"


@dataclass(frozen=True)
class Format:
    """Values that are written as one word on the command line and in files.

    Attributes:
        expected: the word in words, with an example.
        read: returns the value of a word, or raises `ValueError`.
        write: returns the word of a value.
    """

    expected: str
    read: Callable[[str], Any]
    write: Callable[[Any], str]


def _read_size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise ValueError(text)
    return int(width), int(height)


def _read_numbers(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise ValueError(text)
    return tuple(map(int, parts))


def _read_names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _join(values: tuple[object, ...]) -> str:
    return ",".join(map(str, values))


Size = Annotated[
    tuple[int, int],
    Format("WIDTHxHEIGHT in pixels, as in 576x320", _read_size, lambda size: f"{size[0]}x{size[1]}"),
]
"""Width and height in pixels."""

Numbers = Annotated[tuple[int, ...], Format("a number or several by commas, as in 1,4,8", _read_numbers, _join)]
"""Whole numbers."""

Names = Annotated[tuple[str, ...], Format("names by commas, as in person,car", _read_names, _join)]
"""Names without commas."""


@dataclass(frozen=True)
class _Declared:
    """The metadata that `option`, `argument`, `nested`, `like` and `fixed` attach to a field."""

    help: str = ""
    group: str = ""
    short: str = ""
    metavar: str = ""
    is_argument: bool = False
    many: bool = False
    const: object = None
    missing: str = ""
    defaults: Callable[[str], Mapping[str, Any]] | None = None
    prefix: str | None = None  # of the keys of nested settings
    names: Mapping[str, str] = field(default_factory=dict)
    skip: tuple[str, ...] = ()
    is_fixed: bool = False


@dataclass(frozen=True)
class Key:
    """One option.

    Attributes:
        name: on the command line (after `--`) and in files.
        path: fields that lead to its value, from the dataclass of all options.
        kind: its type.
        format: how it is written, if not as jsonargparse has it.
        default: its default; `dataclasses.MISSING` if it must be given.
        help: its help text.
        group: title of the group in which the help lists it.
        short: a short flag, as in `-o`.
        metavar: name of its value in the help; the name of the key if empty.
        is_argument: whether it is positional.
        many: whether it takes any number of values.
        const: its value where the flag stands alone; None if it cannot.
        missing: the error where it must be given and is not.
        defaults: returns defaults of other keys for a value of this one.
    """

    name: str
    path: tuple[str, ...]
    kind: Any
    format: Format | None
    default: Any
    help: str
    group: str
    short: str = ""
    metavar: str = ""
    is_argument: bool = False
    many: bool = False
    const: object = None
    missing: str = ""
    defaults: Callable[[str], Mapping[str, Any]] | None = None

    @property
    def expected(self) -> str:
        """The values that it takes, in words."""
        if self.format is None:
            return expected_values(self.kind)
        return self.format.expected


def option(
    help: str,
    default: Any = MISSING,
    *,
    group: str = "options",
    short: str = "",
    metavar: str = "",
    many: bool = False,
    const: object = None,
    missing: str = "",
    defaults: Callable[[str], Mapping[str, Any]] | None = None,
) -> Any:
    """Return a field that is a flag and, for commands that read files, a key; see `Key`."""
    declared = _Declared(help, group, short, metavar, many=many, const=const, missing=missing, defaults=defaults)
    return field(default=default, metadata={_OPTION: declared})


def argument(help: str, metavar: str, default: Any = MISSING, *, many: bool = False, missing: str = "") -> Any:
    """Return a field that is a positional argument; see `Key`."""
    declared = _Declared(help, "arguments", metavar=metavar, is_argument=True, many=many, missing=missing)
    return field(default=default, metadata={_OPTION: declared})


def nested(
    kind: type, *, prefix: str = "", group: str = "", names: Mapping[str, str] | None = None, skip: tuple[str, ...] = ()
) -> Any:
    """Return a field that holds the settings of a library class, each of which is an option.

    Args:
        kind: dataclass of the settings, with an `Attributes` section.
        prefix: before the names of their keys, as in `tracker.`.
        group: title in the help; the first line of the class's docstring if empty.
        names: keys of those that are not called like their field.
        skip: fields that are no options.
    """
    declared = _Declared(group=group, prefix=prefix, names=names or {}, skip=skip)
    return field(default_factory=kind, metadata={_OPTION: declared})


def like(kind: type, name: str, *, group: str = "options") -> Any:
    """Return a field with the default and the help text of a field of a library's settings."""
    (same,) = (each for each in fields(kind) if each.name == name)
    return option(_documented(kind)[name], same.default, group=group)


def fixed(default: Any) -> Any:
    """Return a field that is no option: one that a dataclass inherits from the options of another command."""
    return field(default=default, metadata={_OPTION: _Declared(is_fixed=True)})


def keys_of(options: type) -> dict[str, Key]:
    """Return the options that a dataclass declares, by name."""
    return {key.name: key for key in _walk(options, "", (), _Declared())}


def build(options: type[T], keys: Mapping[str, Key], values: Mapping[str, Any], missing: str = "") -> T:
    """Return an instance of a dataclass of options.

    Args:
        options: the dataclass.
        keys: of it.
        values: by name of the key.
        missing: the error if a value that must be given is not; those of nested settings come first.

    Raises:
        ConfigError: by the dataclass, if a value is out of range, or if one is missing.
    """
    tree: dict[str, Any] = {}
    for key in keys.values():
        node = tree
        for part in key.path[:-1]:
            node = node.setdefault(part, {})
        node[key.path[-1]] = values[key.name]
    hints = get_type_hints(options)
    content = {name: _instance(hints[name], value) for name, value in tree.items()}
    if missing:
        raise ConfigError(missing)
    return options(**content)


def values_of(options: Any) -> dict[str, Any]:
    """Return the values of an instance as a file holds them: by key, groups nested, without positional arguments."""
    content: dict[str, Any] = {}
    for key in keys_of(type(options)).values():
        if key.is_argument:
            continue
        value = options
        for part in key.path:
            value = getattr(value, part)
        if value is not None and key.format is not None:
            value = key.format.write(value)
        *groups, last = key.name.split(".")
        node = content
        for group in groups:
            node = node.setdefault(group, {})
        node[last] = str(value) if isinstance(value, Path) else value
    return content


def expected_values(kind: Any) -> str:
    """Return in words the values that a type takes."""
    arguments = get_args(kind)
    origin = get_origin(kind)
    if origin is tuple:
        count = "" if ... in arguments else f"{len(arguments)} "
        return f"{count}values in brackets, as in {_example(kind)}"
    if origin is dict:
        return f"values by name, as in {_example(kind)}"
    if arguments and isinstance(arguments[0], str):  # a Literal
        *most, last = arguments
        return f"{', '.join(most)} or {last}" if most else str(last)
    if arguments:
        return " or ".join("null" if each is NoneType else expected_values(each) for each in arguments)
    return _KINDS[kind]


_KINDS = {
    int: "a whole number",
    float: "a number (infinity is .inf)",
    bool: "true or false",
    str: "text",
    Path: "a path",
}
_EXAMPLES = {int: "64", float: "0.5", str: "name"}


def _example(kind: Any) -> str:
    """Return how values of a type may be written."""
    arguments = get_args(kind)
    if get_origin(kind) is tuple:
        value = _example(arguments[0])
        return f"[{value}, {value}]"
    if get_origin(kind) is dict:
        return f"{{name: {_example(arguments[1])}}}"
    return _EXAMPLES[kind]


def _walk(kind: type, prefix: str, path: tuple[str, ...], above: _Declared) -> Iterator[Key]:
    hints = get_type_hints(kind, include_extras=True)
    documented = _documented(kind)
    for each in fields(kind):
        if each.name in above.skip:
            continue
        declared: _Declared = each.metadata.get(_OPTION, _Declared())
        if declared.is_fixed:
            continue
        hint = hints[each.name]
        inside = (*path, each.name)
        if isinstance(hint, type) and is_dataclass(hint):
            nested = f"{prefix}{each.name}." if declared.prefix is None else f"{prefix}{declared.prefix}"
            title = declared.group or (inspect.getdoc(hint) or "").partition("\n")[0].rstrip(".")
            inner = _Declared(group=title, names=declared.names, skip=declared.skip)
            yield from _walk(hint, nested, inside, inner)
            continue
        plain, written = _without_format(hint)
        yield Key(
            prefix + above.names.get(each.name, each.name),
            inside,
            plain,
            written,
            _default(each),
            declared.help or documented.get(each.name, ""),
            declared.group or above.group,
            declared.short,
            declared.metavar,
            declared.is_argument,
            declared.many,
            declared.const,
            declared.missing,
            declared.defaults,
        )


def _default(each: Field[Any]) -> Any:
    return each.default_factory() if each.default_factory is not MISSING else each.default


def _without_format(hint: Any) -> tuple[Any, Format | None]:
    """Return a type without the `Format` in it, and that."""
    found: list[Format] = []

    def plain(kind: Any) -> Any:
        if get_origin(kind) is Annotated:
            found.extend(each for each in kind.__metadata__ if isinstance(each, Format))
            return kind.__origin__
        return kind

    optional = NoneType in get_args(hint)
    inner = [plain(kind) for kind in get_args(hint)] if optional else [plain(hint)]
    if not found:
        return hint, None
    return (inner[0] | None if optional else inner[0]), found[0]


def _documented(kind: type) -> dict[str, str]:
    """Return the texts of the `Attributes` section of a class, the first paragraph of each."""
    texts: dict[str, list[str]] = {}
    section = re.search(r"^Attributes:\n((?:    .*\n|\n)*)", f"{inspect.getdoc(kind)}\n", re.MULTILINE)
    lines = texts.setdefault("", [])
    for line in section[1].splitlines() if section else ():
        start = re.match(r"    (\w+): (.*)", line)
        if start:
            lines = texts.setdefault(start[1], [start[2]])
        elif line:
            lines.append(line.strip())
        else:
            lines = texts.setdefault("", [])  # a further paragraph
    return {name: " ".join(lines).rstrip(".:") for name, lines in texts.items()}


def _instance(kind: Any, value: Any) -> Any:
    """Return an instance of a dataclass with these values, nested ones by name; of another type the value itself."""
    if not is_dataclass(kind):
        return value
    hints = get_type_hints(kind)
    return kind(**{name: _instance(hints[name], each) for name, each in value.items()})  # type: ignore[operator]
