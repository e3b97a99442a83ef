"""The folder of one source: the paths of its results, the report of its run, and the locks that keep others out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from fairmot.app.json_files import read_json, write_json
from fairmot.app.report import RunReport
from fairmot.core import OutputError
from fairmot.core.errors import ConfigError
from fairmot.core.files import create_file, write_error
from fairmot.core.locks import Lock
from fairmot.core.renames import Renames

LOCK, RUN, SCORES, TRACKS_JSON = ".lock", "run.json", "scores.json", "tracks.jsonl"

_TRACKS, _CSV = "tracks.txt", "tracks.csv"
_VIDEOS = {"drawn": "tracked.mp4", "subtitles": "tracked.mkv"}  # by overlay
_RESERVE_BYTES = 8192  # run.json takes some 3 kB, and 4 more with a traceback
# These options change no result: where and what else, how it is shown and scored. The model counts by its content.
_NEWER = {  # with the values that runs of older versions had
    "classes": "", "csv": False, "overlay": "drawn", "video_size": None, "video_fps": None,
}  # fmt: skip
_INDIFFERENT = (
    "sources", "output", "show", "eval", "benchmark", "resume", "weights", "max_pixels", "pipeline", "jobs", "gpus",
)  # fmt: skip


class RunFolder:
    """The folder of one source, locked until it is left or the process ends; used as a context manager.

    Nothing in it is written through a link. What a killed run leaves is replaced by the next one, and the report can
    be written even where the disk is full.

    Attributes:
        path: the folder.
        tracks: MOTChallenge text.
        tracks_json: JSON lines.
        video: the annotated video, with the tracks drawn in or as subtitles; None if it is not wanted.
        csv: the tracks as CSV, None if that is not wanted.
        detections: the detection file, which may lie anywhere, None if it is not wanted.
        scores: the scores.

    Args:
        path: the folder.
        lock: of the folder, held.
        has_video: whether a run writes the annotated video.
        has_csv: whether a run writes CSV.
        overlay: how the annotated video shows the tracks.
        detections: see above.
    """

    def __init__(
        self,
        path: Path,
        lock: Lock,
        *,
        has_video: bool = True,
        has_csv: bool = False,
        overlay: str = "drawn",
        detections: Path | None = None,
    ) -> None:
        self.path = path
        self.tracks, self.tracks_json, self.scores = path / _TRACKS, path / TRACKS_JSON, path / SCORES
        self.video = path / _VIDEOS[overlay] if has_video else None
        self.csv = path / _CSV if has_csv else None
        self.detections = detections
        self._locks = [lock]

    def mark(self, location: str) -> None:
        """Write down which source the folder belongs to, see `owner_of`.

        Raises:
            OutputError: if that is not possible.
        """
        write_json(self.path / RUN, {"location": location, "status": "running"})

    def clear(self) -> None:
        """Prepare for a run: remove the results of an earlier one, and reserve space for the report.

        The detection file, if it is wanted, is locked and emptied, so that it is known now whether it can be written.

        Raises:
            OutputError: if that is not possible.
        """
        if self.detections is not None:
            self._lock_file(self.detections)
        videos = (self.path / name for name in _VIDEOS.values())
        for path in (self.tracks, self.tracks_json, self.path / _CSV, *videos, self.scores):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise OutputError(f"{path} cannot be replaced ({error.strerror}); choose another --output.") from error
        self._locks[0].reserve(_RESERVE_BYTES)
        if self.detections is not None:
            create_file(self.detections)

    def write_report(self, report: RunReport, inputs: Mapping[str, Any]) -> None:
        """Write `run.json`, in the space that `clear` has reserved.

        Args:
            report: of the run.
            inputs: of the run, see `fairmot.app.report.inputs_of`.

        Raises:
            OutputError: if that is not possible.
        """
        self._locks[0].free()
        write_json(self.path / RUN, report.to_run(inputs))

    def complete_report(self, inputs: Mapping[str, Any]) -> RunReport | None:
        """Return the report of an earlier run with equal inputs that left complete results, None if there is none.

        Args:
            inputs: of this run, see `fairmot.app.report.inputs_of`.
        """
        run = read_json(self.path / RUN)
        try:
            is_same = _deciding(run) == _deciding(inputs)
            report = RunReport.from_run(run)
        except (KeyError, TypeError, AttributeError, ConfigError):  # of another version, or not ours
            return None
        wanted = (self.tracks, self.tracks_json, self.csv, self.video, self.detections)
        is_complete = report.status == "complete" and all(path.is_file() for path in wanted if path is not None)
        return report if is_same and is_complete else None

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
        # Not with the name of the file, which may be as long as names can be.
        digest = hashlib.sha256(path.name.casefold().encode("utf-8", "surrogateescape")).hexdigest()[:8]
        lock = Lock(path.with_name(f".{digest}{LOCK}"))
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


def owner_of(folder: Path) -> str | None:
    """Return the location of the source whose results a folder holds, None if it holds none."""
    owner = read_json(folder / RUN).get("location")
    return None if owner is None else str(owner)


def deciding_settings(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that decide the results, of the configuration in a `run.json`, also of an older version."""
    present = {**_NEWER, **Renames().content(configuration)}
    return {key: value for key, value in present.items() if key not in _INDIFFERENT}


def _deciding(run: Mapping[str, Any]) -> list[Any]:
    """Return the part of the inputs in `run.json` that decides the results."""
    settings, engine = deciding_settings(run["configuration"]), run["engine"]
    return [run["source"], engine["name"], engine["input_size"], run["model"]["sha256"], settings]
