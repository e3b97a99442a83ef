"""Checks that other users of the machine cannot change the files that this program runs as code.

Plugin libraries, TensorRT plans, compiled kernels and TensorRT's timing caches are code, or decide which code runs:
who can write them, or the folders that they lie in, can run anything as the user who loads them. They are used only if
no one can but that user, root, and the owner of this program's own files, whose code runs already. Windows has no such
owners and modes; there nothing is checked.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
from pathlib import Path

from fairmot.core.errors import ConfigError, OutputError

_PROGRAM = Path(__file__).resolve().parents[1]
_CHECKED = os.name == "posix"


def require_private(path: Path, what: str) -> Path:
    """Check that only trusted users can change a file or folder, and those that it lies in.

    Of the folders above it, one that all may write passes if it is sticky as /tmp is, for then nobody can replace what
    others have there, and one that holds this program passes, for who can write there can change the program too.
    Both are refused as the file's own folder.

    Args:
        path: an existing file or folder; symbolic links are followed first.
        what: it is, for the message: "plan".

    Returns:
        The path without symbolic links: what was checked, so what should be opened.

    Raises:
        ConfigError: if others can change it, with the remedy.
        OSError: if it does not exist or cannot be examined.
    """
    try:
        path = path.resolve(strict=True)
    except RuntimeError as error:  # links in a circle, before Python 3.13
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from error
    if _CHECKED:
        own = [path] if path.is_dir() else [path, path.parent]
        for part in (path, *path.parents):
            _check(part, part.stat(), what, is_own=part in own)
    return path


def private_folder(path: Path, what: str, mode: int = 0o700) -> Path:
    """Make a folder that only its owner can write, or check the one that is there.

    Args:
        path: the folder; those above it are made too.
        what: it is, for the message: "cache".
        mode: of a new folder.

    Returns:
        The path without symbolic links.

    Raises:
        ConfigError: if others can change an existing one.
        OSError: if it cannot be made.
    """
    for folder in (*reversed(path.parents), path):
        if not folder.is_dir():
            folder.mkdir(mode, exist_ok=True)  # several processes may start together
    return require_private(path, what)


def keep_private(path: Path) -> None:
    """Take the right to write from all but the owner, whatever the umask was when the file was made."""
    if _CHECKED:
        path.chmod(stat.S_IMODE(path.stat().st_mode) & ~(stat.S_IWGRP | stat.S_IWOTH))


def cache_folder() -> Path:
    """Return the folder for what can be made again: `FAIRMOT_CACHE`, or `fairmot` in the user's cache."""
    chosen = os.environ.get("FAIRMOT_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fairmot"


def private_cache(name: str) -> Path:
    """Return a folder of the cache, made if it is not there, that only its owner can write.

    Args:
        name: of the folder within `cache_folder()`.

    Raises:
        ConfigError: if it is there and others can change it.
        OutputError: if it cannot be made.
    """
    what = "cache (FAIRMOT_CACHE)" if os.environ.get("FAIRMOT_CACHE") else "cache"
    folder = cache_folder()
    try:
        return private_folder(private_folder(folder, what) / name, what)
    except OSError as error:
        raise OutputError(
            f"The cache {folder} cannot be written ({error.strerror}): set FAIRMOT_CACHE to another folder."
        ) from error


def _check(part: Path, status: os.stat_result, what: str, *, is_own: bool) -> None:
    """Raise `ConfigError` if an untrusted user owns or may write a file or folder.

    Args:
        part: the file or folder.
        status: of it.
        what: stands at the end of the path, for the message.
        is_own: whether `part` is that itself or the folder of that file, where a sticky bit is no excuse.
    """
    is_folder = stat.S_ISDIR(status.st_mode)
    subject = f"{'folder' if is_folder else 'file'} {part}"
    if not is_own and (part == _PROGRAM or part in _PROGRAM.parents):
        return
    if status.st_uid not in _trusted_users():
        remedy = "use another folder" if is_folder else "delete it"
        raise ConfigError(
            f"The {what} is not used, because the {subject} belongs to {_user(status.st_uid)}, who can put any code "
            f"there: {remedy}, or run `chown {os.geteuid()} {shlex.quote(str(part))}` if you trust what it holds."
        )
    others = status.st_mode & stat.S_IWOTH
    group = status.st_mode & stat.S_IWGRP and not _is_group_of(status.st_uid, status.st_gid)
    is_sticky = is_folder and status.st_mode & stat.S_ISVTX
    if not (others or group) or (is_sticky and not is_own):
        return
    remedy = (
        "use a folder of your own"
        if is_sticky
        else f"run `chmod go-w {shlex.quote(str(part))}` if you trust what it holds"
    )
    raise ConfigError(
        f"The {what} is not used, because {'all users' if others else 'other users of its group'} may write to the "
        f"{subject}: {remedy}."
    )


def _trusted_users() -> set[int]:
    """Return the user, the owner of this program, and root, which may have another number in a user namespace (HPC)."""
    return {os.geteuid(), 0, Path("/").stat().st_uid, Path(__file__).stat().st_uid}


def _user(number: int) -> str:
    import pwd

    try:
        return f"the user {pwd.getpwuid(number).pw_name}"
    except KeyError:
        return f"user number {number}"


def _is_group_of(user: int, group: int) -> bool:
    """Return whether a group is a user's private one, as many Linux systems make: of the same name, no other in it.

    With such groups the usual umask is 002, so that all files may be written by the group.
    """
    import grp
    import pwd

    try:
        name, found = pwd.getpwuid(user).pw_name, grp.getgrgid(group)
    except KeyError:
        return False
    return found.gr_name == name and set(found.gr_mem) <= {name}
