"""Files appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from fairmot.core import OutputError
from fairmot.core.files import check_writable, replacing, write_whole


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.bin"
    write_whole(path, b"first")
    write_whole(path, b"second")
    assert path.read_bytes() == b"second"
    assert list(path.parent.iterdir()) == [path]


def test_others_may_read_it_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "a.bin", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "a.bin").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("act", [check_writable, lambda path: write_whole(path, b"new")])
def test_where_nothing_can_be_written(tmp_path: Path, act) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "below", tmp_path / "folder"):
        with pytest.raises(OutputError, match=f"^Cannot write {path}: .*\\.$"):
            act(path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "old"


def test_looking_leaves_a_file_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_text("old")
    check_writable(tmp_path / "a.bin")
    check_writable(tmp_path / "new" / "a.bin")
    assert (tmp_path / "a.bin").read_text() == "old"
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize("options", [{}, {"durable": True}, {"draft": ".a.part"}, {"buffer_size": 7}], ids=str)
def test_a_file_is_replaced_at_the_end_of_the_block(tmp_path: Path, options: dict[str, Any]) -> None:
    if "draft" in options:
        options = {"draft": tmp_path / options["draft"]}
        options["draft"].write_text("left by a killed process")
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with replacing(path, **options) as file:
        file.write(b"new content")
        assert path.read_bytes() == b"old"
        assert Path(file.name).parent == tmp_path
    assert path.read_bytes() == b"new content"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyError("bug"), KeyboardInterrupt()])
def test_an_exception_leaves_the_file_as_it_was(tmp_path: Path, error: BaseException) -> None:
    def write() -> None:
        with replacing(tmp_path / "a.bin") as file:
            file.write(b"half")
            raise error

    (tmp_path / "a.bin").write_bytes(b"old")
    with pytest.raises(type(error)):
        write()
    assert (tmp_path / "a.bin").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
@pytest.mark.parametrize("name", ["a.bin", ".a.part"])
def test_links_are_replaced(tmp_path: Path, link: str, name: str) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    getattr(tmp_path / name, link)(tmp_path / "precious")
    with replacing(tmp_path / "a.bin", draft=tmp_path / ".a.part") as file:
        file.write(b"new")
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert (tmp_path / "a.bin").read_bytes() == b"new"
    assert not (tmp_path / "a.bin").is_symlink()


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with replacing(path) as first:
        first.write(b"first")
        with replacing(path) as second:
            second.write(b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_device_is_written_to() -> None:
    write_whole(Path("/dev/null"), b"data")
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("name", ["x" * 255, "\U00020000" * 60])
def test_names_as_long_as_they_can_be(tmp_path: Path, name: str) -> None:
    write_whole(tmp_path / name, b"data")
    assert [path.name for path in tmp_path.iterdir()] == [name]
