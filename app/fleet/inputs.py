"""The videos that the inputs of a fleet stand for: globs, lists and URIs, each found once and with its identity."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import fsspec

from fairmot.app.location import location_of
from fairmot.core.errors import SourceError, UserError
from fairmot.core.text import one_line, reason_of, without_secrets
from fairmot.video import expand_sources
from fairmot.video.sources import names_path
from fairmot.video.urls import LIVE_SCHEMES, is_url

# Of `fsspec`'s `info`: what changes when a file is replaced, by file system; the first that is there.
_VERSIONS = ("ETag", "etag", "md5Hash", "Content-MD5", "mtime", "LastModified", "Last-Modified")
_WEB = ("http", "https")


@dataclass(frozen=True)
class Video:
    """One video of a fleet.

    Attributes:
        source: what a worker opens: a path, a URI of `fsspec`, or the built-in scene.
        location: what distinguishes it from all others, without secrets.
        name: of its file, without ending.
        size: bytes; None if it is not known.
        version: changes when the content does: entity tag or time of modification; empty if it is not known.
    """

    source: str
    location: str
    name: str
    size: int | None
    version: str

    @property
    def is_remote(self) -> bool:
        """Whether it must be downloaded first."""
        return is_url(self.source)

    @property
    def identity(self) -> dict[str, Any]:
        """What two starts compare, as `run.json` holds it."""
        return {"location": self.location, "bytes": self.size, "version": self.version}


def find_videos(inputs: Iterable[str], report: Callable[[UserError], object]) -> list[Video]:
    """Return the videos that inputs stand for, each once, in the order given.

    Args:
        inputs: paths, globs, URIs, and lists of these.
        report: is given the error of every input that cannot be read.
    """
    found: dict[str, Video] = {}
    for given in inputs:
        try:
            lines = _read_list(given.removeprefix("@")) if _is_list(given) else [given]
        except UserError as error:
            report(error)
            continue
        for line in lines:
            try:
                for video in _expanded(line):
                    found.setdefault(video.location, video)
            except UserError as error:
                report(error)
    return list(found.values())


def open_file_system(uri: str) -> tuple[Any, str]:
    """Return the file system of `fsspec` that a URI belongs to, and the path in it.

    Raises:
        UserError: if there is none for its scheme, or the package for it is missing.
    """
    try:
        system, path = fsspec.url_to_fs(uri)
    except ImportError as error:  # "Install s3fs to access S3"
        raise UserError(f"{_shown(uri)}: {reason_of(error)}, on every machine of the fleet.") from error
    except Exception as error:
        raise UserError(f"{_shown(uri)} cannot be reached ({reason_of(error)}).") from error
    return system, str(path)


def location_of_uri(uri: str) -> str:
    """Return what distinguishes a URI from all others, without secrets.

    Keys of object stores may hold any character and no secret; everything else is read as a URL.
    """
    if is_url(uri) and scheme_of(uri) not in _WEB and "@" not in uri.partition("://")[2].partition("/")[0]:
        return uri
    return location_of(uri)


def scheme_of(uri: str) -> str:
    """Return the scheme of a URI in lower case, without those that `fsspec` chains before it."""
    return uri.partition("://")[0].rpartition("::")[2].lower()


def _is_list(given: str) -> bool:
    return given.startswith("@") or given.lower().endswith(".txt")


def _read_list(name: str) -> list[str]:
    """Return the lines of a list that are neither empty nor comments.

    Raises:
        SourceError: if it cannot be read.
    """
    try:
        if is_url(name):
            system, path = open_file_system(name)
            text = system.cat_file(path).decode()
        else:
            text = Path(name).read_text(encoding="utf-8-sig")
    except UserError:
        raise
    except Exception as error:
        raise SourceError(f"The list {_shown(name)} cannot be read ({_reason(error)}).") from error
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def _expanded(given: str) -> Iterator[Video]:
    """Yield the videos that one input stands for.

    Raises:
        UserError: if there are none, or it is no stored video.
    """
    scheme = scheme_of(given) if is_url(given) else ""
    if scheme in LIVE_SCHEMES or (given.isdecimal() and not names_path(given)):
        raise SourceError(f"{_shown(given)} is live; a fleet tracks stored videos, fairmot track takes this one.")
    if scheme and scheme not in ("file", "local"):
        yield from _remote(given, scheme)
        return
    local = open_file_system(given)[1] if scheme else given
    for each in expand_sources(local):
        yield _local(each)


def _local(source: str) -> Video:
    if not names_path(source):
        if source.partition("?")[0] == "demo":
            return Video(source, source, "demo", None, "")
        raise SourceError(f"There is no file or folder {_shown(source)}; check the path.")
    path = Path(os.path.abspath(source))
    if path.is_dir():
        stats = [(child.name, child.stat()) for child in path.rglob("*") if child.is_file()]
        size, changed = sum(stat.st_size for _, stat in stats), max((stat.st_mtime_ns for _, stat in stats), default=0)
        return Video(str(path), location_of(source), path.name, size, f"{len(stats)} files, {changed}")
    if not path.is_file():
        raise SourceError(f"{_shown(source)} is a device; a fleet tracks stored videos, fairmot track takes this one.")
    stat = path.stat()
    return Video(str(path), location_of(source), path.stem, stat.st_size, str(stat.st_mtime_ns))


def _remote(uri: str, scheme: str) -> Iterator[Video]:
    system, path = open_file_system(uri)
    try:
        is_pattern = re.search(r"[*\[]" if scheme in _WEB else r"[*?\[]", path)
        found = (system.glob(path, detail=True) if is_pattern else {}) or {path: system.info(path)}
    except Exception as error:
        raise SourceError(f"{_shown(uri)} cannot be read ({_reason(error)}).") from error
    files = {name: info for name, info in found.items() if info.get("type") != "directory"}
    if not files:
        raise SourceError(f"{_shown(uri)} names no files; write the folder's files as a glob, as in FOLDER/*.mp4.")
    for name, info in sorted(files.items()):
        source = system.unstrip_protocol(name) if scheme not in _WEB else name
        version = next((str(info[key]) for key in _VERSIONS if info.get(key) is not None), "")
        yield Video(source, location_of_uri(source), _stem(source, scheme), info.get("size"), version)


def file_name(source: str) -> str:
    """Return the name of the file that a URI names."""
    last = source.rstrip("/").rpartition("/")[2]
    if scheme_of(source) in _WEB:
        last = unquote(urlsplit(source).path.rstrip("/").rpartition("/")[2])
    return re.sub(r"[\0/\\]", "_", last) or "video"


def _stem(source: str, scheme: str) -> str:
    return file_name(source).rpartition(".")[0] or file_name(source)


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "nothing is there"
    return reason_of(error) or type(error).__name__


def _shown(text: str) -> str:
    return one_line(without_secrets(text), 200)
