"""Transfer of videos and results: a download to a local file, and result folders that appear whole or not at all.

Where the output is a folder of this machine's file system, a result is copied beside its place and renamed. Object
stores cannot rename: there `run.json` says `running` until everything else has arrived.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from fairmot.app.fleet.inputs import Video, file_name, location_of_uri, open_file_system, scheme_of
from fairmot.app.json_files import as_json
from fairmot.app.run_folder import RUN
from fairmot.core.errors import OutputError, SourceError
from fairmot.core.files import write_error, write_whole
from fairmot.core.text import one_line, reason_of, without_secrets

_NAME_BYTES = 180  # of the 255 of most file systems: leaves room for digest, attempt and endings
_AT_ONCE = 32  # reports that are read together
_BUCKETS = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci")  # these have no folders to make


def local_path(video: Video, folder: Path) -> str:
    """Return the path of a video on a worker's machine, in `folder` if it has to be downloaded."""
    return str(folder / file_name(video.source)[-_NAME_BYTES:]) if video.is_remote else video.source


def download(video: Video, folder: Path) -> None:
    """Download a video to its `local_path`, if it is not on this machine already.

    Raises:
        SourceError: if it cannot be downloaded.
        UserError: if its file system cannot be reached.
    """
    if not video.is_remote:
        return
    system, path = open_file_system(video.source)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        system.get_file(path, local_path(video, folder))
    except Exception as error:
        shown = one_line(without_secrets(video.source), 200)
        raise SourceError(f"{shown} cannot be downloaded ({reason_of(error) or type(error).__name__}).") from error


class Output:
    """The output of a fleet: a folder per video, in a local folder or any file system of `fsspec`.

    Args:
        uri: of the folder.

    Attributes:
        location: absolute, without secrets.

    Raises:
        UserError: if its file system cannot be reached.
    """

    def __init__(self, uri: str) -> None:
        self._system, path = open_file_system(uri)
        self._root = path.rstrip("/")
        self._makes_folders = scheme_of(uri) not in _BUCKETS
        self.folder = Path(self._root) if isinstance(self._system, LocalFileSystem) else None
        self.location = location_of_uri(uri) if self.folder is None else str(self.folder)

    def names(self, videos: Sequence[Video]) -> tuple[list[str], dict[str, dict[str, Any]]]:
        """Return the name of each video's folder, and the content of every `run.json` there, by name.

        A folder is called as its video. Where several videos are called so, or something else is in its place, a
        digest of the location is added. Neither the order nor other machines have a say in it.

        Raises:
            OutputError: if the output cannot be read.
        """
        short = [_shortened(video.name) for video in videos]
        long = [f"{name}-{_digest(video.location)}" for name, video in zip(short, videos, strict=True)]
        count = Counter(map(str.casefold, short))
        try:
            present = self._listed()
            wanted = sorted(present.intersection([*short, *long]))
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                runs = dict(zip(wanted, pool.map(self._report, wanted), strict=True))
        except Exception as error:
            raise self._error(error) from error
        names = []
        for video, plain, unique in zip(videos, short, long, strict=True):
            is_free = count[plain.casefold()] == 1 and plain not in present
            names.append(plain if is_free or runs.get(plain, {}).get("location") == video.location else unique)
        return names, runs

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file whole.

        Raises:
            OutputError: if that is not possible.
        """
        data = as_json(content).encode()
        if self.folder is not None:
            write_whole(self.folder / name, data)
            return
        try:
            self._put(name, data)
        except Exception as error:
            raise self._error(error) from error

    def has(self, name: str) -> bool:
        """Return whether this machine sees the results of a video."""
        self._system.invalidate_cache()
        return bool(self._system.exists(f"{self._root}/{name}/{RUN}"))

    def publish(self, results: Path, name: str, attempt: str) -> None:
        """Let the files of a folder appear as the results of a video, in place of earlier ones; `run.json` is the last.

        Args:
            results: folder on this machine.
            name: of the folder in the output.
            attempt: distinguishes this attempt from every other one.

        Raises:
            OutputError: if that is not possible; what was there before is complete or no longer said to be.
        """
        try:
            if self.folder is not None:
                self._rename(results, self.folder / name, attempt)
            else:
                self._upload(results, name)
        except Exception as error:
            raise self._error(error) from error

    def clean(self, names: Iterable[str]) -> None:
        """Remove what attempts that were broken off left beside the folders of these videos."""
        if self.folder is not None:
            for draft in self.folder.glob(".*.part"):
                if draft.name.removeprefix(".").rsplit(".", 2)[0] in set(names):
                    shutil.rmtree(draft, ignore_errors=True)

    def _rename(self, results: Path, target: Path, attempt: str) -> None:
        if target.is_symlink():
            raise OutputError(f"{target} is a symbolic link, which is not followed; remove it.")
        draft, old = (target.with_name(f".{target.name}.{attempt}{what}.part") for what in ("", "-old"))
        try:
            shutil.copytree(results, draft)
            with suppress(FileNotFoundError):
                target.rename(old)
            draft.rename(target)
        finally:
            for left in (draft, old):
                shutil.rmtree(left, ignore_errors=True)

    def _upload(self, results: Path, name: str) -> None:
        run = json.loads((results / RUN).read_bytes())
        if self._makes_folders:
            self._system.makedirs(f"{self._root}/{name}", exist_ok=True)
        self._put(f"{name}/{RUN}", as_json({**run, "status": "running"}).encode())
        for old in self._system.find(f"{self._root}/{name}"):
            if not old.endswith(f"/{RUN}"):
                self._system.rm_file(old)
        for file in sorted(results.iterdir()):
            if file.name != RUN:
                self._system.put_file(str(file), f"{self._root}/{name}/{file.name}")
        self._put(f"{name}/{RUN}", (results / RUN).read_bytes())

    def _put(self, name: str, data: bytes) -> None:
        if self._makes_folders:
            self._system.makedirs(self._root, exist_ok=True)
        self._system.pipe_file(f"{self._root}/{name}", data)

    def _report(self, name: str) -> dict[str, Any]:
        try:
            run = json.loads(self._system.cat_file(f"{self._root}/{name}/{RUN}"))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return {}
        return run if isinstance(run, dict) else {}

    def _listed(self) -> set[str]:
        self._system.invalidate_cache()
        try:
            return {str(path).rstrip("/").rpartition("/")[2] for path in self._system.ls(self._root, detail=False)}
        except FileNotFoundError:
            return set()

    def _error(self, error: Exception) -> OutputError:
        if isinstance(error, OutputError):
            return error
        if isinstance(error, OSError) and self.folder is not None:
            return write_error(self.folder, error)
        reason = reason_of(error) or type(error).__name__
        return OutputError(f"{self.location} cannot be written ({reason}); choose another --output.")


def _digest(location: str) -> str:
    return hashlib.sha256(location.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _shortened(name: str) -> str:
    """Return as much of a name as fits into a folder's, in whole characters; no name that is hidden."""
    return name.encode()[:_NAME_BYTES].decode(errors="ignore").lstrip(".") or "video"
