"""Records out of JSON of which nothing is sure: every value must have the type that the record names for it."""

from __future__ import annotations

import types
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Record = TypeVar("Record")


def read_record(kind: type[Record], values: Any) -> Record:
    """Make a dataclass of a JSON object.

    Args:
        kind: the dataclass; its fields are numbers, text, paths, literals, tuples of these, or other such dataclasses.
        values: the object.

    Raises:
        ValueError: if a field is missing, unknown or of another type.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{kind.__name__} is not an object")
    hints = get_type_hints(kind)
    names = {each.name for each in fields(kind)}  # type: ignore[arg-type] # it is a dataclass
    if names != set(values):
        raise ValueError(f"{kind.__name__} has other fields")
    return kind(**{name: _value(hints[name], values[name]) for name in names})


def _value(kind: Any, value: Any) -> Any:
    """Return a JSON value as `kind`."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        if value in inner:
            return value
    elif origin in (Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        (other,) = (each for each in inner if each is not type(None))
        return _value(other, value)
    elif origin is tuple:
        if isinstance(value, list):
            wanted = [inner[0]] * len(value) if inner[1:] == (...,) else list(inner)
            return tuple(_value(each, item) for each, item in zip(wanted, value, strict=True))
    elif kind is Path:
        if isinstance(value, str):
            return Path(value)
    elif kind is float:
        if type(value) in (int, float):
            return float(value)
    elif kind in (int, str, bool):
        if type(value) is kind:
            return value
    else:
        return read_record(kind, value)
    raise ValueError(f"{value!r:.40} is not {kind}")
