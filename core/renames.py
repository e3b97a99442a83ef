"""Keys of settings that were renamed: the old names are understood for one more release."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fairmot.core.errors import ConfigError

# By the last part of a key: `tracker.follow_camera` is `tracker.gmc_from_detections`.
_KEYS = {
    "back_projection": "box_mapping",
    "camera_motion": "gmc",
    "follow_camera": "gmc_from_detections",
    "reference_faults": "reference_quirks",
    "colour_match": "color_match",
}
# By the last part of a key, as it is called now.
_VALUES = {"box_model": {"aspect": "xyah", "width": "xywh"}}


def new_key(key: str) -> str | None:
    """Return the present name of a key that was renamed; None if it was not."""
    group, dot, last = key.rpartition(".")
    return f"{group}{dot}{_KEYS[last]}" if last in _KEYS else None


def new_value(key: str, value: object) -> str | None:
    """Return the present name of a value that was renamed; None if it was not."""
    renamed = _VALUES.get(key.rpartition(".")[2], {})
    return renamed.get(value) if isinstance(value, str) else None


class Renames:
    """The old names in one place, such as a file or the command line.

    Attributes:
        found: old names that were met, each with the present one.
    """

    def __init__(self) -> None:
        self.found: dict[str, str] = {}
        self._given: dict[str, str] = {}

    def key(self, key: str) -> str:
        """Return the present name of a key.

        Raises:
            ConfigError: if the key was met under its other name too.
        """
        present = new_key(key) or key
        other = self._given.setdefault(present, key)
        if other != key:
            old, new = (key, other) if present == other else (other, key)
            raise ConfigError(f'"{old}" and "{new}" are the same setting, of which "{present}" is the name: give one.')
        if present != key:
            self.found[key] = present
        return present

    def value(self, key: str, value: Any) -> Any:
        """Return the present name of a value of a key, or the value itself."""
        present = new_value(key, value)
        if present is None:
            return value
        self.found[f"{key}: {value}"] = f"{key}: {present}"
        return present

    def content(self, content: Mapping[Any, Any], prefix: str = "") -> dict[Any, Any]:
        """Return what a file of settings holds, by present names.

        Raises:
            ConfigError: if it holds a setting under both of its names.
        """
        return dict(self._items(content, prefix))

    def _items(self, content: Mapping[Any, Any], prefix: str) -> Iterator[tuple[Any, Any]]:
        for name, value in content.items():
            if not isinstance(name, str):
                yield name, value
                continue
            key = self.key(prefix + name)
            last = key.removeprefix(prefix)
            if isinstance(value, dict):
                yield last, self.content(value, f"{key}.")
            else:
                yield last, self.value(key, value)
