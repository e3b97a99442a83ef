"""Comparing outputs and detections of two networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import blob_network

from fairmot.cli.main import main
from fairmot.core import ModelError, SourceError
from fairmot.engine import HeadOutputs, ModelInfo
from fairmot.engine.letterbox import Preprocessor
from fairmot.export.compare import compare_detections, compare_outputs, tied_peaks
from fairmot.export.verify_engine import judge, onnx_reference, variants

SIZE = (96, 64)
SQUARES = {(6, 5): (255, 255, 255), (15, 9): (200, 255, 240), (20, 3): (255, 190, 230)}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelInfo:
    return ModelInfo.read(blob_network.save(tmp_path_factory.mktemp("weights") / "blobs.onnx"))


@pytest.fixture(scope="module")
def outputs(model: ModelInfo) -> tuple[HeadOutputs, np.ndarray]:
    images, _ = Preprocessor(model, SIZE)([blob_network.image_of(SIZE, SQUARES)] * 2)
    heads, heat = onnx_reference(model)(images)
    assert heat is not None
    return heads, heat


@pytest.fixture(scope="module")
def no_ties(outputs: tuple[HeadOutputs, np.ndarray]) -> np.ndarray:
    return np.zeros(outputs[0].heatmap.shape, bool)


def test_equal_outputs_differ_by_nothing(outputs: tuple[HeadOutputs, np.ndarray]) -> None:
    heads, heat = outputs
    tied = tied_peaks(heads.heatmap, heads.heatmap, heat, 1e-4)
    for difference in compare_outputs(heads, heads, tied):
        assert (difference.relative, difference.maximum, difference.ties) == (0, 0, 0)
    for each in compare_detections(heads, heads, tied, 4, raw_heads=False):
        assert (each.expected, each.found, each.matched, each.edge, each.score) == (3, 3, 3, 0, 0)
        assert (each.unmatched, each.tied) == ((), ())
        np.testing.assert_allclose(each.cosines, 1, atol=1e-6)


def test_the_heatmap_before_suppression_holds_the_peaks(outputs: tuple[HeadOutputs, np.ndarray]) -> None:
    heads, heat = outputs
    kept = heads.heatmap > 0
    assert 0 < kept.sum() < kept.size
    np.testing.assert_array_equal(heads.heatmap[kept], heat[kept])


def test_errors_are_measured(outputs: tuple[HeadOutputs, np.ndarray], no_ties: np.ndarray) -> None:
    heads, _ = outputs
    box = heads.box.copy()
    box[0, 1] += 0.25
    heatmap = heads.heatmap * np.float32(0.99)
    found = {each.name: each for each in compare_outputs(replace(heads, box=box, heatmap=heatmap), heads, no_ties)}
    assert found["heatmap"].relative == pytest.approx(0.01, rel=1e-3)
    assert found["box"].maximum == pytest.approx(0.25)
    cells = box[0, 1].size
    assert found["box"].relative == pytest.approx(0.25 * cells**0.5 / np.linalg.norm(heads.box), rel=1e-5)
    assert found["offset"].relative == 0
    first, second = compare_detections(replace(heads, box=box, heatmap=heatmap), heads, no_ties, 4, raw_heads=False)
    assert (first.matched, second.matched) == (3, 3)
    assert (first.edge, second.edge) == (1.0, 0.0)
    assert 0.005 < second.score < 0.011


def test_a_turned_embedding_lowers_the_cosine(outputs: tuple[HeadOutputs, np.ndarray], no_ties: np.ndarray) -> None:
    heads, _ = outputs
    assert heads.embedding is not None
    turned = heads.embedding.copy()
    turned[0] = -turned[0]
    first, second = compare_detections(replace(heads, embedding=turned), heads, no_ties, 4, raw_heads=False)
    np.testing.assert_allclose(first.cosines, -1, atol=1e-6)
    np.testing.assert_allclose(second.cosines, 1, atol=1e-6)


def test_missing_and_additional_people_are_told(outputs: tuple[HeadOutputs, np.ndarray], no_ties: np.ndarray) -> None:
    heads, _ = outputs
    heatmap = heads.heatmap.copy()
    cell = np.unravel_index(heatmap[0].argmax(), heatmap[0].shape)
    heatmap[0][cell] = 0
    heatmap[1, 0, 14, 2] = 0.875
    first, second = compare_detections(replace(heads, heatmap=heatmap), heads, no_ties, 4, raw_heads=False)
    assert (first.expected, first.found, first.matched) == (3, 2, 2)
    assert first.unmatched == (pytest.approx(float(heads.heatmap[0][cell])),)
    assert (second.expected, second.found, second.matched, second.unmatched) == (3, 4, 3, (0.875,))
    nothing = replace(heads, heatmap=np.zeros_like(heatmap))
    for pair in ((nothing, heads), (heads, nothing)):
        for each in compare_detections(*pair, no_ties, 4, False):
            assert (each.matched, len(each.unmatched)) == (0, 3)


@pytest.fixture(scope="module")
def tie(outputs: tuple[HeadOutputs, np.ndarray]) -> tuple[HeadOutputs, np.ndarray]:
    """The outputs with the best peak of image 1 a cell to the right, and a heatmap in which both cells tie."""
    heads, heat = outputs
    near, heatmap = heat.copy(), heads.heatmap.copy()
    row, column = np.unravel_index(heads.heatmap[0, 0].argmax(), heat.shape[2:])
    near[0, 0, row, column + 1] = heat[0, 0, row, column] - 1e-5  # rounding may make this the peak
    heatmap[0, 0, row, column], heatmap[0, 0, row, column + 1] = 0, heat[0, 0, row, column]
    return replace(heads, heatmap=heatmap), near


def test_a_tie_that_falls_the_other_way_is_left_out_and_counted(
    outputs: tuple[HeadOutputs, np.ndarray], tie: tuple[HeadOutputs, np.ndarray]
) -> None:
    (heads, heat), (moved, near) = outputs, tie
    tied = tied_peaks(moved.heatmap, heads.heatmap, near, 1e-4)
    (left_out, *_) = compare_outputs(moved, heads, tied)
    assert (left_out.relative, left_out.ties) == (0, 2)
    assert str(left_out).endswith(", 2 tied peaks left out")
    first, second = compare_detections(moved, heads, tied, 4, raw_heads=False)
    score = float(heads.heatmap[0].max())
    assert (first.expected, first.found, first.matched, first.unmatched, first.tied) == (2, 2, 2, (), (score, score))
    assert str(first).endswith(f"; scores of tied peaks left out: {score:.3f}, {score:.3f}")
    assert (second.expected, second.matched, second.tied) == (3, 3, ())
    for surroundings, tolerance in ((heat, 1e-4), (near, 1e-6), (None, 1e-4)):
        sure = tied_peaks(moved.heatmap, heads.heatmap, surroundings, tolerance)
        (different, *_) = compare_outputs(moved, heads, sure)
        assert different.ties == 0
        assert different.relative > 0.1
        first, _ = compare_detections(moved, heads, sure, 4, raw_heads=False)
        assert (first.expected, first.tied) == (3, ())


def test_a_tied_peak_that_only_one_result_has_in_addition(
    outputs: tuple[HeadOutputs, np.ndarray], tie: tuple[HeadOutputs, np.ndarray]
) -> None:
    (heads, _), (moved, near) = outputs, tie
    both = replace(heads, heatmap=np.maximum(heads.heatmap, moved.heatmap))  # half precision may make them equal
    first, _ = compare_detections(both, heads, tied_peaks(both.heatmap, heads.heatmap, near, 1e-4), 4, raw_heads=False)
    assert (first.expected, first.found, first.matched, first.unmatched) == (3, 3, 3, ())
    assert len(first.tied) == 1


def test_faint_ties_are_no_detections(
    outputs: tuple[HeadOutputs, np.ndarray], tie: tuple[HeadOutputs, np.ndarray]
) -> None:
    (heads, _), (moved, near) = outputs, tie
    tied = tied_peaks(moved.heatmap, heads.heatmap, near, 1e-4)
    best = float(heads.heatmap[0].max())
    first, _ = compare_detections(moved, heads, tied, 4, raw_heads=False, threshold=best)
    assert (first.expected, first.found, first.tied) == (0, 0, ())


def test_batch_sizes_are_compared_with_each_other_by_the_same_rule(
    model: ModelInfo,
    outputs: tuple[HeadOutputs, np.ndarray],
    tie: tuple[HeadOutputs, np.ndarray],
    capsys: pytest.CaptureFixture[str],
) -> None:
    (heads, heat), (moved, near) = outputs, tie
    assert judge([(1, heads), (8, moved)], heads, near, model, 1e-4, 0.4)
    lines = capsys.readouterr().out.splitlines()
    assert "  against batch 1: heatmap    relative 0.00e+00, maximum 0.00e+00, 2 tied peaks left out" in lines
    assert [line for line in lines if line.startswith("batch")] == ["batch 1, 2 images:", "batch 8, 2 images:"]
    assert judge([(1, moved), (8, moved)], heads, near, model, 1e-4, 0.4)
    lines = capsys.readouterr().out.splitlines()
    assert "  against batch 1: heatmap    relative 0.00e+00, maximum 0.00e+00" in lines
    assert not judge([(1, heads), (8, moved)], heads, heat, model, 1e-4, 0.4)
    printed = capsys.readouterr().out
    assert "tied" not in printed
    assert "scores without a partner" in printed


def test_batch_sizes_must_agree_with_each_other(
    model: ModelInfo, outputs: tuple[HeadOutputs, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    heads, heat = outputs
    assert heads.embedding is not None
    one, other = (replace(heads, embedding=heads.embedding * np.float32(1 + part)) for part in (3e-3, -3e-3))
    assert judge([(1, one)], heads, heat, model, 5e-3, 0.4)
    assert judge([(1, other)], heads, heat, model, 5e-3, 0.4)
    assert not judge([(1, one), (8, other)], heads, heat, model, 5e-3, 0.4)
    assert "  against batch 1: embedding  relative 5.98e-03" in capsys.readouterr().out


def test_a_frame_without_people_proves_nothing(model: ModelInfo, outputs: tuple[HeadOutputs, np.ndarray]) -> None:
    heads, heat = outputs
    empty = replace(heads, heatmap=heads.heatmap * np.float32(0.1))
    with pytest.raises(SourceError, match=r"Nothing in the frame scores above 0\.4: give an image with"):
        judge([(1, empty)], empty, heat, model, 5e-3, 0.4)


def test_a_wrong_box_is_not_excused_by_a_tie_elsewhere(
    model: ModelInfo,
    outputs: tuple[HeadOutputs, np.ndarray],
    tie: tuple[HeadOutputs, np.ndarray],
    capsys: pytest.CaptureFixture[str],
) -> None:
    (heads, _), (moved, near) = outputs, tie
    boxes = heads.box.copy()
    boxes[:, :, 0, 0] = 1e5  # beside it, what is wrong with one box is a small error of the output
    wrong = boxes.copy()
    wrong[1, 0][np.unravel_index(heads.heatmap[1, 0].argmax(), wrong.shape[2:])] += 2
    expected = replace(heads, box=boxes)
    assert judge([(1, replace(moved, box=boxes))], expected, near, model, 1e-4, 0.4)
    assert not judge([(1, replace(moved, box=wrong))], expected, near, model, 1e-4, 0.4)
    assert "image 2: 2 of 3 detections matched, 3 found" in capsys.readouterr().out


def test_landmarks_are_compared(
    tmp_path: Path, outputs: tuple[HeadOutputs, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a model without embeddings, whose fourth output they are."""
    graph = blob_network.build(without=("embedding",))
    graph.graph.node.append(blob_network.helper.make_node("Identity", ["offset"], ["landmarks"]))
    graph.graph.output.append(
        blob_network.helper.make_tensor_value_info("landmarks", blob_network.TensorProto.FLOAT, ["n", 2, "r", "c"])
    )
    model = ModelInfo.read(blob_network.save(tmp_path / "landmarks.onnx", graph))
    assert (model.landmark_count, model.embedding_size) == (1, 0)
    images, _ = Preprocessor(model, SIZE)([blob_network.image_of(SIZE, SQUARES)] * 2)
    heads, heat = onnx_reference(model)(images)
    assert heads.embedding is None
    assert heads.landmarks is not None
    np.testing.assert_array_equal(heads.landmarks, heads.offset)
    assert judge([(1, heads)], heads, heat, model, 1e-4, 0.4)
    assert "  landmarks  relative 0.00e+00" in capsys.readouterr().out
    assert not judge([(1, replace(heads, landmarks=heads.landmarks + 1))], heads, heat, model, 1e-4, 0.4)


