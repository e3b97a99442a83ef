"""Detection with a real network in ONNX Runtime."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from support import blob_network

import fairmot.engine.onnxruntime
from fairmot.core import ConfigError, Frame, ModelError, StageClock
from fairmot.core.cores import usable_cores
from fairmot.engine import EngineSettings, ModelInfo, open_engine
from fairmot.engine.factory import Backend, choose_backend

SIZE = (96, 64)
SQUARES = {(6, 5): (255, 255, 255), (15, 9): (200, 255, 240), (20, 3): (255, 190, 230)}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return blob_network.save(tmp_path_factory.mktemp("weights") / "blobs.onnx")


def frame(image: np.ndarray, index: int = 1) -> Frame:
    return Frame(index, 0.0, image)


def check_squares(found, squares, scale=1.0, shift=(0.0, 0.0), tolerance=1e-3) -> None:
    order = sorted(squares, key=lambda place: -blob_network.expected_score(squares[place]))
    boxes = np.array([blob_network.expected_box(*place) for place in order]) * scale + np.tile(shift, 2)
    np.testing.assert_allclose(found.tlbr, boxes, atol=tolerance)
    colors = [squares[place] for place in order]
    np.testing.assert_allclose(found.scores, [blob_network.expected_score(color) for color in colors], atol=1e-3)
    np.testing.assert_allclose(
        found.embeddings, [blob_network.expected_embedding(color) for color in colors], atol=1e-4
    )
    assert found.class_ids.tolist() == [0] * len(order)


@pytest.mark.parametrize("raw", [False, True])
def test_finds_the_squares(tmp_path: Path, raw: bool) -> None:
    weights = blob_network.save(tmp_path / "blobs.onnx", blob_network.build(raw=raw))
    with open_engine(EngineSettings(weights=weights)) as opened:
        (found,) = opened.detect([frame(blob_network.image_of(SIZE, SQUARES))])
    check_squares(found, SQUARES)


def test_frames_of_different_sizes_in_batches_and_more_than_fit_one(weights: Path) -> None:
    plain = blob_network.image_of(SIZE, SQUARES)
    double = np.kron(plain, np.ones((2, 2, 1), np.uint8))
    # Twice as high as wide: 64 rows of 32 columns in the middle, so 32 columns of border to the left.
    tall = np.kron(blob_network.image_of((32, 64), {(3, 8): (255, 255, 255)}), np.ones((3, 3, 1), np.uint8))
    empty = np.zeros((50, 200, 3), np.uint8)
    frames = [plain, double, tall, empty] * 2 + [double]
    with open_engine(EngineSettings(weights=weights, threads=1)) as opened:
        assert 1 < opened.max_batch < len(frames)
        found = opened.detect([frame(image, index) for index, image in enumerate(frames, 1)])
        assert opened.detect([]) == []
    for first in (0, 4):
        check_squares(found[first], SQUARES)
        check_squares(found[first + 1], SQUARES, scale=2.0)
        check_squares(found[first + 2], {(3, 8): (255, 255, 255)}, scale=3.0)
        assert len(found[first + 3]) == 0
        assert found[first + 3].embeddings.shape == (0, 8)
    check_squares(found[8], SQUARES, scale=2.0)


def test_planes_give_what_their_conversion_gives(weights: Path) -> None:
    planes = np.full((64 * 3 // 2, 96), 128, np.uint8)
    planes[:64] = 16
    planes[20:24, 24:28] = 235
    with open_engine(EngineSettings(weights=weights)) as opened:
        (found,) = opened.detect([Frame(1, 0.0, planes, "yuv420p")])
    check_squares(found, {(6, 5): (255, 255, 255)})


def test_another_size_threshold_and_limit(weights: Path) -> None:
    image = blob_network.image_of((128, 96), SQUARES)
    with open_engine(EngineSettings(weights=weights, size=(128, 96)), score_threshold=0.98) as opened:
        assert opened.size == (128, 96)
        (found,) = opened.detect([frame(image)])
    brightest = {place: color for place, color in SQUARES.items() if blob_network.expected_score(color) > 0.98}
    assert 0 < len(brightest) < len(SQUARES)
    check_squares(found, brightest)
    with open_engine(EngineSettings(weights=weights, size=(128, 96), max_detections=1)) as opened:
        (found,) = opened.detect([frame(image)])
    check_squares(found, {(6, 5): (255, 255, 255)})


@pytest.mark.parametrize(("setting", "count"), [(None, 2), (1, 1), (3, 3)])
def test_most_detections_are_those_that_the_model_recommends(tmp_path: Path, setting: int | None, count: int) -> None:
    weights = blob_network.save(tmp_path / "blobs.onnx", blob_network.build(blob_network.metadata(max_detections="2")))
    with open_engine(EngineSettings(weights=weights, max_detections=setting)) as opened:
        (found,) = opened.detect([frame(blob_network.image_of(SIZE, SQUARES))])
    assert len(SQUARES) >= 3
    assert len(found) == count


@pytest.mark.parametrize("resize", ["linear", "linear-centered"])
def test_boxes_return_from_a_bilinear_input(tmp_path: Path, resize: str) -> None:
    metadata = blob_network.metadata(resize=resize, border="0")
    weights = blob_network.save(tmp_path / "blobs.onnx", blob_network.build(metadata))
    image = blob_network.image_of((192, 128), {(6, 5): (255, 255, 255)}, cell=8)  # a cell of the input at half the size
    with open_engine(EngineSettings(weights=weights)) as opened:
        (found,) = opened.detect([frame(image)])
    # Centers of pixels are mapped: the input's (0, 0) is (0, 0), or lies between the first four pixels.
    shift = 0.5 if resize == "linear-centered" else 0.0
    expected = 2 * np.array(blob_network.expected_box(6, 5)) + shift
    np.testing.assert_allclose(found.tlbr, [expected], atol=1e-3)


def test_color_order_mean_and_std_come_from_the_file(tmp_path: Path) -> None:
    metadata = blob_network.metadata(channel_order="bgr", mean="0.1,0.2,0.3", std="0.5,1,2", border="0")
    weights = blob_network.save(tmp_path / "blobs.onnx", blob_network.build(metadata))
    with open_engine(EngineSettings(weights=weights)) as opened:
        (found,) = opened.detect([frame(blob_network.image_of(SIZE, {(6, 5): (255, 204, 255)}))])
    seen = (np.array([1.0, 0.8, 1.0]) - [0.1, 0.2, 0.3]) / [0.5, 1, 2]  # what the network gets, in B, G, R order
    vector = blob_network.EMBEDDING_WEIGHT @ seen
    np.testing.assert_allclose(found.embeddings[0], vector / np.linalg.norm(vector), atol=1e-4)
    np.testing.assert_allclose(found.scores, [1 / (1 + np.exp(-20 * (seen.mean() - 0.75)))], atol=1e-3)


def test_a_model_without_embedding(tmp_path: Path) -> None:
    weights = blob_network.save(tmp_path / "blobs.onnx", blob_network.build(without=["embedding"]))
    with open_engine(EngineSettings(weights=weights)) as opened:
        (found,) = opened.detect([frame(blob_network.image_of(SIZE, SQUARES))])
    assert opened.model.embedding_size == 0
    assert found.embeddings.shape == (3, 0)


def test_the_reference_box_mapping_ignores_the_rounded_padding(weights: Path) -> None:
    image = np.zeros((100, 131, 3), np.uint8)
    image[40:60, 50:70] = 255
    found = {}
    for mode in ("exact", "reference"):
        with open_engine(EngineSettings(weights=weights, box_mapping=mode)) as opened:
            (found[mode],) = opened.detect([frame(image)])
    difference = np.abs(found["exact"].tlbr - found["reference"].tlbr).max()
    assert 0.01 < difference < 1.5


def test_a_closed_engine_says_so(weights: Path) -> None:
    with open_engine(EngineSettings(weights=weights)) as opened:
        opened.close()
    with pytest.raises(RuntimeError, match="closed"):
        opened.detect([frame(blob_network.image_of(SIZE, SQUARES))])


def test_the_clock_gets_the_three_stages(weights: Path) -> None:
    clock = StageClock()
    with open_engine(EngineSettings(weights=weights), clock=clock) as opened:
        opened.detect([frame(blob_network.image_of(SIZE, SQUARES))])
    stages = clock.milliseconds()
    assert list(stages) == ["letterbox", "network", "decode"]
    assert min(stages.values()) > 0


def test_a_runtime_without_deform_conv_gets_grid_sample(
    weights: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The refusal of ONNX Runtime 1.23 is replayed; the session that follows is real."""
    real = onnxruntime.InferenceSession

    def refusing(model, *args, **kwargs):
        if isinstance(model, str):
            raise fairmot.engine.onnxruntime.OperatorMissing("Could not find an implementation for DeformConv(19) node")
        return real(model, *args, **kwargs)

    monkeypatch.setattr(onnxruntime, "InferenceSession", refusing)
    with caplog.at_level(logging.INFO), open_engine(EngineSettings(weights=weights)) as opened:
        (found,) = opened.detect([frame(blob_network.image_of(SIZE, SQUARES))])
    check_squares(found, SQUARES)
    assert sum("GridSample" in record.message for record in caplog.records) == 1


