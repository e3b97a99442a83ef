"""The golden set is what its scripts make, and the command scores it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.commands import evaluate

from golden import FOLDER, RENDERED, WALKS, make, write_answers
from golden.walks import Recording


def stored(name: str) -> dict[str, np.ndarray]:
    with np.load(make.detections_path(name)) as archive:
        return dict(archive)


@pytest.mark.parametrize("name", WALKS)
def test_walks_are_made_again_to_the_byte(name: str) -> None:
    """Compression differs between versions of zlib, so the arrays are compared and not the file."""
    recording = Recording(make.WALKS[name])
    assert "".join(recording.truth) == make.truth_path(name).read_text()
    made, known = recording.archive(), stored(name)
    assert list(made) == list(known)
    for key, values in made.items():
        assert (values.dtype, values.shape) == (known[key].dtype, known[key].shape)
        assert values.tobytes() == known[key].tobytes(), key


def test_the_truth_of_the_rendered_scene_is_made_again_to_the_byte() -> None:
    known = make.truth_path(RENDERED).read_text().splitlines(keepends=True)
    frames = range(1, make.SCENE["frames"] + 1, 10)
    assert make.rendered_truth(frames) == "".join(row for row in known if int(row.partition(",")[0]) in frames)


def test_detections_in_the_rendered_scene_are_those_of_the_bundled_model() -> None:
    frames = range(41, 43)
    made, known = make.detect(frames), stored(RENDERED)
    rows = np.isin(known["frame"], frames)
    assert rows.sum() > 10
    np.testing.assert_array_equal(made["frame"], known["frame"][rows])
    np.testing.assert_allclose(made["tlbr"], known["tlbr"][rows], atol=0.05)
    np.testing.assert_allclose(made["score"], known["score"][rows], atol=0.002)
    np.testing.assert_allclose(made["embedding"], known["embedding"][rows], atol=0.005)


def test_the_walks_hold_what_the_gates_are_for() -> None:
    """Low scores, scores equal to the thresholds, gaps, occlusion, re-entries, a camera that moves."""
    scores = np.concatenate([stored(name)["score"] for name in WALKS])
    assert ((scores > 0.2) & (scores < 0.4)).sum() > 90
    assert all((scores == np.float32(threshold)).any() for threshold in (0.4, 0.5, 0.6, 0.7))
    for name, walk in make.WALKS.items():
        seen = np.unique(stored(name)["frame"])
        assert not np.isin(walk.gaps, seen).any()
        truth = np.loadtxt(make.truth_path(name), delimiter=",")
        assert (truth[:, 8] < 0.5).sum() > 20
        for person, first, last in walk.absences:
            frames = truth[truth[:, 1] == person, 0]
            assert not ((first <= frames) & (frames <= last)).any()
            assert frames.min() < first
            assert frames.max() > last


def test_the_command_scores_the_golden_set(tmp_path: Path) -> None:
    """Against TrackEval's figures, as `test_figures_of_the_golden_set` has them."""
    results = write_answers("byte_reid", tmp_path / "byte_reid")
    arguments = [str(FOLDER / "truth"), str(results), "--sequences", *WALKS, "--json", str(tmp_path / "s.json")]
    assert evaluate(arguments) == 0
    written = json.loads((tmp_path / "s.json").read_text())
    assert list(written["sequences"]) == list(WALKS)
    combined = written["combined"]
    assert [round(100 * combined[name], 3) for name in ("hota", "mota", "idf1")] == [83.442, 91.749, 89.510]
    counts = [combined[name] for name in ("switches", "false_positives", "misses", "fragmentations")]
    assert counts == [8, 3, 173, 100]
