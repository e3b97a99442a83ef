"""One stream on a GPU: the same results in processes as in threads, byte for byte."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from support import material
from support.processes import workers_of

from fairmot.app.run import _Tally
from fairmot.video.synthetic.scene import Scene
from run_track import main

pytestmark = pytest.mark.gpu

FRAMES = 450  # more than `auto` takes for short


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    scene = Scene(people=12, size=(640, 360), frames=FRAMES, seed=1)
    return material.write_video(
        tmp_path_factory.mktemp("clips") / "clip.mp4", (scene.render(number + 1) for number in range(FRAMES))
    )


@pytest.mark.parametrize("batch", [1, 8])
def test_results_are_those_of_threads(
    tmp_path: Path, clip: Path, batch: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real, workers = _Tally.add, []

    def add(self: Any, frame: Any, tracks: Any) -> None:
        if frame.index == 1:
            workers.append(sorted(workers_of(os.getpid())))
        real(self, frame, tracks)

    monkeypatch.setattr(_Tally, "add", add)
    for pipeline in ("threads", "processes", "auto"):
        options = ["--engine", "tensorrt", "--batch", batch, "--csv", "--pipeline", pipeline]
        assert main(list(map(str, [clip, "--output", tmp_path / pipeline, *options]))) == 0
        assert material.check_results(tmp_path / pipeline / "clip", status="complete") == FRAMES
        for name in ("tracks.txt", "tracks.jsonl", "tracks.csv"):
            results = [(tmp_path / each / "clip" / name).read_bytes() for each in ("threads", pipeline)]
            assert results[0] == results[1]
    assert workers == [[], *[["associate", "decode", "write_video"]] * 2]
    assert "page-locked" not in capsys.readouterr().err, "the ring was page-locked"
