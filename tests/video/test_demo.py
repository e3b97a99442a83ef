from __future__ import annotations

import gc
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from fairmot.core import ConfigError, SourceError
from fairmot.video import open_source
from fairmot.video.synthetic.demo import DemoSource
from fairmot.video.synthetic.scene import Scene


def test_the_bare_demo_has_its_documented_defaults():
    with DemoSource() as source:
        assert (source.name, source.size, source.frame_rate) == ("demo", (1280, 720), 25.0)
        assert source.frame_count == 600
        assert not source.is_live


def test_options_reach_the_scene():
    with open_source("demo?people=3&frames=7&size=320x180&seed=5&rate=12.5", start=2, count=2, stride=3) as source:
        assert (source.size, source.frame_rate, source.frame_count) == ((320, 180), 12.5, 2)
        frames = list(source)
    scene = Scene(3, (320, 180), frames=7, frame_rate=12.5, seed=5)
    assert [(frame.index, frame.timestamp) for frame in frames] == [(2, 1 / 12.5), (5, 4 / 12.5)]
    for frame in frames:
        assert np.array_equal(frame.bgr, scene.render(frame.index))


def test_ground_truth_holds_the_frames_handed_out():
    with DemoSource("demo?people=5&frames=6&size=320x180", stride=2) as source:
        indices = [frame.index for frame in source]
    assert indices == [1, 3, 5]
    scene = Scene(5, (320, 180), frames=6)
    expected = "".join(line for index in indices for line in scene.ground_truth_rows(index))
    assert source.ground_truth.read_text() == expected  # still there after close, so that a run can be scored
    assert source.ground_truth.parts[-2:] == ("gt", "gt.txt")


@pytest.mark.filterwarnings("error")
def test_the_temporary_ground_truth_goes_with_the_source():
    source = DemoSource("demo?frames=2&size=160x90")
    source.close()
    path = source.ground_truth
    assert path.is_file()
    del source
    gc.collect()
    assert not path.parent.parent.exists()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("demo?poeple=3", 'has no option "poeple".*Did you mean "people"'),
        ("demo?people", "needs a value, as in people=16"),
        ("demo?people=", "needs a value"),
        ("demo?people=many", 'people must be a whole number from 0 to 2000, not "many"'),
        ("demo?people=-2", "people must be"),
        ("demo?frames=0", "frames must be"),
        ("demo?seed=1.5", "seed must be"),
        ("demo?size=1280", "size must be WIDTHxHEIGHT"),
        ("demo?size=12x12", "size must be WIDTHxHEIGHT"),
        ("demo?size=99999x720", "size must be WIDTHxHEIGHT"),
        ("demo?rate=fast", "rate must be"),
        ("demo?rate=nan", "rate must be"),
        ("demo?rate=0", "rate must be"),
        ("demo?rate=1e309", "rate must be"),
        ("demo?size=100000x100000", "size must be WIDTHxHEIGHT"),
        ("demo?size=8192x8192", "size must have at most 16777216 pixels"),
        ("demo?people=1e9", "people must be a whole number"),
        ("demo?people=1000000000", "people must be a whole number"),
        ("demo?frames=1000000000000", "frames must be a whole number"),
        pytest.param(f"demo?frames={'9' * 5000}", r"frames must be .* not \"9{80}\.\.\.\"", id="frames-9999"),
        pytest.param(f"demo?size={'9' * 5000}x99", "size must be WIDTHxHEIGHT", id="size-9999"),
        pytest.param(f"demo?{'x' * 5000}=1", r"no option \"x{80}\.\.\.\"", id="xxxx"),
        ("demonstration", "is not a demo"),
    ],
)
def test_a_wrong_option_is_one_sentence(spec, message):
    with pytest.raises(SourceError, match=message) as caught:
        DemoSource(spec)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_millions_of_frames_are_counted_at_once():
    began = time.perf_counter()
    with open_source("demo?frames=10000000&size=64x64&people=0", start=3, stride=2) as source:
        assert source.frame_count == 4_999_999
    assert time.perf_counter() - began < 5


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_is_one_sentence():
    with DemoSource("demo?frames=5&size=64x64&people=2") as source:
        source._truth = open("/dev/full", "w")  # noqa: SIM115 - the source closes it
        with pytest.raises(SourceError, match=r"ground truth of the demo cannot be written .*no space left.*TMPDIR"):
            list(source)


def test_no_temporary_folder_is_one_sentence(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with pytest.raises(SourceError, match=r"ground truth of the demo cannot be written .*no such file"):
        DemoSource("demo?frames=5&size=64x64&people=2")


@pytest.mark.parametrize("selection", [{"start": 0}, {"start": 601}, {"count": 0}, {"stride": 0}])
def test_a_wrong_selection_is_refused(selection):
    with pytest.raises(ConfigError):
        DemoSource("demo?size=160x90", **selection)
