"""YAML files of settings, read within bounds: a file of a kilobyte must neither fill the memory nor run for minutes.

PyYAML itself puts no bound on aliases of aliases (which grow without end once they are copied, merged or printed), on
the depth of nesting or on the size of a file, and of two equal keys it silently keeps the last. YAML 1.2 (section
3.2.1.1) forbids equal keys, and in settings they are a mistake, so they are refused here.
"""

from __future__ import annotations

from typing import Any

import yaml

from fairmot.core.errors import ConfigError
from fairmot.core.text import one_line

# Far above any settings: those of this project have some 60 values in 4 levels and 5 kB.
_MOST_BYTES = 1_000_000
_MOST_VALUES = 10_000
_DEEPEST = 32
# Python refuses to convert integers of more than 4,300 digits; no setting has 100.
_LONGEST_NUMBER = 100
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


class YAMLBoundError(yaml.MarkedYAMLError):
    """A text is YAML, but more than settings can be.

    Args:
        problem: what is wrong, as in "it nests too deep".
        mark: where.
    """

    def __init__(self, problem: str, mark: Any) -> None:
        super().__init__(None, None, problem, mark)


def read_yaml(path: str, example: str) -> Any:
    """Return what a YAML file holds.

    Args:
        path: of the file.
        example: a good file, named in messages.

    Raises:
        ConfigError: if the file cannot be read, is not YAML, or is larger than settings can be.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise ConfigError(f"The configuration {path} has more than {_MOST_BYTES // 1000} kB; see {example}.")
        return load_yaml(data.decode("utf-8"))
    except OSError as error:
        raise ConfigError(f"The configuration {path} cannot be read ({error.strerror}); check the path.") from error
    except YAMLBoundError as error:
        raise ConfigError(f"The configuration {path} cannot be used: {error.problem}{_line(error)}.") from error
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"The configuration {path} is not YAML{_line(error)}; compare it with {example}.") from error


def load_yaml(text: str) -> Any:
    """Return what a YAML text holds.

    Raises:
        YAMLBoundError: if it nests too deep, holds too many values (those of aliases count wherever they are used), a
            number that is too long, the same key twice or an alias of what contains it.
        yaml.YAMLError: if it is not YAML.
        ValueError: if a value is invalid for its kind, such as the date 2026-13-01.
    """
    return yaml.load(text, Loader=_BoundedLoader)


def as_yaml(content: Any) -> str:
    """Return YAML in which every text is quoted, so that other readers too take it for one."""
    return yaml.dump(content, Dumper=_QuotingDumper, default_flow_style=True, width=10**9, allow_unicode=True)


def require_bounds(name: str, text: str) -> None:
    """Check a text that jsonargparse may read as YAML: any value of an option that is not itself text.

    Args:
        name: of the option, for the message.
        text: its value; what is not YAML is left to jsonargparse.

    Raises:
        ConfigError: if it is YAML out of the bounds of `load_yaml`.
    """
    try:
        load_yaml(text)
    except YAMLBoundError as error:
        raise ConfigError(f"{name} cannot be read: {error.problem}.") from error
    except (ValueError, yaml.YAMLError):
        pass


class _BoundedLoader(yaml.SafeLoader):
    """Stops while the nodes are composed, before anything is expanded or constructed."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._values = 0
        self._sizes: dict[str, int] = {}  # of anchored nodes, with everything in them

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            anchor = event.anchor or ""
            if anchor in self.anchors and anchor not in self._sizes:
                raise YAMLBoundError(f'the alias "{one_line(anchor)}" contains itself', event.start_mark)
            self._count(self._sizes.get(anchor, 0), event)
            return super().compose_node(parent, index)
        before = self._values
        self._count(1, event)
        self._depth += 1
        if self._depth > _DEEPEST:
            raise YAMLBoundError(f"it nests more than {_DEEPEST} levels deep", event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if event.anchor is not None:
            self._sizes[event.anchor] = self._values - before
        return node

    def compose_scalar_node(self, anchor: dict[Any, yaml.Node]) -> yaml.ScalarNode:
        node = super().compose_scalar_node(anchor)
        if node.tag in _NUMBERS and len(node.value) > _LONGEST_NUMBER:
            problem = f"a number has {len(node.value)} digits"
            raise YAMLBoundError(problem, node.start_mark)
        return node

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    problem = f'the key "{one_line(key.value)}" stands twice; leave one out'
                    raise YAMLBoundError(problem, key.start_mark)
                seen.add((key.tag, key.value))
        return node

    def _count(self, values: int, event: Any) -> None:
        self._values += values
        if self._values > _MOST_VALUES:
            raise YAMLBoundError(f"it holds more than {_MOST_VALUES} values", event.start_mark)


class _QuotingDumper(yaml.SafeDumper):
    """Quotes every text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_QuotingDumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)


def _line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return "" if mark is None else f" (line {mark.line + 1})"
