"""Keys and values under their old names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.commands import options_of, track

from fairmot.core.errors import ConfigError
from fairmot.core.options import keys_of, values_of
from fairmot.core.renames import Renames

# command, old flags, what an older file held, the present key, its value
CASES: list[tuple[str, list[str], str, str, Any]] = [
    ("track", ["--back-projection", "reference"], "back_projection: reference", "box_mapping", "reference"),
    ("track", ["--back_projection=reference"], "back_projection: reference", "box_mapping", "reference"),
    ("track", ["--camera-motion"], "camera_motion: true", "gmc", True),
    ("track", ["--camera_motion"], "camera_motion: true", "gmc", True),
    ("track", ["--gmc", "--no-camera-motion"], "camera_motion: false", "gmc", False),
    (
        "track",
        ["--tracker.follow-camera", "false"],
        "tracker: {follow_camera: false}",
        "tracker.gmc_from_detections",
        False,
    ),
    (
        "track",
        ["--tracker.reference_faults=true"],
        "tracker: {reference_faults: true}",
        "tracker.reference_quirks",
        True,
    ),
    ("track", ["--tracker.box_model", "aspect"], "tracker: {box_model: aspect}", "tracker.box_model", "xyah"),
    ("track", ["--tracker.box-model=width"], "tracker: {box_model: width}", "tracker.box_model", "xywh"),
    ("associate", ["--follow-camera", "false"], "tracker: {follow_camera: false}", "gmc_from_detections", False),
    ("associate", ["--reference_faults=true"], "tracker: {reference_faults: true}", "reference_quirks", True),
    ("associate", ["--box-model", "aspect"], "tracker: {box_model: aspect}", "box_model", "xyah"),
    (
        "train",
        ["--settings.crowd.colour-match", "0.5"],
        "settings: {crowd: {colour_match: 0.5}}",
        "settings.crowd.color_match",
        0.5,
    ),
]
NEEDED = {"track": ["x"], "associate": ["x", "-o", "y"], "train": ["--data", "d"]}


def value_of(options: Any, name: str) -> Any:
    value = values_of(options)
    for part in name.split("."):
        value = value[part]
    return value


@pytest.mark.parametrize(("command", "flags", "content", "name", "value"), CASES)
def test_old_names_are_understood_with_a_warning(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    flags: list[str],
    content: str,
    name: str,
    value: Any,
) -> None:
    assert name in keys_of(type(options_of(command, NEEDED[command])))
    path = tmp_path / "old.yaml"
    path.write_text(content)
    last = name.rpartition(".")[2]
    for arguments in (["--config", str(path)], flags if flags[0] != "--gmc" else flags[1:]):
        options = options_of(command, [*NEEDED[command], *arguments])
        assert value_of(options, name) == value
        printed = capsys.readouterr().err
        assert printed.startswith("warning: ")
        assert printed.count("\n") == 1
        assert last in printed


def test_present_names_need_no_warning(capsys: pytest.CaptureFixture[str]) -> None:
    options_of("track", ["x", "--gmc", "--tracker.box_model", "xyah", "--box-mapping", "reference"])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("flags", "content"),
    [
        (["--gmc", "--no-camera-motion"], "camera_motion: true\ngmc: true"),
        (["--box-mapping=exact", "--back-projection", "exact"], "back_projection: exact\nbox_mapping: exact"),
        (
            ["--tracker.reference_faults=true", "--tracker.reference-quirks", "true"],
            "tracker: {reference_faults: true, reference_quirks: true}",
        ),
    ],
)
def test_both_names_are_one_too_many(tmp_path: Path, flags: list[str], content: str) -> None:
    path = tmp_path / "both.yaml"
    path.write_text(content)
    for arguments in (flags, ["--config", str(path)]):
        with pytest.raises(ConfigError, match="are the same setting"):
            options_of("track", ["x", *arguments])


def test_words_that_only_look_like_old_names(capsys: pytest.CaptureFixture[str]) -> None:
    options = options_of("track", ["--output", "aspect", "--", "camera_motion", "--camera-motion"])
    assert (options.sources, options.output, options.gmc) == (("camera_motion", "--camera-motion"), "aspect", False)
    with pytest.raises(ConfigError, match='"camera_motion" is unknown'):
        options_of("associate", ["x", "-o", "y", "--camera-motion"])
    assert capsys.readouterr().err == ""


def test_a_run_of_an_older_version_is_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["demo?frames=3&people=2", "--no-video", "--output", str(tmp_path)]
    clip = tmp_path / "in" / "demo.mp4"
    assert track(["demo?frames=3&people=2&size=96x64", "--output", str(tmp_path / "made")]) == 0
    clip.parent.mkdir()
    next((tmp_path / "made").rglob("tracked.mp4")).rename(clip)
    line = [str(clip), "--no-video", "--output", str(tmp_path / "out")]
    assert track(line) == 0
    path = tmp_path / "out" / "demo" / "run.json"
    run = json.loads(path.read_text())
    old = run["configuration"]
    assert Renames().content(old) == old
    old["back_projection"], old["camera_motion"] = old.pop("box_mapping"), old.pop("gmc")
    tracker = old["tracker"]
    tracker["follow_camera"] = tracker.pop("gmc_from_detections")
    tracker["reference_faults"] = tracker.pop("reference_quirks")
    tracker["box_model"] = {"xyah": "aspect", "xywh": "width"}[tracker["box_model"]]
    path.write_text(json.dumps(run))
    capsys.readouterr()
    assert track([*line, "--resume"]) == 0
    assert "already complete" in capsys.readouterr().out
    assert track([*line, "--resume", "--gmc"]) == 0
    assert "already complete" not in capsys.readouterr().out
