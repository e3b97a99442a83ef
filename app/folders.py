"""Folders for results inside the output folder: one for each source, and one run at a time in each."""

from __future__ import annotations

import errno
import os
from itertools import count
from pathlib import Path
from typing import TypeVar

from fairmot.app.options import Options
from fairmot.app.run_folder import LOCK, RunFolder, owner_of
from fairmot.core import ConfigError, OutputError
from fairmot.core.files import write_error
from fairmot.core.locks import Lock

_CLAIM_SECONDS = 20.0  # how long another run may take to find its folder, which takes milliseconds
_NAME_BYTES = 200  # of the 255 of most file systems: leaves room for -2, .npz and temporary files

FoldersT = TypeVar("FoldersT", bound="ResultFolders")


class ResultFolders:
    """Hands out a folder per source inside the output folder.

    A folder is named after its source. It is used again for the same source, recognized by `location` in its
    `run.json`; for another source of the same name, and for a live source that has results there, it is `name-2`,
    `name-3` and so on.

    Attributes:
        taken: names of the folders handed out so far, case folded.

    Args:
        output: the output folder.
        has_video: whether runs write annotated videos.
        has_csv: whether runs write CSV.
        overlay: how annotated videos show the tracks: `drawn` or `subtitles`.
        detections: where runs save detections: a file, if it ends in `.npz`, else a folder for `NAME.npz`; None if
            they do not.
    """

    def __init__(
        self,
        output: Path,
        *,
        has_video: bool = True,
        has_csv: bool = False,
        overlay: str = "drawn",
        detections: str | None = None,
    ) -> None:
        self._output = output
        self._has_video = has_video
        self._has_csv = has_csv
        self._overlay = overlay
        self._detections = detections
        self.taken: set[str] = set()

    @classmethod
    def of(cls: type[FoldersT], options: Options) -> FoldersT:
        """Return the folders that the options of a command ask for."""
        return cls(
            Path(options.output),
            has_video=options.video,
            has_csv=options.csv,
            overlay=options.overlay,
            detections=options.save_detections,
        )

    def claim(self, name: str, location: str, *, is_live: bool = False) -> RunFolder:
        """Return the folder of a source, locked; its `run.json` names the source.

        Args:
            name: of the source.
            location: of the source, see `fairmot.app.location.location_of`.
            is_live: whether the source is live: its earlier results cannot be made again, so they stay.

        Raises:
            OutputError: if another run tracks the same source into this output folder, or nothing can be written there.
        """
        guard = Lock(self._output / LOCK)
        try:
            if self._output.exists() and not self._output.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            self._output.mkdir(parents=True, exist_ok=True)
            if not guard.acquire(_CLAIM_SECONDS):
                raise OutputError(f"Another run holds {self._output / LOCK}; end it, or choose another --output.")
        except OSError as error:
            raise write_error(self._output, error) from error
        try:
            return self._find(_shortened(name), location, is_live)
        finally:
            guard.release()

    def _find(self, name: str, location: str, is_live: bool) -> RunFolder:
        for number in count(1):
            folder = self._output / (name if number == 1 else f"{name}-{number}")
            # File systems may ignore case. Results must not be written into their own source.
            if folder.resolve() in (Path(location), Path(location).parent) or folder.name.casefold() in self.taken:
                continue
            if folder.is_symlink():
                raise OutputError(
                    f"{folder} is a symbolic link, which is not followed; remove it or choose another --output."
                )
            owner = owner_of(folder)
            if owner not in (None, location) or (is_live and owner is not None):
                continue
            found = self._locked(folder, location, is_new=owner is None)
            if found is not None:
                self.taken.add(folder.name.casefold())
                return found
        raise AssertionError  # never reached: the numbers do not end

    def _locked(self, folder: Path, location: str, is_new: bool) -> RunFolder | None:
        """Return a folder, locked and marked as that of `location`; none if another run has it for another source."""
        lock = Lock(folder / LOCK)
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
        detections = self._detection_file(folder.name)
        found = RunFolder(
            folder,
            lock,
            has_video=self._has_video,
            has_csv=self._has_csv,
            overlay=self._overlay,
            detections=detections,
        )
        try:
            if is_new:
                found.mark(location)
        except BaseException:
            found.__exit__(None, None, None)
            raise
        return found

    def _detection_file(self, name: str) -> Path | None:
        if self._detections is None:
            return None
        path = Path(self._detections)
        return path if _is_file_name(self._detections) else path / f"{name}.npz"


def check_detection_file(given: str, source_count: int) -> None:
    """Check that `given`, the value of `--save-detections`, has room for the detections of all sources.

    Raises:
        ConfigError: if it names one file for several sources.
    """
    if source_count > 1 and _is_file_name(given):
        raise ConfigError(f"There are {source_count} sources; let --save-detections be a folder, not {given}.")


def _is_file_name(given: str) -> bool:
    return given.lower().endswith(".npz") and not Path(given).is_dir()


def _shortened(name: str) -> str:
    """Return as much of a name as fits into a folder's, in whole characters."""
    return name.encode()[:_NAME_BYTES].decode(errors="ignore")
