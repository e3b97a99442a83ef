"""TrackEval is the judge: every number of ours must be its own on the same files."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden import FOLDER, WALKS, write_answers
from hypothesis import given, settings
from hypothesis import strategies as st

from fairmot.tracker.evaluation import BENCHMARKS, Benchmark, Scores, evaluate, evaluate_sequence, find_sequences

MOT17 = FOLDER.parents[2] / "shared" / "data" / "mot17" / "mot17-sdp-text.zip"
MEASURES = {
    "hota": "HOTA",
    "deta": "DetA",
    "assa": "AssA",
    "loca": "LocA",
    "mota": "MOTA",
    "motp": "MOTP",
    "idf1": "IDF1",
    "recall": "CLR_Re",
    "precision": "CLR_Pr",
}
COUNTS = {
    "matches": "CLR_TP",
    "misses": "CLR_FN",
    "false_positives": "CLR_FP",
    "switches": "IDSW",
    "fragmentations": "Frag",
    "mostly_tracked": "MT",
    "mostly_lost": "ML",
    "id_true_positives": "IDTP",
}


def judge(
    truth: Path, results: Path, lengths: Mapping[str, int | None], benchmark: Benchmark
) -> dict[str, dict[str, Any]]:
    """Return TrackEval's scores of each sequence in `truth/NAME/gt/gt.txt`, `results/NAME.txt`, and of all."""
    trackeval = pytest.importorskip("trackeval", reason="TrackEval, which judges the evaluation, is not installed")
    dataset = trackeval.datasets.MotChallenge2DBox(
        {
            "GT_FOLDER": str(truth),
            "TRACKERS_FOLDER": str(results.parent),
            "TRACKERS_TO_EVAL": [results.name],
            "TRACKER_SUB_FOLDER": "",
            "BENCHMARK": benchmark.upper(),
            "SEQ_INFO": dict(lengths),
            "SKIP_SPLIT_FOL": True,
            "PRINT_CONFIG": False,
        }
    )
    quiet = {"PRINT_CONFIG": False}
    metrics = [trackeval.metrics.HOTA(), trackeval.metrics.CLEAR({**quiet}), trackeval.metrics.Identity({**quiet})]
    found: dict[str, list[dict[str, Any]]] = {}
    for name in lengths:
        data = dataset.get_preprocessed_seq_data(dataset.get_raw_seq_data(results.name, name), "pedestrian")
        found[name] = [metric.eval_sequence(data) for metric in metrics]
    found["combined"] = [
        metric.combine_sequences({name: values[index] for name, values in found.items()})
        for index, metric in enumerate(metrics)
    ]
    return {name: {key: value for part in parts for key, value in part.items()} for name, parts in found.items()}


def assert_equal(ours: Scores, judged: Mapping[str, Any]) -> None:
    """Compare all numbers; ours is NaN only where there is nothing to divide by, for which TrackEval writes 0 or 1."""
    for name, theirs in COUNTS.items():
        assert getattr(ours, name) == judged[theirs], name
    boxes = ours.gt_boxes + ours.result_boxes
    divisors = {"loca": ours.hota_counts.matches[0], "motp": ours.matches, "precision": ours.result_boxes}
    divisors |= dict.fromkeys(("mota", "recall"), ours.gt_boxes)
    for name, theirs in MEASURES.items():
        value = getattr(ours, name)
        if divisors.get(name, boxes):
            assert value == pytest.approx(np.mean(judged[theirs]), rel=1e-9, abs=1e-12), name
        else:
            assert np.isnan(value), name


def compare(truth: str, results: str, length: int, benchmark: Benchmark) -> Scores:
    """Score two texts by both programs and return our scores."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "gt" / "A" / "gt").mkdir(parents=True)
        (folder / "results").mkdir()
        (folder / "gt" / "A" / "gt" / "gt.txt").write_text(truth)
        (folder / "results" / "A.txt").write_text(results)
        judged = judge(folder / "gt", folder / "results", {"A": length}, benchmark)
        scores = evaluate(
            folder / "gt" / "A" / "gt" / "gt.txt", folder / "results" / "A.txt", range(1, length + 1), benchmark
        )
    assert_equal(scores, judged["A"])
    return scores


FRAMES = 6


def boxes(people: int, tail: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Return texts of boxes on a coarse grid, so that overlaps tie and IoU is often exactly 0.5."""
    row = st.tuples(
        st.integers(1, FRAMES),
        st.integers(1, people),
        st.integers(0, 6),
        st.integers(0, 1),
        st.sampled_from((0, 10, 20)),
        st.sampled_from((20, 40)),
        tail,
    )
    rows = st.lists(row, max_size=30, unique_by=lambda each: each[:2])
    return rows.map(lambda all_: "".join(f"{f},{i},{5 * x},{5 * y},{w},{h},{end}\n" for f, i, x, y, w, h, end in all_))


