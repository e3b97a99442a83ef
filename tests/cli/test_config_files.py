"""`--config` with a path or the name of a preset."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from support.commands import options_of

from fairmot.cli.config_files import preset_path
from fairmot.core.errors import ConfigError
from fairmot.tracker.presets import PRESETS


@pytest.mark.parametrize("name", ["default", "fairmot", "mot17"])
def test_a_preset_beside_a_folder_of_its_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).mkdir()  # the checkout has a folder `fairmot`
    monkeypatch.chdir(tmp_path)
    assert options_of("track", ["x", "--config", name]) == options_of("track", ["x", f"--config={preset_path(name)}"])


def test_a_preset_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = options_of("track", ["x", "--config", "mot17", "--size", "576x320"])
    assert (options.eval, options.engine.box_mapping, options.engine.size) == (True, "reference", (576, 320))
    assert options_of("associate", ["x", "-o", "y", "--config=fairmot"]).settings == PRESETS["byte"]
    assert options_of("train", ["--data", "d", "--config", "train_lite"]).settings.steps == 4500


def test_a_file_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mot17").write_text("frames: 7")
    assert options_of("track", ["x", "--config", "mot17"]).frames == 7


@pytest.mark.parametrize(
    ("command", "name", "message"),
    [
        ("track", "mot71", "neither a file that can be read nor a preset (default, fairmot, mot17). Did you mean"),
        ("track", "train_lite", "nor a preset (default, fairmot, mot17)"),
        ("train", "mot17", "nor a preset (train_lite, train_classes)"),
        ("track", "no/mot17", "no/mot17 cannot be read"),
        ("track", "mot17.yaml", "mot17.yaml cannot be read"),
    ],
)
def test_what_is_no_preset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, name: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=re.escape(message)):
        options_of(command, ["--config", name])


def test_messages_name_a_file_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text("video: [")
    with pytest.raises(ConfigError) as caught:
        options_of("track", ["x", "--config", "a.yaml"])
    assert str(caught.value).endswith(f"compare it with {preset_path('default')}.")
    assert preset_path("default").is_file()


def test_the_order_of_files_and_flags_counts(tmp_path: Path) -> None:
    for name, frames in (("a", 1), ("b", 2)):
        (tmp_path / f"{name}.yaml").write_text(f"frames: {frames}\n{'stride: 3' if name == 'a' else ''}")
    a, b = (["--config", str(tmp_path / f"{name}.yaml")] for name in "ab")
    for arguments, frames in (([*a, *b], 2), ([*b, *a], 1), ([*a, "--frames", "9", *b], 2), ([*a, "--frames", "9"], 9)):
        options = options_of("track", ["x", *arguments])
        assert (options.frames, options.stride) == (frames, 3 if a[1] in arguments else 1)


def test_texts_survive(tmp_path: Path) -> None:
    texts = ["yes", "1e5", "a: b", "[x", "null", "~", "", "ü\u2028", "x" * 3000, "#", "'\"", "- a"]
    for text in texts:
        (tmp_path / "a.yaml").write_text(yaml.safe_dump({"output": text}))
        assert options_of("track", ["x", "--config", str(tmp_path / "a.yaml")]).output == text


@pytest.mark.parametrize("number", ["1e-1", "0.1", "'0.1'", ".1"])
def test_numbers_in_every_form(tmp_path: Path, number: str) -> None:
    (tmp_path / "a.yaml").write_text(f"tracker: {{motion_limit: {number}}}")
    assert options_of("track", ["x", "--config", str(tmp_path / "a.yaml")]).tracker.motion_limit == 0.1
