"""`import fairmot`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import fairmot

ROOT = Path(__file__).resolve().parents[2]


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)


def test_three_frames_through_the_public_api_alone(tmp_path: Path) -> None:
    sinks = (fairmot.MOTSink(tmp_path / "tracks.txt"), fairmot.JSONLSink(tmp_path / "tracks.jsonl"))
    found = []
    with fairmot.open_source("demo?size=320x192&people=4") as source, fairmot.open_engine() as engine:
        source.select(1, 3)
        tracker = fairmot.FairMOTTracker(source.frame_rate, fairmot.TrackerSettings())
        with sinks[0], sinks[1], fairmot.VideoSink(tmp_path / "tracked.mp4", source.size, source.frame_rate) as video:
            for frame, tracks in fairmot.track_frames(source, engine, tracker):
                assert isinstance(frame, fairmot.Frame)
                assert isinstance(tracks, fairmot.Tracks)
                for sink in (*sinks, video):
                    sink.write(frame, tracks)
                found.append((frame.index, len(tracks)))
    assert [index for index, _ in found] == [1, 2, 3]
    assert found[-1][1] > 0
    assert len((tmp_path / "tracks.jsonl").read_text().splitlines()) == 3
    assert (tmp_path / "tracked.mp4").stat().st_size > 0


def test_importing_it_costs_nothing_heavy(tmp_path: Path) -> None:
    done = python("import fairmot, sys; print(*sorted(sys.modules))", tmp_path)
    assert done.returncode == 0, done.stderr
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"numpy", "cv2", "torch", "onnx", "onnxruntime", "av", "scipy", "lap", "jsonargparse", "yaml"}


def test_every_name_is_there(tmp_path: Path) -> None:
    done = python("import fairmot; print(*(getattr(fairmot, name) for name in fairmot.__all__))", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(fairmot.__all__) <= set(dir(fairmot))
    assert fairmot.__version__[0].isdigit()


def test_a_name_that_is_not_there(tmp_path: Path) -> None:
    done = python("import fairmot; fairmot.open_sauce", tmp_path)
    assert "module 'fairmot' has no attribute 'open_sauce'" in done.stderr
