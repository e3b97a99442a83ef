"""The order and the spelling of the words of a command line."""

from __future__ import annotations

from importlib import import_module

import pytest
from support.commands import options_of

from fairmot.cli.table import COMMANDS, module_of
from fairmot.core.errors import ConfigError
from fairmot.core.options import Key, keys_of

NEEDED = {
    "track": ["x"],
    "associate": ["x", "-o", "y"],
    "evaluate": ["a", "b"],
    "export": ["x", "-o", "y"],
    "verify": ["x", "--engine", "p", "--frame", "f"],
    "inspect": ["x"],
    "train": ["--data", "d"],
    "reproduce": ["--data", "d", "--output", "o"],
}


@pytest.mark.parametrize(
    "words",
    [
        ["a", "b", "--frames", "3", "--no-video"],
        ["a", "--frames", "3", "b", "--no-video"],
        ["--no-video", "a", "--frames=3", "b"],
        ["--frames", "3", "--no-video", "--", "a", "b"],
        ["a", "--no-video", "--frames", "3", "--", "b"],
    ],
)
def test_sources_may_stand_anywhere(words: list[str]) -> None:
    options = options_of("track", words)
    assert (options.sources, options.frames, options.video) == (("a", "b"), 3, False)


def test_values_that_may_be_left_out_or_be_many() -> None:
    options = options_of("associate", ["a", "--interpolate", "7", "-o", "y", "b"])
    assert (options.detections, options.interpolate) == (("a", "b"), 7)
    options = options_of("associate", ["a", "-o", "y", "--interpolate", "--", "7"])
    assert (options.detections, options.interpolate) == (("a", "7"), -1)
    options = options_of("evaluate", ["a", "b", "--sequences", "x", "y", "--split", "val-half"])
    assert (options.sequences, options.split) == (("x", "y"), "val-half")


def test_negative_numbers_are_values() -> None:
    assert options_of("export", ["x", "-o", "y", "--score-shift", "-0.405"]).score_shift == -0.405
    assert options_of("export", ["x", "-o", "y", "--score-shift", "-.5"]).score_shift == -0.5


def flags() -> list[tuple[str, Key]]:
    found = []
    for name in COMMANDS:
        keys = keys_of(import_module(module_of(name)).COMMAND.options)
        found += [(name, key) for key in keys.values() if "_" in key.name and not key.is_argument]
    return found


@pytest.mark.parametrize(("name", "key"), flags(), ids=lambda each: getattr(each, "name", each))
def test_every_flag_has_both_spellings(name: str, key: Key) -> None:
    """A wrong value is reported for both spellings, so both are understood."""
    for flag in (key.name, key.name.replace("_", "-")):
        with pytest.raises(ConfigError) as caught:
            options_of(name, [*NEEDED.get(name, []), f"--{flag}=[1, {{a: b}}]", "--unknown"])
        assert '"unknown" is unknown' in str(caught.value) or str(caught.value).startswith(key.name)


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("export", ["x"], "--output is missing (the ONNX file to write); see fairmot export --help."),
        ("export", ["-o", "y"], "CHECKPOINT is missing"),
        ("verify", ["x", "--engine", "p"], "--frame is missing"),
        ("evaluate", ["a"], "RESULTS is missing"),
        ("evaluate", ["a", "b", "c"], 'The argument "c" is one too many; see fairmot evaluate --help.'),
        ("export", ["x", "-o", "y", "--siez", "1"], 'The option "siez" is unknown. Did you mean "size"?'),
        ("associate", ["x", "-o", "y", "--frame-rat", "1"], 'Did you mean "frame_rate"?'),
        ("inspect", ["x", "--runs", "0"], "runs must be at least 1, not 0."),
        ("verify", ["x", "--engine", "p", "--frame", "f", "--threshold", "1"], "threshold must be at least 0"),
        ("track", ["x", "--video=false"], "video takes no value: write --video or --no-video."),
        ("plugins", ["-x"], 'The option "x" is unknown.'),
    ],
)
def test_wrong_words(name: str, words: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        options_of(name, words)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