RESULTS = boxes(6, st.just("1,-1,-1,-1"))
MOT17_TRUTH = boxes(4, st.sampled_from(("1,1,1", "1,1,0.2", "1,1,1", "0,1,1", "0,8,1", "1,7,1", "0,3,1", "0,12,0.5")))
MOT15_TRUTH = boxes(4, st.sampled_from(("1,-1,-1,-1", "-1,-1,-1,-1", "0,-1,-1,-1", "1,4.5,2.5,0")))


@settings(max_examples=150, deadline=None)
@given(truth=MOT17_TRUTH, results=RESULTS)
def test_any_boxes_of_mot17(truth: str, results: str) -> None:
    compare(truth, results, FRAMES, "mot17")


@settings(max_examples=100, deadline=None)
@given(truth=MOT15_TRUTH, results=RESULTS)
def test_any_boxes_of_mot15(truth: str, results: str) -> None:
    compare(truth, results, FRAMES, "mot15")


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_walks(seed: int) -> None:
    """People walk and cross; the results shake, miss, invent and swap identities; some frames hold nothing at all."""
    random = np.random.default_rng(seed)
    length, people = 40, 8
    position = np.cumsum(random.normal(0, 4, (length, people, 2)), axis=0) + random.uniform(0, 120, (people, 2))
    identity = np.arange(people)
    truth, results = [], []
    for frame in range(1, length + 1):
        if random.random() < 0.2:
            a, b = random.choice(people, 2, replace=False)
            identity[[a, b]] = identity[[b, a]]
        empty = random.random(2) < 0.05
        for person, (x, y) in enumerate(position[frame - 1]):
            if random.random() < 0.9 and not empty[0]:
                kind = 7 if person == 0 else 1
                truth.append(f"{frame},{person + 1},{x:.2f},{y:.2f},40,90,{int(kind == 1)},{kind},1\n")
            if random.random() < 0.85 and not empty[1]:
                dx, dy, dw = random.normal(0, 5, 3)
                results.append(
                    f"{frame},{identity[person] + 1},{x + dx:.2f},{y + dy:.2f},{40 + dw:.2f},90,1,-1,-1,-1\n"
                )
    scores = compare("".join(truth), "".join(results), length, "mot17")
    assert scores.switches > 0
    assert 0.2 < scores.hota < 0.9