def test_auto_says_which_backend_and_why(weights: Path) -> None:
    with open_engine(EngineSettings(weights=weights)) as opened:
        assert opened.name == "onnxruntime"
        assert onnxruntime.__version__ in opened.reason
        assert "fastest backend" in opened.reason or "tensorrt cannot run here: " in opened.reason
        assert "\n" not in opened.reason
    with open_engine(EngineSettings(weights=weights, backend="onnxruntime")) as opened:
        assert "as asked for" in opened.reason


def test_the_first_backend_that_can_run_is_chosen() -> None:
    def never(model, settings):
        raise AssertionError("choosing must not open")

    fast = Backend("fast", lambda: "no GPU", never)
    slow = Backend("slow", lambda: None, never)
    assert choose_backend("auto", [slow, fast]) == (slow, "the fastest backend that runs here")
    assert choose_backend("auto", [fast, slow]) == (slow, "fast cannot run here: no GPU")
    with pytest.raises(ConfigError, match=r"fast cannot run here: no GPU"):
        choose_backend("fast", [fast, slow])
    with pytest.raises(ConfigError, match=r"fast cannot run here: no GPU"):
        choose_backend("auto", [fast])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backend": "cuda"}, r'There is no engine "cuda": choose from auto, tensorrt, onnxruntime'),
        ({"backend": "onnxruntme"}, r'Did you mean "onnxruntime"\?'),
        ({"size": (100, 64)}, "nearest is 96x64"),
        ({"size": (130, 70)}, "nearest is 128x64"),
        ({"size": (5, 0)}, "nearest is 32x32"),
        ({"score_threshold": 1.0}, "score_threshold"),
        ({"score_threshold": float("nan")}, "score_threshold"),
        ({"max_detections": 0}, "max_detections"),
        ({"threads": 0}, "threads"),
        ({"box_mapping": "fast"}, "exact or reference"),
        ({"precision": "int4"}, "fp16 or fp32"),
        ({"dcn": "none"}, "auto or plugin or native or nvidia"),
        ({"batch": 0}, "batch must be from 1 to 64"),
        ({"batch": 65}, "batch must be from 1 to 64"),
    ],
)
def test_wrong_settings(weights: Path, settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_engine(EngineSettings(weights=weights, **settings))


def test_an_operator_that_onnx_runtime_lacks_is_named(tmp_path: Path) -> None:
    model = blob_network.build()
    node = next(node for node in model.graph.node if node.op_type == "AveragePool")
    node.op_type, node.domain = "Blur", "somewhere"
    model.opset_import.add(domain="somewhere", version=1)
    with pytest.raises(ModelError, match=r"cannot run .*blobs.onnx .*Blur"):
        open_engine(EngineSettings(weights=blob_network.save(tmp_path / "blobs.onnx", model)))


def test_usable_cores_follow_the_affinity() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
    if sys.platform == "linux":
        before = os.sched_getaffinity(0)
        try:
            os.sched_setaffinity(0, {min(before)})
            assert usable_cores() == 1
        finally:
            os.sched_setaffinity(0, before)


def test_memory_stays_flat(weights: Path) -> None:
    resource = pytest.importorskip("resource")
    images = [np.zeros((240 + 8 * step, 320, 3), np.uint8) for step in range(5)]

    def run(opened, rounds: int) -> int:
        for step in range(rounds):
            opened.detect([frame(image) for image in images[: step % 5 + 1]])
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with open_engine(EngineSettings(weights=weights, size=(320, 256))) as opened:
        before = run(opened, 30)
        assert run(opened, 200) - before < 4096  # KiB


def test_model_info(weights: Path) -> None:
    info = ModelInfo.read(weights)
    assert (info.architecture, info.stride, info.size, info.size_multiple) == ("blobs", 4, (96, 64), 32)
    assert (info.class_names, info.raw_heads, info.embedding_size, info.border) == (("blob",), False, 8, 128)
