"""What reports say of a source."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.report import location_of


@pytest.mark.parametrize(
    ("source", "location"),
    [
        ("rtsp://user:secret@host:554/live", "rtsp://host:554/live"),
        ("rtsp://user:p@ss@host/live", "rtsp://host/live"),
        ("https://host/a.mp4?token=secret", "https://host/a.mp4"),
        ("demo?people=3", "demo"),
        ("0", "0"),
    ],
)
def test_location_tells_no_secrets(source: str, location: str) -> None:
    assert location_of(source) == location


def test_location_of_a_path_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert location_of("clip.mp4") == str(tmp_path / "clip.mp4")
