"""Locations of sources: complete, distinct, without secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairmot.app.location import location_of


@pytest.mark.parametrize(
    ("source", "location"),
    [
        ("rtsp://user:secret@host:554/live", "rtsp://host:554/live"),
        ("rtsp://user:p@ss@host/live", "rtsp://host/live"),
        ("https://host/a.mp4?token=secret", "https://host/a.mp4"),
        ("https://host/a.mp4?X-Amz-Date=1&X-Amz-Signature=2&api_key=3&Password=4&user=5&exp=6", "https://host/a.mp4"),
        ("rtsp://user:pass@[::1/cam?channel=1", "rtsp://"),
        ("demo?people=3", "demo"),
        ("0", "0"),
    ],
)
def test_a_location_holds_no_secrets(source: str, location: str) -> None:
    assert location_of(source) == location


def test_location_of_a_path_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert location_of("clip.mp4") == str(tmp_path / "clip.mp4")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("rtsp://host/live?channel=1", "rtsp://host/live?channel=2", False),
        ("rtsp://host/live?channel=1&subtype=0", "rtsp://host/live?channel=1&subtype=1", False),
        ("rtsp://host/live?channel=1", "rtsp://host/live", False),
        ("http://host/live?1", "http://host/live?2", False),
        ("http://host/live?camera=", "http://host/live?camera=%20", False),
        ("http://host/live?monkey=1&signal=1", "http://host/live?monkey=2&signal=2", False),
        ("rtsp://u:p@host/live?channel=1", "rtsp://host/live?channel=1", True),
        ("http://host/live?a=1&b=2", "http://host/live?b=2&a=1", True),
        ("http://host/live?channel=1&pwd=a", "http://host/live?channel=1&pwd=b", True),
        ("http://host/a.ts?id=7&Expires=1&Signature=x", "http://host/a.ts?id=7&Expires=2&Signature=y", True),
    ],
)
def test_queries_tell_streams_apart_without_showing_them(one: str, other: str, same: bool) -> None:
    first, second = location_of(one), location_of(other)
    assert (first == second) is same
    for location, source in ((first, one), (second, other)):
        assert location.startswith(source.partition("?")[0].replace("u:p@", ""))
        assert not any(part and part in location for part in source.partition("?")[2].split("&"))


@pytest.mark.parametrize("source", ["x" * 5000, "a\0b", "rtsp://h/" + "x" * 5000])
def test_names_that_are_no_paths(source: str) -> None:
    assert location_of(source) == source
