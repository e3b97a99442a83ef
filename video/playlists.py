"""Checks of local playlists: they may name only files of their own folder."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath, PureWindowsPath

from fairmot.core import SourceError

PLAYLIST_SUFFIXES = frozenset({".m3u8", ".m3u"})

_MOST_BYTES = 16 * 2**20


def check_playlist(path: Path) -> None:
    """Check that a local HLS playlist, and those it names, stay inside its folder.

    FFmpeg would open whatever file they name.

    Raises:
        SourceError: if they do not, or cannot be read.
    """
    waiting, seen = [path], {path}
    while waiting:
        playlist = waiting.pop()
        for entry in _entries(playlist):
            if not _is_inside(entry):
                raise SourceError(
                    f"The playlist {playlist} names {_printable(entry)}, which is not in its folder; give that video "
                    "itself, or the URL of the playlist."
                )
            named = playlist.parent / entry  # names are relative to the playlist that holds them
            if named not in seen:
                seen.add(named)
                if is_playlist(named):
                    waiting.append(named)


def is_playlist(path: Path) -> bool:
    """Return whether a file begins as an HLS playlist does, whatever its name."""
    try:
        with path.open("rb") as file:
            return file.read(7) == b"#EXTM3U"
    except OSError:
        return False


def _entries(path: Path) -> list[str]:
    """Return the names in a playlist: its lines that are not tags, and the URIs in its tags."""
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise SourceError(f"The playlist {path} cannot be read: {error.strerror}.") from error
    if len(text) > _MOST_BYTES:
        raise SourceError(f"The playlist {path} is longer than {_MOST_BYTES >> 20} MiB; give a video file.")
    lines = [line.strip() for line in text.decode("utf-8", "replace").replace("\r", "\n").split("\n")]
    uris = [uri for line in lines if line.startswith("#") for uri in re.findall(r'URI="?([^",]*)', line)]
    return [line for line in lines if line and not line.startswith("#")] + [uri for uri in uris if uri]


def _is_inside(entry: str) -> bool:
    """Return whether an entry is a plain relative path that does not leave its folder."""
    parts = {*PurePosixPath(entry).parts, *PureWindowsPath(entry).parts}
    return ":" not in entry and "\0" not in entry and not entry.startswith(("/", "\\")) and ".." not in parts


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:100])
