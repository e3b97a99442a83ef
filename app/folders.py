"""Where the results of a source go: one folder each, never that of another source, and one run at a time in each."""

from __future__ import annotations

import errno
import hashlib
import os
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import TracebackType

from fairmot.app.report import RUN, SCORES, read_run, write_json
from fairmot.core import ConfigError, OutputError
from fairmot.core.locks import Lock
from fairmot.video.sink import write_error

TRACKS, TRACKS_JSON, VIDEO = "tracks.txt", "tracks.jsonl", "tracked.mp4"

_LOCK = ".lock"
_CLAIM_SECONDS = 20.0  # how long another run may take to find its folder, which takes milliseconds
_RESERVE_BYTES = 8192  # run.json takes some 3 kB, and 4 more with a traceback
_NAME_BYTES = 200  # of the 255 of most file systems: leaves room for -2, .npz and temporary files


class RunFolder:
    """The folder of a source, locked until it is left or the process ends; used as a context manager.

    Args:
        path: the folder.
        lock: of the folder, held.
    """

    def __init__(self, path: Path, lock: Lock) -> None:
        self.path = path
        self._locks = [lock]

    def clear(self, stream: Path | None) -> None:
        """Remove the results of an earlier run, and keep back space for the report of this one.

        Args:
            stream: the file of the detections, which may lie anywhere; it is locked as well.

        Raises:
            OutputError: if that is not possible.
        """
        if stream is not None:
            self._lock_file(stream)
        for name in (TRACKS, TRACKS_JSON, VIDEO, SCORES):
            path = self.path / name
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise OutputError(f"{path} cannot be replaced ({error.strerror}); choose another --output.") from error
        self._locks[0].keep_back(_RESERVE_BYTES)

    def give_back(self) -> None:
        """Free the space that was kept back."""
        self._locks[0].give_back()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for lock in reversed(self._locks):
            lock.release()
        with suppress(OSError):  # if nothing was written
            self.path.rmdir()

    def _lock_file(self, path: Path) -> None:
        digest = hashlib.sha256(path.name.casefold().encode("utf-8", "surrogateescape")).hexdigest()[:8]
        lock = Lock(path.with_name(f".{digest}{_LOCK}"))  # not with its name, which may have all letters there are
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            locked = lock.acquire()
        except OSError as error:
            raise write_error(path, error) from error
        if not locked:
            raise OutputError(
                f"{path} is being written by another run; name another file or wait until that has ended."
            )
        self._locks.append(lock)


class ResultFolders:
    """Hands out a folder per source inside the output folder.

    A folder is named after its source. It is used again for the same source, told by `location` in its `run.json`;
    for another source of the same name, and for a live source that has results there, it is `name-2`, `name-3` and
    so on.

    Args:
        output: the output folder.
    """

    def __init__(self, output: Path) -> None:
        self._output = output
        self._taken: set[str] = set()

    def claim(self, name: str, location: str, *, is_live: bool = False) -> RunFolder:
        """Return the folder of a source, locked; its `run.json` names the source.

        Args:
            name: of the source.
            location: what it is, as `fairmot.app.report.location_of` tells it.
            is_live: whether the source is live: its earlier results cannot be made again, so they stay.

        Raises:
            OutputError: if another run tracks the same source into this output folder, or nothing can be written there.
        """
        guard = Lock(self._output / _LOCK)
        try:
            if self._output.exists() and not self._output.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            self._output.mkdir(parents=True, exist_ok=True)
            if not guard.acquire(_CLAIM_SECONDS):
                raise OutputError(f"Another run holds {self._output / _LOCK}; end it, or choose another --output.")
        except OSError as error:
            raise write_error(self._output, error) from error
        try:
            return self._find(_shortened(name), location, is_live)
        finally:
            guard.release()

    def _find(self, name: str, location: str, is_live: bool) -> RunFolder:
        for number in count(1):
            folder = self._output / (name if number == 1 else f"{name}-{number}")
            # File systems may not tell upper from lower case. A source must not be written into by its own results.
            if folder.resolve() in (Path(location), Path(location).parent) or folder.name.casefold() in self._taken:
                continue
            if folder.is_symlink():
                raise OutputError(
                    f"{folder} is a symbolic link, which is not followed; remove it or choose another --output."
                )
            owner = _owner(folder)
            if owner not in (None, location) or (is_live and owner is not None):
                continue
            found = self._locked(folder, location, is_new=owner is None)
            if found is not None:
                self._taken.add(folder.name.casefold())
                return found
        raise AssertionError  # never reached: the numbers do not end

    def _locked(self, folder: Path, location: str, is_new: bool) -> RunFolder | None:
        """Return a folder, locked and marked as that of `location`; none if another run has it for another source."""
        lock = Lock(folder / _LOCK)
        try:
            folder.mkdir(exist_ok=True)
            locked = lock.acquire()
        except OSError as error:
            raise write_error(folder, error) from error
        if not locked:
            if is_new:
                return None
            raise OutputError(
                f"{folder} is being written by another run of this source; choose another --output or wait until that "
                "has ended."
            )
        found = RunFolder(folder, lock)
        try:
            if is_new:
                write_json(folder / RUN, {"location": location, "status": "running"})
        except BaseException:
            found.__exit__(None, None, None)
            raise
        return found


def check_detection_file(given: str, source_count: int) -> None:
    """Raise unless `given`, what `--save-detections` says, has room for the detections of all sources.

    Raises:
        ConfigError: if it names one file for several sources.
    """
    if source_count > 1 and _is_file_name(given):
        raise ConfigError(f"There are {source_count} sources; let --save-detections be a folder, not {given}.")


def detection_file(given: str, name: str) -> Path:
    """Return the file for the detections of a source.

    Args:
        given: what `--save-detections` says: the file itself, if it ends in `.npz`, else a folder for `NAME.npz`.
        name: of the source's folder of results.
    """
    return Path(given) if _is_file_name(given) else Path(given) / f"{name}.npz"


def _is_file_name(given: str) -> bool:
    return given.lower().endswith(".npz") and not Path(given).is_dir()


def _shortened(name: str) -> str:
    """Return as much of a name as fits into a folder's, in whole letters."""
    return name.encode()[:_NAME_BYTES].decode(errors="ignore")


def _owner(folder: Path) -> str | None:
    """Return the location of the source whose results a folder holds, or None if it holds none."""
    owner = read_run(folder).get("location")
    return None if owner is None else str(owner)
