"""Where the results of a source go: one folder each, never that of another source."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from app.report import SCORES, read_run
from core import ConfigError, OutputError

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


def check_stream_file(given: str, source_count: int) -> None:
    """Raise unless `given`, what `--save-detections` says, has room for the detections of all sources.

    Raises:
        ConfigError: if it names one file for several sources.
    """
    if source_count > 1 and _is_file_name(given):
        raise ConfigError(f"There are {source_count} sources; let --save-detections be a folder, not {given}.")


def stream_file(given: str, name: str) -> Path:
    """Return the file for the detections of a source.

    Args:
        given: what `--save-detections` says: the file itself, if it ends in `.npz`, else a folder for `NAME.npz`.
        name: of the source's folder of results.
    """
    return Path(given) if _is_file_name(given) else Path(given) / f"{name}.npz"


def _is_file_name(given: str) -> bool:
    return given.lower().endswith(".npz") and not Path(given).is_dir()


def _owner(folder: Path) -> str | None:
    """Return the location of the source whose results a folder holds, or None if it holds none."""
    owner = read_run(folder).get("location")
    return None if owner is None else str(owner)
