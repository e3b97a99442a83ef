"""JSON files of results: whole, also on a full disk."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from fairmot.app.json_files import write_json
from fairmot.core import OutputError


def test_a_report_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(tmp_path / "run.json", {"status": "running"})
    monkeypatch.setattr("fairmot.core.files.os.fsync", full)
    monkeypatch.setattr("fairmot.app.json_files._rewrite", lambda *_: False)
    with pytest.raises(OutputError, match=r"run\.json cannot be written \(no space left on device\)"):
        write_json(tmp_path / "run.json", {"status": "complete"})
    assert json.loads((tmp_path / "run.json").read_text()) == {"status": "running"}
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_full_disk_has_room_for_the_blocks_of_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(tmp_path / "run.json", {"status": "running", "message": "x" * 1000})
    monkeypatch.setattr("fairmot.core.files.os.fsync", full)
    write_json(tmp_path / "run.json", {"status": "failed"})
    assert json.loads((tmp_path / "run.json").read_text()) == {"status": "failed"}
    with pytest.raises(OutputError, match="no space left"):
        write_json(tmp_path / "run.json", {"message": "x" * 100_000})
    assert json.loads((tmp_path / "run.json").read_text()) == {"status": "failed"}
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")
