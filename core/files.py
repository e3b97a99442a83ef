"""Writing files: whole or not at all, and never through a link that somebody else has put in their place."""

from __future__ import annotations

import errno
import io
import os
import stat
import tempfile
from pathlib import Path

from fairmot.core.errors import OutputError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


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
            return io.FileIO(os.open(path, _NEW, 0o666), "r+")
        except FileExistsError:  # made again in between
            continue


def is_full(error: OSError) -> bool:
    """Tell whether a write failed because there is no room, on the disk or for the user."""
    return error.errno in _FULL


def write_whole(path: Path, data: bytes) -> None:
    """Write a file through a temporary one beside it: it appears whole or not at all. Folders above it are made.

    A link is replaced, not followed; a device is written to.

    Raises:
        OutputError: if it cannot be written.
    """
    temporary = None
    try:
        if _is_device(path):
            path.write_bytes(data)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name[:50]}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(data)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise _write_error(path, error) from error


def check_writable(path: Path) -> None:
    """Make the folders above a file, and see whether `write_whole` can write it; for what takes long to make.

    Raises:
        OutputError: if it cannot.
    """
    if _is_device(path):
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(None, "it is a folder")
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name[:50]}."):
            pass
    except OSError as error:
        raise _write_error(path, error) from error


def _write_error(path: Path, error: OSError) -> OutputError:
    return OutputError(f"Cannot write {path}: {error.strerror or error}.")


def _is_device(path: Path) -> bool:
    """Tell whether a path is a device, also one that is a link, as /dev/stdout is."""
    if path.parent == Path("/dev"):
        return True
    try:
        return stat.S_ISCHR(path.lstat().st_mode)
    except OSError:
        return False


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
