"""Writing of files: whole or not at all, and never through a link that somebody else has put in their place."""

from __future__ import annotations

import errno
import io
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from fairmot.core.errors import OutputError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NAME_CHARACTERS = 50  # of the name of a file in that of its draft; four bytes each at most, of the 255 of file systems


def open_new(path: Path) -> io.FileIO:
    """Open an empty file, unbuffered, in place of whatever has its name: a link is removed, not followed.

    Folders above it are made. A device is opened as it is.

    Raises:
        OSError: if that is not possible.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if _is_device(path):
        return io.FileIO(path, "w")
    while True:
        path.unlink(missing_ok=True)
        try:
            return io.FileIO(path, "x+")
        except FileExistsError:  # made again in between
            continue


def write_all(file: io.FileIO, data: bytes) -> None:
    """Write all bytes; a file without a buffer may accept only a part, such as the last free bytes of a disk.

    Raises:
        OSError: if they cannot be written.
    """
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) or 0 :]


@contextmanager
def replacing(
    path: Path, *, draft: Path | None = None, durable: bool = False, buffer_size: int = io.DEFAULT_BUFFER_SIZE
) -> Iterator[BinaryIO]:
    """Open a draft beside a file, which replaces the file at the end of the block; on an exception it is removed.

    Folders above the file are made, and its permissions are those of a new file. A link is replaced, not followed; a
    device is written to directly.

    Args:
        path: the file.
        draft: the temporary file, in the same folder. By default it has a new random name, since several processes
            may write `path` at the same time. Where a lock excludes that, a fixed name lets the next run replace
            what a killed process left.
        durable: whether the content is on the disk before it replaces the old one (`fsync`), so that one of the two
            survives a power cut.
        buffer_size: bytes.

    Yields:
        The draft; `name` is its path, for what writes by path.

    Raises:
        OSError: if it cannot be written.

    Example:
        with replacing(folder / "log.json", durable=True) as file:
            file.write(data)
    """
    if _is_device(path):
        with open(path, "wb", buffer_size) as file:
            yield file
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = _open_draft(path) if draft is None else open_new(draft)
    opened = Path(raw.name)
    try:
        with io.BufferedWriter(raw, buffer_size) as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        opened.replace(path)
    except BaseException:
        with suppress(OSError):
            opened.unlink(missing_ok=True)
        raise


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all, see `replacing`.

    Raises:
        OutputError: if it cannot be written.
    """
    try:
        with replacing(path) as file:
            file.write(data)
    except OSError as error:
        raise _write_error(path, error) from error


def check_writable(path: Path) -> None:
    """Make the folders above a file, and check that `write_whole` can write it; for what takes long to make.

    Raises:
        OutputError: if it cannot.
    """
    if _is_device(path):
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(None, "it is a folder")
        with _open_draft(path) as file:
            Path(file.name).unlink()
    except OSError as error:
        raise _write_error(path, error) from error


def create_file(path: Path) -> None:
    """Make an empty file in place of what has its name, and the folders above it.

    Raises:
        OutputError: if that is not possible.
    """
    try:
        open_new(path).close()
    except OSError as error:
        raise write_error(path, error) from error


def write_error(path: Path, error: OSError) -> OutputError:
    """Return the error for results that cannot be written, with the reason and the remedy."""
    reason = error.strerror or str(error)
    has_room = error.errno not in (errno.ENOSPC, errno.EDQUOT)
    remedy = "choose another output folder" if has_room else "free some space or choose another output folder"
    return OutputError(f"{path} cannot be written ({reason.lower()}); {remedy}.")


def is_full(error: OSError) -> bool:
    """Return whether a write failed for lack of room, on the disk or for the user."""
    return error.errno in _FULL


def _open_draft(path: Path) -> io.FileIO:
    """Open a new file of a random name beside `path`."""
    while True:
        draft = path.with_name(f".{path.name[:_NAME_CHARACTERS]}.{secrets.token_hex(8)}.part")
        try:
            return io.FileIO(draft, "x+")
        except FileExistsError:
            continue


def _write_error(path: Path, error: OSError) -> OutputError:
    return OutputError(f"Cannot write {path}: {error.strerror or error}.")


def _is_device(path: Path) -> bool:
    """Return whether a path is a device, also one that is a link, as /dev/stdout is."""
    if path.parent == Path("/dev"):
        return True
    try:
        return stat.S_ISCHR(path.lstat().st_mode)
    except OSError:
        return False