@pytest.fixture(scope="module")
def mot17(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with ground truth in `train` and three trackers' answers to the SDP detections."""
    if not MOT17.is_file():
        pytest.skip("MOT17's ground truth and peers' results (../shared) are not here")
    folder = tmp_path_factory.mktemp("mot17")
    with zipfile.ZipFile(MOT17) as archive:
        archive.extractall(folder)
    return folder


@pytest.mark.parametrize(
    ("tracker", "percents", "switches"),
    [
        ("SORT", (45.007, 57.856, 49.169), 1829),
        ("DeepSORT", (52.257, 59.509, 62.668), 563),
        ("ByteTrack", (54.156, 63.715, 64.776), 794),
    ],
)
def test_published_figures_of_mot17(mot17: Path, tracker: str, percents: tuple[float, ...], switches: int) -> None:
    """The scores of TrackEval 1.3 for all seven sequences together, to the last digit."""
    sequences = find_sequences(mot17 / "train", mot17 / "peer_results" / tracker)
    assert len(sequences) == 7
    combined = Scores.combined(map(evaluate_sequence, sequences))
    assert tuple(round(100 * value, 3) for value in (combined.hota, combined.mota, combined.idf1)) == percents
    assert combined.switches == switches
    if tracker == "ByteTrack":
        assert (combined.false_positives, combined.misses) == (1732, 38221)


def assert_equal_on_second_halves(train: Path, results: Path, names: Sequence[str], folder: Path) -> None:
    """Compare the scores of second halves; TrackEval knows no halves: it gets files of their own, numbered from 1."""
    lengths, scores = {}, {}
    for sequence in find_sequences(train, results, names):
        frames = sequence.frames("val-half")
        assert frames is not None
        lengths[sequence.name] = len(frames)
        scores[sequence.name] = evaluate_sequence(sequence, "val-half")
        truth = folder / "train" / sequence.name / "gt" / "gt.txt"
        half_results = folder / "results" / f"{sequence.name}.txt"
        for source, target in ((sequence.ground_truth, truth), (sequence.results, half_results)):
            target.parent.mkdir(parents=True, exist_ok=True)
            rows = (line.partition(",") for line in source.read_text().splitlines())
            half = ((int(frame) - frames.start + 1, rest) for frame, _, rest in rows if int(frame) in frames)
            target.write_text("".join(f"{frame},{rest}\n" for frame, rest in half))
    judged = judge(folder / "train", folder / "results", lengths, "mot17")
    for name, each in scores.items():
        assert_equal(each, judged[name])
    assert_equal(Scores.combined(scores.values()), judged["combined"])


def test_second_halves_of_mot17(mot17: Path, tmp_path: Path) -> None:
    results = mot17 / "peer_results" / "ByteTrack"
    assert_equal_on_second_halves(mot17 / "train", results, ["*-05-*", "*-09-*"], tmp_path)


def test_second_halves_of_the_golden_set(tmp_path: Path) -> None:
    results = write_answers("byte_motion", tmp_path / "byte_motion")
    assert_equal_on_second_halves(FOLDER / "truth", results, WALKS, tmp_path)


@pytest.mark.parametrize(
    ("variant", "percents", "counts"),
    [
        ("fairmot", (82.913, 91.121, 89.149), (8, 3, 187, 109)),
        ("byte_reid", (83.442, 91.749, 89.510), (8, 3, 173, 100)),
        ("byte_motion", (80.682, 92.332, 84.998), (11, 3, 157, 100)),
        ("byte_reid_c06", (81.417, 88.610, 88.004), (8, 2, 244, 98)),
        ("byte_motion_c06", (80.063, 88.789, 85.193), (7, 2, 241, 97)),
    ],
)
def test_figures_of_the_golden_set(
    variant: str, percents: tuple[float, ...], counts: tuple[int, ...], tmp_path: Path
) -> None:
    """The scores of TrackEval 1.3 for the reference trackers' answers, all sequences together."""
    results = write_answers(variant, tmp_path / variant)
    combined = Scores.combined(map(evaluate_sequence, find_sequences(FOLDER / "truth", results, WALKS)))
    found = tuple(round(100 * value, 3) for value in (combined.hota, combined.mota, combined.idf1))
    assert found == percents
    assert (combined.switches, combined.false_positives, combined.misses, combined.fragmentations) == counts


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_trackeval_on_the_golden_set(benchmark: Benchmark, tmp_path: Path) -> None:
    results = write_answers("fairmot", tmp_path / "fairmot")
    sequences = find_sequences(FOLDER / "truth", results, WALKS)
    judged = judge(FOLDER / "truth", results, {each.name: each.length for each in sequences}, benchmark)
    scores = [evaluate_sequence(each, benchmark=benchmark) for each in sequences]
    for sequence, each in zip(sequences, scores, strict=True):
        assert_equal(each, judged[sequence.name])
    assert_equal(Scores.combined(scores), judged["combined"])


def text(rows: list[tuple[int, int, float]], tail: str) -> str:
    """Boxes 40 x 100 from (frame, identity, left)."""
    return "".join(f"{frame},{id_},{left},0,40,100,{tail}\n" for frame, id_, left in rows)


@pytest.mark.parametrize(
    ("truth", "results", "expected"),
    [
        pytest.param(
            # After a miss the old identity is near enough, but another one lies better.
            [(1, 1, 0), (2, 1, 0), (3, 1, 0)],
            [(1, 1, 0), (2, 9, 500), (3, 1, 8), (3, 2, 0)],
            {"switches": 1, "fragmentations": 1},
            id="identity after a gap",
        ),
        pytest.param(
            # Two pairs of IoU 1 outweigh the three of IoU 0.51 that would leave no box unmatched.
            [(1, 1, 0), (1, 2, 13), (1, 3, 26)],
            [(1, 1, 13), (1, 2, 26), (1, 3, 39)],
            {"matches": 2, "misses": 1},
            id="two good pairs or three fair ones",
        ),
        pytest.param(
            [(frame, 1, 0) for frame in range(1, 6)],
            [(frame, 1, 0) for frame in range(1, 5)],
            {"mostly_tracked": 0},
            id="exactly 80 %",
        ),
        pytest.param(
            [(1, 1, 0), (2, 2, 300), (3, 1, 0)],
            [(1, 1, 0), (2, 2, 300), (3, 1, 0)],
            {"fragmentations": 1, "misses": 0},
            id="away from the truth",
        ),
        pytest.param(
            [(1, 1, 0), (2, 1, 0), (3, 1, 0)],
            [(1, 1, 0), (3, 1, 0)],
            {"fragmentations": 0, "misses": 1},
            id="nothing found in between",
        ),
    ],
)
def test_corners_in_which_motmetrics_differs(
    truth: list[tuple[int, int, float]], results: list[tuple[int, int, float]], expected: dict[str, int]
) -> None:
    scores = compare(text(truth, "1,1,1"), text(results, "1,-1,-1,-1"), 6, "mot17")
    assert {name: getattr(scores, name) for name in expected} == expected
