"""Files appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fairmot.core import OutputError
from fairmot.core.files import check_writable, write_whole


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
