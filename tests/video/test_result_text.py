"""The text of results equals that of one format operation for each number, whatever the numbers are."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fairmot.core import Frame, Tracks
from fairmot.core.decimals import fixed, fixed_rows, shortest, shortest_rows
from fairmot.core.motchallenge import Boxes, result_text
from fairmot.core.tracked_classes import class_name
from fairmot.video import CSVSink, JSONLSink, MOTSink

NAMES = ("person", 'bus, "long"', "Straße\n", "車\x1b")
PIXELS = np.zeros((2, 2, 3), np.uint8)

any_float = st.floats(width=32) | st.floats(-3000, 3000, width=32) | st.floats(0, 1, width=32)
any_float |= st.integers(-(10**6), 10**6).map(lambda number: float(np.float32(number / 200)))  # ties and near them
scores = st.floats(0.0625, 1, width=32) | st.floats(width=32)


def plain_mot(frame: Frame, tracks: Tracks, names: Sequence[str]) -> str:
    lines = []
    for track in tracks:
        left, top, width, height = track.tlwh
        number = track.class_id + 1 if len(names) > 1 else -1
        box = f"{left:.2f},{top:.2f},{width:.2f},{height:.2f}"
        lines.append(f"{frame.index},{track.id},{box},{track.score:.6f},{number},-1,-1\n")
    return "".join(lines)


def plain_json(frame: Frame, tracks: Tracks, names: Sequence[str]) -> str:
    rows: list[dict[str, Any]] = [
        {
            "id": track.id,
            "box": [round(value, 2) for value in track.tlwh],
            "score": round(track.score, 6),
            "class": track.class_id,
        }
        for track in tracks
    ]
    if len(names) > 1:
        for row in rows:
            row["class_name"] = class_name(names, row["class"])
    if tracks.landmarks.shape[1]:
        for row, points in zip(rows, tracks.landmarks.tolist(), strict=True):
            row["landmarks"] = [[round(x, 2) if math.isfinite(x) else None for x in point] for point in points]
    return json.dumps({"frame": frame.index, "timestamp": round(frame.timestamp, 6), "tracks": rows}) + "\n"


def plain_csv(frame: Frame, tracks: Tracks, names: Sequence[str]) -> str:
    text = io.StringIO()
    for track in tracks:
        csv.writer(text, lineterminator="\n").writerow(
            [
                frame.index,
                round(frame.timestamp, 6),
                track.id,
                track.class_id,
                class_name(names, track.class_id),
                *(f"{value:.2f}" for value in track.tlwh),
                f"{track.score:.6f}",
            ]
        )
    return text.getvalue()


@st.composite
def any_tracks(draw: st.DrawFn) -> Tracks:
    count, points = draw(st.integers(0, 5)), draw(st.integers(0, 2))
    kind = draw(st.sampled_from([np.float16, np.float32, np.float64]))

    def floats(values: st.SearchStrategy[float], *shape: int) -> np.ndarray:
        size = math.prod(shape)
        with np.errstate(over="ignore"):
            return np.array(draw(st.lists(values, min_size=size, max_size=size)), kind).reshape(shape)

    def integers(least: int, most: int, kind: type) -> np.ndarray:
        return np.array(draw(st.lists(st.integers(least, most), min_size=count, max_size=count)), kind)

    return Tracks(
        integers(1, 2**40, np.int64),
        floats(any_float, count, 4),
        floats(scores, count),
        integers(0, draw(st.sampled_from([len(NAMES) - 1, 127])), draw(st.sampled_from([np.int64, np.int8]))),
        landmarks=floats(any_float, count, points, 2),
    )


@pytest.fixture(scope="module")
def sinks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("text")
    kinds = {"mot": MOTSink, "json": JSONLSink, "csv": CSVSink}
    made = {f"{kind} {len(names)}": make(folder / "x", names) for kind, make in kinds.items() for names in NAME_LISTS}
    for sink in made.values():
        sink.close()
    return made


NAME_LISTS = (NAMES, NAMES[:1])
PLAIN: dict[str, Callable[[Frame, Tracks, Sequence[str]], str]] = {
    "mot": plain_mot,
    "json": plain_json,
    "csv": plain_csv,
}
NOT_FINITE = np.float32([[np.nan, np.inf, -np.inf, -0.0]])
EXTREME = np.float32([[3.4028235e38, -3.4028235e38, 1e-45, -1e-45], [9e12, 1e13, -1e15, 1e16]])


@settings(max_examples=150, deadline=None)
@given(any_tracks(), st.floats() | st.floats(0, 1e5) | st.integers(0, 100), st.integers(1, 10**9))
@example(Tracks(np.array([1]), NOT_FINITE, np.float32([np.nan]), np.array([1])), math.nan, 1)
@example(Tracks(np.array([1, 2]), EXTREME, np.float32([1e-6, 9e-5]), np.array([0, 2])), 1e22, 2)
def test_text_of_a_frame(sinks: dict[str, Any], tracks: Tracks, timestamp: float, index: int) -> None:
    frame = Frame(index, timestamp, PIXELS)
    for kind, plain in PLAIN.items():
        for names in NAME_LISTS:
            assert sinks[f"{kind} {len(names)}"]._text(frame, tracks) == plain(frame, tracks, names), kind


@pytest.mark.parametrize("digits", [2, 6])
def test_decimals_of_many_floats(digits: int) -> None:
    random = np.random.default_rng(digits)
    bits = random.integers(0, 2**32, 20_000, dtype=np.uint32).view(np.float32)
    usual = random.uniform(-50, 2000, 20_000).astype(np.float32)
    small = random.uniform(0, 2e-4, 2_000)
    large = 10.0 ** random.uniform(0, 16, 2_000)
    ties = np.arange(-4_000, 4_000) / 2.0 ** random.integers(1, 9, 8_000)
    for values in (bits, usual, small, large, ties, usual[:1], small[:1]):
        texts = fixed(values, digits)
        assert texts == [f"{value:.{digits}f}" for value in values.tolist()]
        expected = [json.dumps(round(value, digits)) for value in values.tolist()]
        assert shortest(values, texts, digits) == expected
        for start in range(0, min(len(values), 500), 10):  # few at once: those of usual size take the fast way
            part = slice(start, start + 10)
            assert shortest(values[part], texts[part], digits) == expected[part]
            if digits == 2 and len(values) > 1:
                rows = values[part].reshape(-1, 2)
                assert shortest_rows(rows, fixed_rows(rows)) == [
                    ", ".join(expected[part][at : at + 2]) for at in range(0, 10, 2)
                ]


@pytest.mark.parametrize("classes", [True, False])
def test_text_of_whole_results(classes: bool) -> None:
    random = np.random.default_rng(0)
    count = 2_345  # several parts
    frames, ids, class_ids = random.integers(1, 10**6, (3, count))
    tlwh, given_scores = random.normal(0, 1000, (count, 4)), random.uniform(0, 1, count)
    tlwh[7] = np.nan, np.inf, -0.0, 1e300
    boxes = Boxes(frames, ids, tlwh, given_scores, class_ids if classes else None)
    expected = "".join(
        f"{frame},{id_},{a:.2f},{b:.2f},{c:.2f},{d:.2f},{score:.6f},{class_id if classes else -1},-1,-1\n"
        for frame, id_, (a, b, c, d), score, class_id in zip(
            *(column.tolist() for column in (frames, ids, tlwh, given_scores, class_ids)), strict=True
        )
    )
    assert result_text(boxes) == expected
    assert result_text(boxes[:0]) == ""
