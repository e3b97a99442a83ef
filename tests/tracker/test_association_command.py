"""The command `fairmot associate`."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from support.commands import associate as main
from support.commands import options_of

from fairmot.core.errors import ConfigError
from fairmot.core.motchallenge import read_results
from fairmot.core.records import Detections
from fairmot.tracker import TrackerSettings
from fairmot.tracker.detection_file import DetectionWriter
from fairmot.tracker.presets import PRESETS

ROOT = Path(__file__).resolve().parents[2]
parse = partial(options_of, "associate")


def walk(folder: Path, frames: int = 12, hidden: range = range(0)) -> Path:
    """A sequence in which one person walks to the right, and is `hidden` in some frames."""
    (folder / "det").mkdir(parents=True)
    lines = [f"{frame},-1,{100 + 5 * frame},50,40,100,0.9" for frame in range(1, frames + 1) if frame not in hidden]
    (folder / "det" / "det.txt").write_text("\n".join(lines))
    (folder / "seqinfo.ini").write_text(f"[Sequence]\nframeRate=25\nseqLength={frames}\n")
    return folder


def run(*arguments: object) -> list[str]:
    lines: list[str] = []
    assert main([str(argument) for argument in arguments], lines.append) == 0
    return lines


def test_one_sequence_into_one_file(tmp_path: Path) -> None:
    output = tmp_path / "new" / "tracks.txt"
    (line,) = run(walk(tmp_path / "a"), "-o", output)
    assert re.fullmatch(rf"a: 12 frames, 1 tracks, [\d.]+ ms per frame -> {re.escape(str(output))}", line)
    found = read_results(output)
    assert (found.frames.tolist(), set(found.ids.tolist())) == (list(range(1, 13)), {1})
    np.testing.assert_allclose(found.tlwh[-1], [160, 50, 40, 100], atol=1)


def test_a_folder_of_sequences_into_a_folder(tmp_path: Path) -> None:
    walk(tmp_path / "in" / "a")
    walk(tmp_path / "in" / "b")
    with DetectionWriter(tmp_path / "in" / "c.npz", 10, (640, 480)) as writer:
        for frame in (2, 4, 6):
            box = np.float32([[100, 50, 140, 150]])
            writer.add(frame, Detections(box, np.float32([0.9]), np.zeros(1, np.int64), np.ones((1, 3), np.float32)))
    assert len(run(tmp_path / "in", "--output", tmp_path / "out")) == 3
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.txt", "b.txt", "c.txt"]
    assert read_results(tmp_path / "out" / "c.txt").frames.tolist() == [2, 4, 6]


@pytest.mark.parametrize(
    ("arguments", "frames"),
    [([], {1, 2, 3, 4, 9, 10, 11, 12}), (["--interpolate"], set(range(1, 13))), (["--interpolate", "3"], None)],
)
def test_interpolation(tmp_path: Path, arguments: list[str], frames: set[int] | None) -> None:
    run(walk(tmp_path / "a", hidden=range(5, 9)), "-o", tmp_path / "a.txt", *arguments)
    assert set(read_results(tmp_path / "a.txt").frames.tolist()) == (frames or {1, 2, 3, 4, 9, 10, 11, 12})


def test_the_frame_rate_decides_how_long_a_track_waits(tmp_path: Path) -> None:
    folder = walk(tmp_path / "a", frames=30, hidden=range(10, 25))
    for rate, people in (("25", 1), ("10", 2)):
        run(folder, "-o", tmp_path / "a.txt", f"--frame_rate={rate}")
        assert len(np.unique(read_results(tmp_path / "a.txt").ids)) == people


def test_a_given_frame_rate_counts_instead_of_timestamps(tmp_path: Path) -> None:
    with DetectionWriter(tmp_path / "a.npz", 25, (640, 480)) as writer:
        for frame in range(1, 31):
            box = np.float32([[100, 50, 140, 150]])
            found = Detections(box, np.float32([0.9]), np.zeros(1, np.int64), np.zeros((1, 0), np.float32))
            writer.add(frame, found if frame not in range(10, 16) else Detections.empty(), frame / 5)
    for arguments, people in (([], 2), (["--frame_rate=25"], 1), (["--frame_rate=5"], 2)):
        run(tmp_path / "a.npz", "-o", tmp_path / "a.txt", *arguments)
        assert len(np.unique(read_results(tmp_path / "a.txt").ids)) == people


def test_an_unknown_frame_rate_is_said(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("1,-1,100,50,40,100,0.9")
    assert run(text, "-o", tmp_path / "a.txt")[0] == (
        "text: nothing says the frame rate, so 30 is taken; give --frame-rate."
    )


def test_no_detections_at_all(tmp_path: Path) -> None:
    (tmp_path / "text.txt").touch()
    run(tmp_path / "text.txt", "-o", tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == ""


def test_settings_come_from_preset_then_file_then_flags(tmp_path: Path) -> None:
    config = tmp_path / "a.yaml"
    config.write_text(
        "frames: 5\ntracker: {motion_limit: 0.7, max_aspect_ratio: .inf, overlap: iou, new_track_threshold: null}\n"
    )
    settings = parse(["x", "-o", "y"]).settings
    assert settings == TrackerSettings()
    settings = parse(["x", "-o", "y", "--tracker=fairmot"]).settings
    assert settings == PRESETS["fairmot"]
    settings = parse(["x", "-o", "y", "--tracker", "byte", "--config", str(config), "--motion_limit", "0.6"]).settings
    assert (settings.motion_limit, settings.max_aspect_ratio, settings.overlap) == (0.6, float("inf"), "iou")
    assert (settings.box_model, settings.new_track_threshold) == ("xyah", None)
    settings = parse(["x", "-o", "y", "--config", str(ROOT / "configs" / "default.yaml")]).settings
    assert settings == TrackerSettings()
    settings = parse(["x", "-o", "y", "--config", str(ROOT / "configs" / "fairmot.yaml")]).settings
    assert settings == PRESETS["byte"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tracker", "bite"], 'There is no tracker "bite"; choose default, fairmot, byte, byte-motion. Did you mean'),
        (["--velocity_weigt", "1"], 'The option "velocity_weigt" is unknown. Did you mean "velocity_weight"?'),
        (["--velocity_weight", "x"], 'velocity_weight must be a number (infinity is .inf), not "x".'),
        (["--overlap", "giou"], 'overlap must be iou or height_iou, not "giou".'),
        (["--motion_limit", "3"], "motion_limit must be between 0 and 1, not 3"),
        (["--frame_rate", "0"], "frame_rate must be above 0, not 0"),
        (["--interpolate", "-5"], "interpolate must be a number of frames from 0, not -5."),
        (["--motion_limit", "[" * 5000], "motion_limit cannot be read: it nests more than 32 levels deep."),
        (["--motion_limit=" + "[" * 5000], "motion_limit cannot be read: it nests more than 32 levels deep."),
        (["--config", "nowhere.yaml"], "The configuration nowhere.yaml cannot be read"),
    ],
)
def test_faults_of_the_command_line(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse(["x", "-o", "y", *arguments])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not YAML"),
        ("frames: 3", "holds no `tracker:` keys"),
        ("tracker: {overlap_limt: 1}", 'the key "tracker.overlap_limt" is unknown. Did you mean "overlap_limit"?'),
        ("tracker: {overlap_limit: much}", 'overlap_limit must be a number (infinity is .inf), not "much".'),
        (
            "tracker: {overlap_limit: " + "x" * 5000 + "}",
            'must be a number (infinity is .inf), not "' + "x" * 80 + '...".',
        ),
        ("tracker: {overlap_limit: [[1], {a: 2}]}", "overlap_limit must be a number"),
        ("tracker: {overlap_limit: .nan}", "overlap_limit must be between 0 and 1, not nan."),
        (
            "tracker: {overlap_limit: 1, overlap_limit: 1}",
            'the key "overlap_limit" stands twice; leave one out (line 1)',
        ),
        ("tracker: " + "[" * 5000, "it nests more than 32 levels deep"),
        ("tracker: {overlap_limit: " + "9" * 5000 + "}", "a number has 5000 digits"),
        ("tracker: {2026-13-45: 1}", "is not YAML"),
        ("tracker: {1: 2}", 'the key "tracker.1" is unknown.'),
    ],
)
def test_faults_of_the_configuration(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        parse(["x", "-o", "y", "--config", str(tmp_path / "a.yaml")])
    assert "\n" not in str(caught.value)


def test_outputs_that_would_collide(tmp_path: Path) -> None:
    a, b = walk(tmp_path / "1" / "a"), walk(tmp_path / "2" / "a")
    with pytest.raises(ConfigError, match=r"There are 2 sequences; let --output be a folder"):
        run(a, b, "-o", tmp_path / "a.txt")
    with pytest.raises(ConfigError, match='Two inputs are named "a"'):
        run(a, b, "-o", tmp_path / "out")


def test_the_process_answers_with_a_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fairmot", "associate"]
    done = subprocess.run([*command, str(tmp_path / "no"), "-o", "x"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert (
        done.stderr
        == f"error: There are no detections at {tmp_path / 'no'}; give a det.txt, an .npz file or a folder of them.\n"
    )
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
