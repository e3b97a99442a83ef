"""The plan of several sources: what runs at once, in how many processes, and which GPUs may be used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fairmot.app import job_plan
from fairmot.app.job_plan import Gpu, LiveGate, chosen_gpus, plan_jobs, runs_at_once
from fairmot.app.options import Options
from fairmot.core import ConfigError
from fairmot.core.cores import usable_cores
from fairmot.engine import EngineSettings

GIB = 2**30
CAMERAS = ["rtsp://a/1", "udp://127.0.0.1:5000", "http://host/stream"]
FILES = ["a.mp4", "b.mp4", "folder", "demo", "http://host/video.mp4?x=1"]


@pytest.mark.parametrize("spec", [*CAMERAS, "0", "https://host/live.m3u8"])
def test_live_sources_run_at_once(spec: str) -> None:
    assert runs_at_once(spec)


@pytest.mark.parametrize("spec", [*FILES, "file:///a.mp4", "demo?people=3", "C:\\a.mp4"])
def test_files_do_not(spec: str) -> None:
    assert not runs_at_once(spec)


def test_a_path_is_no_camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "1.png").touch()
    assert not runs_at_once("0")


@pytest.mark.parametrize(
    ("specs", "jobs", "expected"),
    [
        (["a.mp4"], 4, None),
        (CAMERAS[:1], "auto", None),
        (FILES, 1, None),
        (CAMERAS, 1, None),
        (FILES, "auto", None),  # on the CPU
        (CAMERAS, "auto", (3, 0)),
        ([*CAMERAS, *FILES], "auto", (3, 1)),
        ([*CAMERAS, *FILES], 2, (3, 2)),
        (FILES[:3], 8, (0, 3)),
        (["a.mp4", "0"], "auto", (1, 1)),
    ],
)
def test_the_number_of_processes(specs: list[str], jobs: int, expected: tuple[int, int] | None) -> None:
    options = Options(tuple(specs), jobs=jobs, engine=EngineSettings("onnxruntime"))
    plan = plan_jobs(options, specs, ())
    assert (plan and (len(plan.live), plan.files)) == expected
    if plan is not None:
        assert plan.engine.threads == max(1, usable_cores() // sum(expected or ()))
        asked = replace(options, engine=replace(options.engine, threads=5))
        found = plan_jobs(asked, specs, ())
        assert found is not None
        assert found.engine.threads == 5


@pytest.mark.parametrize(
    ("memories", "cores", "files", "expected"),
    [
        ([80 * GIB], 16, 20, 4),
        ([80 * GIB], 4, 20, 2),
        ([80 * GIB], 1, 20, None),
        ([5 * GIB], 16, 20, 2),
        ([GIB], 16, 20, None),
        ([80 * GIB] * 2, 32, 20, 8),
        ([80 * GIB] * 2, 8, 20, 4),
        ([80 * GIB] * 8, 128, 5, 5),
    ],
)
def test_the_number_of_jobs_on_gpus(
    monkeypatch: pytest.MonkeyPatch, memories: list[int], cores: int, files: int, expected: int | None
) -> None:
    monkeypatch.setattr(job_plan, "usable_cores", lambda: cores)
    gpus = [Gpu(str(number), memory) for number, memory in enumerate(memories)]
    specs = [f"{number}.mp4" for number in range(files)]
    plan = plan_jobs(Options(tuple(specs), gpus="all"), specs, gpus)
    assert (plan and plan.files) == expected
    if plan is not None:
        assert (plan.engine.backend, plan.gpus) == ("tensorrt", gpus)
    assert plan_jobs(Options(tuple(specs), gpus="all", show=True), specs, gpus) is None


@pytest.mark.parametrize(
    ("visible", "count", "given", "expected"),
    [
        (None, 2, "all", ["0", "1"]),
        (None, 2, 1, ["1"]),
        (None, 4, "3,1,3", ["3", "1"]),
        ("2,5", 2, "all", ["2", "5"]),
        ("2,5", 2, 1, ["5"]),
        ("GPU-a0, GPU-b1", 2, "1", ["GPU-b1"]),
        (None, 1, None, []),
        (None, 2, 2, "there is no GPU number 2; there are numbers 0 to 1"),
        ("5", 1, "0,5", "there is no GPU number 5 in CUDA_VISIBLE_DEVICES; there is only number 0"),
        ("", 0, 0, "--gpus needs an NVIDIA GPU, and the driver finds none; leave it out to use the CPU"),
    ],
)
def test_gpus_are_chosen_within_those_that_are_visible(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, count: int, given: str | int | None, expected: list[str] | str
) -> None:
    monkeypatch.setattr(job_plan, "_LIST_GPUS", f"for _ in range({count}): print({GIB})")  # as the driver finds them
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    options = Options(("a.mp4",), gpus=given)
    if isinstance(expected, str):
        with pytest.raises(ConfigError, match=expected):
            chosen_gpus(options)
        return
    chosen = chosen_gpus(options)
    assert [gpu.visible for gpu in chosen] == expected
    assert all(gpu.environment == {"CUDA_VISIBLE_DEVICES": gpu.visible} for gpu in chosen)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"jobs": 0}, "jobs must be at least 1, not 0"),
        ({"gpus": "first"}, 'gpus must be all, or numbers by commas as in 0,1, not "first"'),
        ({"gpus": "0,"}, "gpus must be all"),
        ({"gpus": -1}, "gpus must be all"),
        ({"gpus": 0, "engine": EngineSettings("onnxruntime")}, r"gpus \(0\) chooses GPUs, but the engine onnxruntime"),
    ],
)
def test_wrong_options(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Options(("a.mp4",), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ([(3, 0, 0.0), (2, 1, 1.0), (1, 2, 5.0), (0, 3, 6.0), (1, 2, 7.0)], [False, False, False, True, True]),
        ([(2, 0, 0.0), (2, 0, 99.0), (1, 1, 100.0), (1, 1, 119.0), (1, 1, 121.0)], [False, False, False, False, True]),
        ([(2, 0, 0.0), (1, 0, 1.0), (0, 1, 2.0)], [False, False, True]),  # the first could not open its engine
    ],
)
def test_live_sources_wait_for_all_engines_once(seen: list[tuple[int, int, float]], expected: list[bool]) -> None:
    gate = LiveGate()
    assert [gate.is_open(*each) for each in seen] == expected