def test_variants_differ(model: ModelInfo) -> None:
    images = variants(blob_network.image_of(SIZE, SQUARES), 8)
    assert len({image.tobytes() for image in images}) == 8
    assert {image.shape for image in images} == {(64, 96, 3)}


def test_a_model_whose_heatmap_is_made_otherwise_is_refused(tmp_path: Path) -> None:
    graph = blob_network.build()
    graph.graph.node.append(blob_network.helper.make_node("Identity", ["kept"], ["heatmap"]))
    next(node for node in graph.graph.node if node.op_type == "Where").output[0] = "kept"
    with pytest.raises(ModelError, match="Where"):
        onnx_reference(ModelInfo.read(blob_network.save(tmp_path / "other.onnx", graph)))


def test_errors_of_the_command(tmp_path: Path, model: ModelInfo, capsys: pytest.CaptureFixture[str]) -> None:
    plan = tmp_path / "cut.plan"
    plan.write_bytes(b"FAIRMOT PLAN 2\n\x10")
    arguments = ["verify", str(model.path), "--frame", str(tmp_path / "none.png"), "--engine"]
    assert main([*arguments, str(plan)]) == 1
    assert "truncated" in capsys.readouterr().err
    assert main([*arguments, str(tmp_path / "none.plan")]) == 1
    assert "cannot be read" in capsys.readouterr().err
