"""A lock on a file that the operating system releases when its owner ends, however that ends."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import time
from pathlib import Path

_RETRY_SECONDS = 0.02
_FLAGS = os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
# Of file systems without locks: there nothing can be guaranteed, which does not keep a run from starting.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
# Where no file can be made, none can be overwritten either; the next write reports it.
_NO_FILES = {errno.EACCES, errno.EPERM, errno.EROFS}


class Lock:
    """An exclusive lock between processes; the file that stands for it is there only while it is held.

    A file that a killed process left behind is no lock and is used again. The file can also reserve
    some space of the disk, for what must be written when the disk is full.

    Args:
        path: the file; its folder must exist. A symbolic link is replaced, not followed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def acquire(self, seconds: float = 0.0) -> bool:
        """Take the lock, waiting for it at most so long; return whether it was taken.

        Raises:
            OSError: if the file cannot be made.
        """
        deadline = time.monotonic() + seconds
        while not self._try():
            if time.monotonic() >= deadline:
                return False
            time.sleep(_RETRY_SECONDS)
        return True

    def reserve(self, size: int) -> None:
        """Reserve `size` bytes of the disk, if it has them."""
        if self._file is not None:
            try:
                os.write(self._file, os.urandom(size))  # zeros may take no space
            except OSError:
                self.free()

    def free(self) -> None:
        """Free the space that `reserve` reserved."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # the file of another user, of which nothing was reserved
                os.ftruncate(self._file, 0)

    def release(self) -> None:
        """Release the lock; does nothing the second time."""
        file, self._file = self._file, None
        if file is None:
            return
        if sys.platform == "win32":  # where an open file cannot be removed
            os.close(file)
            _remove(self._path)
        else:
            _remove(self._path)
            os.close(file)

    def _try(self) -> bool:
        """Take the lock if it is free; return whether it was."""
        try:
            file = _open(self._path)
        except OSError as error:
            if error.errno in _NO_FILES:
                return True
            raise
        try:
            locked = _lock(file) and _is_at(self._path, file)  # its last owner may just have removed it
        except BaseException:
            os.close(file)
            raise
        if not locked:
            os.close(file)
            return False
        self._file = file
        return True


def _open(path: Path) -> int:
    try:
        if not stat.S_ISREG(path.lstat().st_mode) and not path.is_dir():
            path.unlink()  # not ours: a lock is an ordinary file
    except FileNotFoundError:
        pass
    try:
        return os.open(path, _FLAGS | os.O_RDWR, 0o666)
    except PermissionError:
        return os.open(path, _FLAGS & ~os.O_CREAT | os.O_RDONLY)  # made by another user, and can be locked like this


def _is_at(path: Path, file: int) -> bool:
    if sys.platform == "win32":
        return True
    try:
        return os.path.samestat(path.lstat(), os.fstat(file))
    except FileNotFoundError:
        return False


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> bool:
        os.lseek(file, 2**30, os.SEEK_SET)  # beyond its end, so that its content can be written
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        os.lseek(file, 0, os.SEEK_SET)
        return True

else:
    import fcntl

    def _lock(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        return True
