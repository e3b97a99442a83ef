"""Flags and YAML files."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import yaml
from support import material
from support.commands import options_of

from fairmot.app.options import Options
from fairmot.core import ConfigError
from fairmot.core.options import values_of
from fairmot.engine import EngineSettings
from fairmot.tracker import TrackerSettings
from fairmot.tracker.evaluation import BENCHMARKS, SPLITS
from fairmot.tracker.presets import PRESETS

CONFIGS = material.ROOT / "configs"
LAUGHS = f"[&a0 [{'x,' * 9}], " + "".join(f"&a{i} [" + f"*a{i - 1}," * 9 + "]," for i in range(1, 10)) + "]"
parse = partial(options_of, "track")
NUMBERS = [key for key, kind in get_type_hints(TrackerSettings).items() if kind in (int, float, float | None)]


def test_the_default_file_lists_every_key_with_its_default() -> None:
    content = yaml.safe_load((CONFIGS / "default.yaml").read_text())
    assert parse(["x"]) == Options(("x",))
    assert values_of(Options(("x",))) == content
    assert parse(["x", "--config", str(CONFIGS / "default.yaml")]) == parse(["x"])


def test_the_mot17_file() -> None:
    options = parse(["MOT17/train", "--config", str(CONFIGS / "mot17.yaml")])
    assert (options.eval, options.video, options.engine.size) == (True, False, (1088, 608))
    assert options.engine.box_mapping == "reference"
    assert options.tracker == dataclasses.replace(PRESETS["fairmot"], reference_quirks=True)


def test_choices_are_those_of_the_evaluation() -> None:
    hints = get_type_hints(Options)
    assert get_args(hints["split"]) == SPLITS
    assert get_args(hints["benchmark"]) == ("auto", *BENCHMARKS)


def test_flags_may_be_written_with_dashes() -> None:
    dashes = [
        "--save-detections",
        "my-file.npz",
        "--no-gmc",
        "--max-detections=7",
        "--tracker.motion-limit=0.5",
    ]
    options = parse(["my-video.mp4", *dashes])
    assert options == Options(
        ("my-video.mp4",),
        engine=EngineSettings(max_detections=7),
        save_detections="my-file.npz",
        tracker=TrackerSettings(motion_limit=0.5),
    )


def test_later_values_win(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "frames: 5\nstride: 2\nshow: true\ntracker: {motion_limit: 0.7, max_aspect_ratio: .inf}\n"
    )
    arguments = ["--frames", "1", "--config", str(tmp_path / "a.yaml"), "a.mp4", "b.mp4"]
    options = parse([*arguments, "--tracker.motion_limit=0.6", "--no-show"])
    assert options.sources == ("a.mp4", "b.mp4")
    assert (options.frames, options.stride, options.show, options.engine.size) == (5, 2, False, None)
    assert options.tracker == TrackerSettings(motion_limit=0.6, max_aspect_ratio=float("inf"))
    assert parse([*arguments, "--frames", "7"]).frames == 7


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Name a SOURCE"),
        (["x", "--strides", "2"], 'The option "strides" is unknown. Did you mean "stride"?'),
        (["x", "--no-vidoe"], 'The option "vidoe" is unknown. Did you mean "video"?'),
        (["x", "--confidence_threshold=1"], 'Did you mean "tracker.confidence_threshold"?'),
        (["x", "--thr", "2"], 'The option "thr" is unknown.'),
        (["x", "--stride", "two"], 'stride must be a whole number, not "two".'),
        (["x", "--frames", "1.5"], 'frames must be a whole number or null, not "1.5".'),
        (["x", "--dcn", "none"], 'dcn must be auto, plugin, native or nvidia, not "none".'),
        (["x", "--precision", "int4"], 'precision must be fp16 or fp32, not "int4".'),
        (["x", "--engine", "cuda"], 'engine must be auto, onnxruntime or tensorrt, not "cuda".'),
        (["x", "--tracker.low_score_stage", "2"], 'tracker.low_score_stage must be true or false, not "2".'),
        (
            ["x", "--tracker.motion_limit", "much"],
            'tracker.motion_limit must be a number (infinity is .inf), not "much".',
        ),
        (["x", "--tracker.motion_limit", "2"], "motion_limit must be between 0 and 1"),
        (["x", "--start", "0"], "start must be at least 1, not 0."),
        (["x", "--split", "half"], 'split must be full or val-half, not "half".'),
        (["x", "--split", "val-half", "--start", "5"], "start (5) and split (val-half) both choose the first frame"),
        (["x", "--eval", "--benchmark", "mot20"], 'benchmark must be auto, mot17 or mot15, not "mot20".'),
        (["x", "--benchmark", "mot17"], "benchmark (mot17) says how to score, which was not asked for; add --eval."),
        (["x", "--resume", "--interpolate=5"], "interpolate"),
        (["x", "--gmc", "--resumed"], 'The option "resumed" is unknown. Did you mean "resume"?'),
        (["x", "--save-detections"], "expected one argument"),
        (["x", "--save-detections="], "save_detections must name a file or a folder"),
        (["x", "--save-detection", "x.npz"], 'Did you mean "save_detections"?'),
        (["x", "--size", "576"], 'size must be WIDTHxHEIGHT in pixels, as in 576x320, not "576".'),
        (["x", "--video-size", "1x720"], "video_size must be at least 2x2, not 1x720."),
        (["x", "--video-fps", "0"], "video_fps must be a number above 0, not 0."),
        (["x", "--video-fps", ".inf"], "video_fps must be a number above 0, not inf."),
        (["x", "--stride"], "--stride: expected one argument"),
        (["x", "--config", "nowhere.yaml"], "nowhere.yaml cannot be read"),
        (["x", "--tracker", str(CONFIGS / "default.yaml")], "Name files of keys with --config."),
        (["x", f"--tracker={CONFIGS / 'default.yaml'}"], "tracker must be a group of keys with values, not "),
        (["x", "--stride", "[" * 5000], "stride cannot be read: it nests more than 32 levels deep."),
        (["x", f"--stride={LAUGHS}"], "stride cannot be read: it holds more than 10000 values."),
        (["x", "--stride", "9" * 5000], "stride cannot be read: a number has 5000 digits."),
        (["x", "--stride", "[" * 30 + "x" * 300], 'x...".'),
    ],
)
def test_wrong_flags(arguments: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(arguments)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("strides: 2", 'the key "strides" is unknown. Did you mean "stride"?'),
        ("motion_limit: 0.5", 'the key "motion_limit" is unknown. Did you mean "tracker.motion_limit"?'),
        (
            "tracker: {motoin_limit: 0.5}",
            'the key "tracker.motoin_limit" is unknown. Did you mean "tracker.motion_limit"?',
        ),
        ("zebra: 1", 'the key "zebra" is unknown.'),
        ("1: 1", 'the key "1" is unknown.'),
        ("threads: many", 'threads must be a whole number or null, not "many".'),
        ("video: 3", 'video must be true or false, not "3".'),
        ("tracker: {use_embeddings: maybe}", 'tracker.use_embeddings must be true or false, not "maybe".'),
        ("engine: [a, b]", "engine must be auto, onnxruntime or tensorrt"),
        ("tracker: 3", "tracker"),
        ("video: [", "is not YAML (line 1)"),
        ("just text", "holds no `key: value` lines"),
        ("", "holds no `key: value` lines"),
        ("sources: [a]", 'the key "sources" is unknown.'),
        ("stride: 1\nstride: 2", 'the key "stride" stands twice; leave one out (line 2).'),
        ("tracker: {overlap: iou, overlap: iou}", 'the key "overlap" stands twice'),
        ("output: " + "[" * 5000 + "]" * 5000, "it nests more than 32 levels deep"),
        (LAUGHS, "it holds more than 10000 values"),
        (f"stride: '{LAUGHS}'", "stride cannot be read: it holds more than 10000 values."),
        (f"tracker: {{motion_limit: '{LAUGHS}'}}", "tracker.motion_limit cannot be read: it holds more than 10000"),
        ("stride: '" + "[" * 5000 + "'", "stride cannot be read: it nests more than 32 levels deep."),
        ("stride: " + "9" * 5000, "a number has 5000 digits"),
        ("stride: " + "x" * 5000, 'stride must be a whole number, not "' + "x" * 80 + '...".'),
        ("stride: .nan", "stride must be a whole number"),
        ("null: 1", 'the key "None" is unknown.'),
        ("[a]: 1", "is not YAML"),
        ("stride: !!python/name:os.system", "is not YAML"),
        ("stride: 2026-13-45", "is not YAML"),
        ("output: &a [*a]", 'the alias "a" contains itself'),
    ],
)
def test_wrong_files(tmp_path: Path, content: str, sentence: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    for arguments in (["--config", str(path)], [f"--config={path}"]):
        with pytest.raises(ConfigError) as caught:
            parse(["x", *arguments])
        assert sentence in str(caught.value)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", NUMBERS)
def test_numbers_that_are_none(tmp_path: Path, key: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"tracker: {{{key}: .nan}}")
    for arguments in (["--config", str(path)], [f"--tracker.{key}=.nan"]):
        with pytest.raises(ConfigError, match=f"{key} must be .*nan"):
            parse(["x", *arguments])


def test_help_lists_every_key_in_groups(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["--help"])
    assert not ended.value.code
    text = capsys.readouterr().out
    positions = [text.index(f"\n{group}:\n") for group in ("frames", "engine", "tracks", "results")]
    assert positions == sorted(positions)
    for field in dataclasses.fields(TrackerSettings):
        assert f"--tracker.{field.name}" in text
    assert "--no-video" in text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--version"])
    assert capsys.readouterr().out.startswith("fairmot track ")
