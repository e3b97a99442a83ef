"""Where the results of a source go: one folder each, never that of another source."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path

from app.report import RUN, SCORES
from core import OutputError

TRACKS, TRACKS_JSON, VIDEO = "tracks.txt", "tracks.jsonl", "tracked.mp4"


class ResultFolders:
    """Hands out a folder per source inside the output folder.

    A folder is named after its source. It is used again for the same source, told by `location` in its `run.json`;
    for another source of the same name it is `name-2`, `name-3` and so on.

    Args:
        output: the output folder.
    """

    def __init__(self, output: Path) -> None:
        self._output = output
        self._taken: set[str] = set()

    def claim(self, name: str, location: str) -> Path:
        """Return the folder of a source.

        Args:
            name: of the source.
            location: what it is, as `app.report.location_of` tells it.
        """
        for number in count(1):
            folder = self._output / (name if number == 1 else f"{name}-{number}")
            # File systems may not tell upper from lower case. A source must not be written into by its own results.
            mine = folder.resolve() not in (Path(location), Path(location).parent)
            if mine and folder.name.casefold() not in self._taken and _owner(folder) in (None, location):
                break
        self._taken.add(folder.name.casefold())
        return folder


def clear(folder: Path) -> None:
    """Remove the results of an earlier run, which might not be replaced by this one.

    Raises:
        OutputError: if that is not possible.
    """
    for name in (TRACKS, TRACKS_JSON, VIDEO, SCORES):
        path = folder / name
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{path} cannot be replaced ({error.strerror}); choose another --output.") from error


def _owner(folder: Path) -> str | None:
    """Return the location of the source whose results a folder holds, or None if it holds none."""
    try:
        owner = json.loads((folder / RUN).read_text(encoding="utf-8"))["location"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(owner)
