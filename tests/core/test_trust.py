"""Files that are code: used only if no other user of the machine can change them."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from fairmot.core import trust
from fairmot.core.errors import ConfigError, OutputError
from fairmot.core.trust import keep_private, private_cache, private_folder, require_private

pytestmark = pytest.mark.skipif(os.name != "posix", reason="owners and modes are POSIX's")

STRANGER = 65534
needs_root = pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "above" / "folder"
    folder.mkdir(parents=True)
    path = folder / "code.so"
    path.touch(0o644)
    return path


def test_own_files_pass(file: Path) -> None:
    assert require_private(file, "plan") == file.resolve()
    assert require_private(file.parent, "plan") == file.parent.resolve()


@pytest.mark.parametrize("up", [0, 1, 2], ids=["file", "folder", "folder above"])
@pytest.mark.parametrize(("mode", "who"), [(0o777, "all users"), (0o702, "all users"), (0o776, "all users")])
def test_what_all_may_write_is_refused(file: Path, up: int, mode: int, who: str) -> None:
    place = [file, *file.parents][up]
    place.chmod(mode)
    with pytest.raises(ConfigError) as caught:
        require_private(file, "plan")
    kind = "folder" if up else "file"
    assert str(caught.value) == (
        f"The plan is not used, because {who} may write to the {kind} {place}: run `chmod go-w {place}` if you trust "
        "what it holds."
    )


@needs_root
@pytest.mark.parametrize("up", [0, 1, 2], ids=["file", "folder", "folder above"])
def test_what_a_group_may_write_is_refused(file: Path, up: int) -> None:
    place = [file, *file.parents][up]
    os.chown(place, -1, STRANGER)
    place.chmod(0o775)
    with pytest.raises(ConfigError, match=r"because other users of its group may write to .*: run `chmod go-w"):
        require_private(file, "plan")


@needs_root
def test_the_private_group_of_a_user_is_no_other(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root's group has root's name; members beside root are others."""
    grp = pytest.importorskip("grp")
    file.chmod(0o664)
    assert require_private(file, "plan") == file.resolve()
    shared = grp.struct_group(("root", "x", 0, ["root", "operator"]))
    monkeypatch.setattr(grp, "getgrgid", lambda number: shared)
    with pytest.raises(ConfigError, match="other users of its group"):
        require_private(file, "plan")


@needs_root
@pytest.mark.parametrize("up", [0, 1, 2], ids=["file", "folder", "folder above"])
def test_what_another_user_owns_is_refused(file: Path, up: int) -> None:
    place = [file, *file.parents][up]
    os.chown(place, STRANGER, -1)
    remedy = "use another folder" if up else "delete it"
    with pytest.raises(ConfigError, match=rf"belongs to the user nobody, .*: {remedy}, or run `chown 0 {place}`"):
        require_private(file, "plan")


@needs_root
def test_a_user_without_a_name(file: Path) -> None:
    os.chown(file, 54321, -1)
    with pytest.raises(ConfigError, match="belongs to user number 54321, who"):
        require_private(file, "plan")


@needs_root
def test_the_owner_of_the_program_is_trusted(file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "program" / "core" / "trust.py"
    program.parent.mkdir(parents=True)
    program.touch()
    for path in (program, file, file.parent):
        os.chown(path, STRANGER, -1)
    monkeypatch.setattr(trust, "__file__", str(program))
    assert require_private(file, "plan") == file.resolve()


def test_a_shared_folder_that_holds_the_program_passes_as_a_folder_above(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    above = file.parent.parent
    above.chmod(0o777)
    monkeypatch.setattr(trust, "_PROGRAM", above / "checkout")
    assert require_private(file, "plan") == file.resolve()
    beside = above / "a.plan"
    beside.touch()
    with pytest.raises(ConfigError, match="all users may write to the folder"):
        require_private(beside, "plan")


def test_a_sticky_folder_passes_above_but_not_as_the_own_one(file: Path) -> None:
    file.parent.parent.chmod(0o1777)
    assert require_private(file, "plan") == file.resolve()
    file.parent.chmod(0o1777)
    for path in (file, file.parent):
        with pytest.raises(ConfigError, match=r"may write to the folder .*folder: use a folder of your own\."):
            require_private(path, "plan")


def test_links_are_followed_before_the_check(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(file.parent)
    assert require_private(link / "code.so", "plan") == file.resolve()
    file.parent.chmod(0o777)
    with pytest.raises(ConfigError, match="may write"):
        require_private(link / "code.so", "plan")
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    (shared / "code.so").touch()
    own = tmp_path / "own.so"
    own.symlink_to(shared / "code.so")
    with pytest.raises(ConfigError, match="shared"):
        require_private(own, "plan")


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        require_private(tmp_path / "none", "plan")
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(OSError, match="symbolic links"):
        require_private(tmp_path / "a", "plan")


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022, 0o077])
def test_new_folders_of_the_cache_are_for_their_owner_alone(
    umask: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIRMOT_CACHE", str(tmp_path / "new" / "cache"))
    before = os.umask(umask)
    try:
        folder = private_cache("engines")
        (folder / "a").touch()
        keep_private(folder / "a")
    finally:
        os.umask(before)
    for made in (folder, folder.parent, folder.parent.parent):
        assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert require_private(folder / "a", "plan") == folder / "a"
    assert private_cache("engines") == folder


@pytest.mark.parametrize("shared", ["", "engines"])
@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o757])
def test_a_cache_that_all_may_write_is_refused(
    shared: str, mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIRMOT_CACHE", str(tmp_path / "cache"))
    private_cache("engines")
    (tmp_path / "cache" / shared).chmod(mode)
    with pytest.raises(ConfigError, match=r"The cache \(FAIRMOT_CACHE\) is not used, because all users may write"):
        private_cache("engines")


def test_a_cache_that_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        monkeypatch.setenv("FAIRMOT_CACHE", str(place))
        with pytest.raises(OutputError, match=r"cannot be written \(.*\): set FAIRMOT_CACHE to another folder\."):
            private_cache("engines")


def test_existing_folders_keep_their_mode(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(0o755)
    private_folder(folder, "cache")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    shutil.rmtree(folder)
    private_folder(folder, "cache", 0o750)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750
