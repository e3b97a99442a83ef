"""JSON files of results: replaced whole, and on a full disk rewritten in the blocks that they already have."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairmot.core.files import is_full, replacing, write_error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole, in place of the old one; numbers that JSON lacks become text.

    Only one process may write the file at a time.

    Raises:
        OutputError: if that is not possible.
    """
    data = as_json(content).encode()
    try:
        try:
            with replacing(path, draft=path.with_name(f".{path.name}.part"), durable=True) as file:
                file.write(data)
        except OSError as error:
            if not (is_full(error) and _rewrite(path, data)):
                raise
    except OSError as error:
        raise write_error(path, error) from error


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file, an empty one if there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def as_json(content: Mapping[str, Any]) -> str:
    """Return the text of a JSON file; numbers that JSON lacks become text."""
    return json.dumps(_finite(content), indent=2) + "\n"


def _rewrite(path: Path, data: bytes) -> bool:
    """Write into the blocks that a file already has, if they suffice; return whether they do."""
    if path.is_symlink() or not path.is_file() or getattr(path.stat(), "st_blocks", 0) * 512 < len(data):
        return False
    with path.open("r+b", buffering=0) as file:
        written = file.write(data)
        file.truncate(written)
    return written == len(data)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
