"""Runs whose video is a copy with subtitles."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
from support import material

from run_track import main


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name.startswith("tracked")}


def test_one_kind_of_video_at_a_time_and_resumed_as_such(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = material.write_clip(tmp_path / "clip.mp4", 12)
    arguments = [str(clip), "--weights", str(weights), "--output", str(tmp_path / "out"), "--resume"]
    folder = tmp_path / "out" / "clip"
    for more, expected in (
        (["--overlay", "subtitles"], {"tracked.mkv"}),
        ([], {"tracked.mp4"}),
        (["--overlay", "subtitles"], {"tracked.mkv"}),
    ):
        assert main([*arguments, *more]) == 0
        assert "already complete" not in capsys.readouterr().out
        assert names(folder) == expected
    assert main([*arguments, "--overlay", "subtitles"]) == 0
    assert "already complete" in capsys.readouterr().out
    with av.open(str(folder / "tracked.mkv")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 12
        container.seek(0)
        events = [packet for packet in container.demux(container.streams.subtitles[0]) if packet.size]
    assert len(events) == sum(bool(line["tracks"]) for line in material.read_lines(folder)) > 0
    (folder / "tracked.mkv").unlink()
    assert main([*arguments, "--overlay", "subtitles"]) == 0
    assert "already complete" not in capsys.readouterr().out
    assert main([*arguments, "--overlay", "subtitles", "--no-video"]) == 0
    assert names(folder) == set()


def test_sources_without_packets_fail_alone_and_before_tracking(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = material.write_clip(tmp_path / "clip.mp4", 5)
    photos = material.write_images(tmp_path / "photos", [material.image()] * 3)
    arguments = [str(photos), str(clip), "--weights", str(weights), "--output", str(tmp_path / "out")]
    assert main([*arguments, "--overlay", "subtitles"]) == 2
    sentence = r"^error: photos is no video file, .*leave out --overlay subtitles, .*--no-video\.$"
    material.check_sentence(capsys.readouterr().err, sentence)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["clip"]
    assert names(tmp_path / "out" / "clip") == {"tracked.mkv"}
    assert len(material.read_lines(tmp_path / "out" / "clip")) == 5
    assert main([*arguments, "--overlay", "subtitles", "--no-video"]) == 0
