"""Several sources on one GPU, and on several, through the real command."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support import material
from support.commands import track as main

from fairmot.app.job_plan import _present_gpus

pytestmark = pytest.mark.gpu


def tracked(output: Path) -> dict[str, bytes]:
    """Return the tracks of all sources."""
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in sorted(output.rglob("tracks.*"))}


@pytest.mark.parametrize("gpus", [None, "0", "1", "0,1", "all"])
def test_jobs_on_gpus_give_the_results_of_one_process(
    tmp_path: Path, gpus: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if gpus in ("1", "0,1") and len(_present_gpus()) < 2:
        pytest.skip("this machine has one GPU")
    clips = [str(tmp_path / name / "walk") for name in "xy"]
    for number, clip in enumerate(clips, 1):
        material.write_sequence(Path(clip), [material.PEOPLE] * 20 * number)
    chosen = [] if gpus is None else ["--gpus", gpus]
    common = [*clips, "--engine", "tensorrt", "--no-video"]
    assert main([*common, "--output", str(tmp_path / "one"), "--jobs", "1"]) == 0
    assert main([*common, "--output", str(tmp_path / "two"), "--jobs", "2", *chosen]) == 0
    assert re.search(r"^2 sources: 60 frames .* 2 processes$", capsys.readouterr().out, re.MULTILINE)
    assert tracked(tmp_path / "one") == tracked(tmp_path / "two")
    for folder in ("walk", "walk-2"):
        run = json.loads((tmp_path / "two" / folder / "run.json").read_text())
        assert run["engine"]["name"] == "tensorrt"


def test_a_gpu_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--gpus", "99", "--output", str(tmp_path)]) == 2
    material.check_sentence(capsys.readouterr().err, r"--gpus: there is no GPU number 99.*; there (is|are) ")
