"""The TensorRT engine on a GPU, held to ONNX Runtime on the CPU. The first run builds a plan, which takes a minute."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from fairmot.core import Detections, EngineError, Frame, SourceError
from fairmot.engine import BUNDLED_WEIGHTS, EngineSettings, open_engine
from fairmot.video.frame_ring import FrameRing, RingLayout
from fairmot.video.synthetic.scene import Scene

pytestmark = pytest.mark.gpu

ROOT = Path(__file__).resolve().parents[2]
BATCH = 4
LEAST = 0.2  # score of the detections that engines return
SURE = 0.4  # score from which they must agree who is there


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    with open_engine(EngineSettings(backend="tensorrt", dcn="plugin", batch=BATCH), score_threshold=LEAST) as opened:
        yield opened


@pytest.fixture(scope="module")
def cpu() -> Iterator[Any]:
    with open_engine(EngineSettings(backend="onnxruntime"), score_threshold=LEAST) as opened:
        yield opened


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    scene = Scene(people=14, size=(1280, 720), frames=200, seed=3)
    return [scene.render(number) for number in (1, 40, 80, 120)]


def frames(images: Sequence[np.ndarray]) -> list[Frame]:
    return [Frame(number, 0.0, image) for number, image in enumerate(images, 1)]


def as_planes(image: np.ndarray, pixel_format: Any = "yuv420p") -> Frame:
    planes = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format=pixel_format).to_ndarray()
    return Frame(1, 0.0, planes, pixel_format)


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    overlap = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(box[:, 2:] - box[:, :2]).prod(axis=1) for box in (a, b)]
    return overlap / (areas[0][:, None] + areas[1][None] - overlap)


def check_same_people(
    found: Detections, expected: Detections, score: float = 0.02, overlap: float = 0.95, cosine: float = 0.99
) -> None:
    """Everybody who is surely there in one is in the other, at the same place, with the same score and appearance.

    One of them may be read off the next cell of the heatmap: half precision may not tell which of two is greater, and
    another kernel may take the other.
    """
    assert (expected.scores > SURE).sum() >= 3
    for one, other in ((found, expected), (expected, found)):
        sure = one[one.scores > SURE + score]
        pairs = iou(sure.tlbr, other.tlbr)
        partner = pairs.argmax(axis=1)
        np.testing.assert_allclose(other.scores[partner], sure.scores, atol=score)
        overlaps, cosines = pairs.max(axis=1), (sure.embeddings * other.embeddings[partner]).sum(axis=1)
        same = (overlaps > overlap) & (cosines > cosine)
        assert (~same).sum() <= 1, (overlaps, cosines)
        assert overlaps.min() > 0.7
        assert cosines.min() > 0.7


def check_equal(found: Detections, expected: Detections) -> None:
    for name in ("tlbr", "scores", "class_ids", "embeddings", "landmarks"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_finds_what_the_cpu_finds(engine: Any, cpu: Any, images: list[np.ndarray]) -> None:
    given = frames(images)
    for found, expected in zip(engine.detect(given), cpu.detect(given), strict=True):
        check_same_people(found, expected)
        assert (np.diff(found.scores) <= 0).all()
        np.testing.assert_allclose(np.linalg.norm(found.embeddings, axis=1), 1, atol=1e-3)


def normalized(path: Path, mean: list[float], std: list[float], resize: str) -> Path:
    """The bundled model for images in BGR with a mean, a standard deviation and a black border: the same answers,
    but for the margin, where the first layer pads with the mean color instead of black.
    """
    model = onnx.load(BUNDLED_WEIGHTS)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    (first,) = [node for node in model.graph.node if node.op_type == "Conv" and node.input[0] == "images"]
    cast = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "Cast"}
    tensor = tensors[cast.get(first.input[1], first.input[1])]
    weight = numpy_helper.to_array(tensor).astype(np.float32)[:, ::-1]
    factors = (np.array(std)[:, None, None], np.array(mean)[:, None, None])
    bias = (weight * factors[1]).sum((1, 2, 3))
    if len(first.input) > 2:
        old = tensors[cast.get(first.input[2], first.input[2])]
        bias = bias + numpy_helper.to_array(old)
    model.graph.initializer.append(numpy_helper.from_array((weight * factors[0]).astype(np.float32), "first.weight"))
    model.graph.initializer.append(numpy_helper.from_array(bias.astype(np.float32), "first.bias"))
    first.input[:] = ["images", "first.weight", "first.bias"]
    facts = {entry.key: entry.value for entry in model.metadata_props}
    changes = {"channel_order": "bgr", "border": "0", "resize": resize}
    changes |= {"mean": ",".join(map(str, mean)), "std": ",".join(map(str, std))}
    helper.set_model_props(model, facts | {f"fairmot.{key}": value for key, value in changes.items()})
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("mean", "std", "resize"),
    [([0.408, 0.447, 0.47], [0.289, 0.274, 0.278], "linear"), ([0.0] * 3, [1 / 255] * 3, "linear-centered")],
    ids=["centernet", "centerface"],
)
def test_mean_std_and_bilinear_resize(
    tmp_path: Path, images: list[np.ndarray], mean: list[float], std: list[float], resize: str
) -> None:
    weights = normalized(tmp_path / "normalized.onnx", mean, std, resize)
    found = {}
    for backend in ("onnxruntime", "tensorrt"):
        with open_engine(EngineSettings(backend=backend, weights=weights), score_threshold=LEAST) as opened:  # type: ignore[arg-type]
            found[backend] = [opened.detect([each])[0] for each in (*frames(images[:2]), as_planes(images[2]))]
    for on_gpu, on_cpu in zip(found["tensorrt"], found["onnxruntime"], strict=True):
        check_same_people(on_gpu, on_cpu)


def test_the_backend_says_what_it_is(engine: Any) -> None:
    assert engine.name == "tensorrt"
    assert "TensorRT" in engine.reason
    assert "fp16" in engine.reason
    assert engine.max_batch == BATCH
    with open_engine(EngineSettings(batch=BATCH)) as opened:
        assert opened.name == "tensorrt"


@pytest.mark.parametrize("count", [1, 2, 4, 9])
def test_batches_give_what_single_frames_give(engine: Any, images: list[np.ndarray], count: int) -> None:
    given = frames([images[number % 4] for number in range(count)])
    together = engine.detect(given)
    assert len(together) == count
    for frame, found in zip(given, together, strict=True):
        check_same_people(found, engine.detect([frame])[0], score=0.01)
    assert engine.detect([]) == []


def test_frames_of_mixed_sizes_and_formats_in_one_batch(engine: Any, cpu: Any, images: list[np.ndarray]) -> None:
    scene = Scene(people=10, size=(640, 480), frames=100, seed=5)
    mixed = [
        *frames([scene.render(50), images[0]]),
        as_planes(images[1]),
        as_planes(images[2], "nv12"),
        *frames([images[3][:, 200:900]]),  # not contiguous
    ]
    for _ in range(3):  # the third time would be a graph, if they were of one format
        for frame, found in zip(mixed, engine.detect(mixed), strict=True):
            # The conversion from YUV differs from swscale's by some levels, so a peak may be the cell beside.
            limits = (0.02, 0.95, 0.99) if frame.pixel_format == "bgr24" else (0.05, 0.85, 0.85)
            check_same_people(found, cpu.detect([frame])[0], *limits)


@pytest.mark.parametrize("count", [1, BATCH])
def test_a_graph_gives_what_single_launches_give(engine: Any, images: list[np.ndarray], count: int) -> None:
    # A size of its own, so that nothing is captured yet: each of three slots launches, then captures, then replays.
    given = frames([image[:700] for image in images[:count]])
    rounds = [engine.detect(given) for _ in range(10)]
    for later in rounds[1:]:
        for found, expected in zip(later, rounds[0], strict=True):
            check_equal(found, expected)
    other = engine.detect(frames([image[:700] for image in images[::-1][:count]]))
    assert not np.array_equal(other[0].tlbr, rounds[0][0].tlbr)  # a replay reads the new frames


def test_sizes_that_alternate(engine: Any, images: list[np.ndarray]) -> None:
    sizes = [(720, 1280), (600, 1280), (720, 1000), (500, 500), (720, 640), (400, 1280), (250, 360)]
    expected = [engine.detect(frames([images[0][:rows, :columns]]))[0] for rows, columns in sizes]
    for _ in range(4):
        for (rows, columns), wanted in zip(sizes, expected, strict=True):
            check_equal(engine.detect(frames([images[0][:rows, :columns]]))[0], wanted)


def test_memory_of_the_engine_is_read_without_a_copy(engine: Any, images: list[np.ndarray]) -> None:
    room = engine.allocate(images[0].shape)
    room[:] = images[0]
    check_equal(engine.detect([Frame(1, 0.0, room)])[0], engine.detect(frames(images[:1]))[0])


def test_nothing_is_allocated_per_frame(engine: Any, images: list[np.ndarray]) -> None:
    import torch

    given = [[frame] for frame in frames(images)]
    for _ in range(3):
        list(engine.detect_batches(given, 2))
    before = torch.cuda.memory_stats()["allocation.all.allocated"]
    for _ in range(5):
        list(engine.detect_batches(given, 2))
    assert torch.cuda.memory_stats()["allocation.all.allocated"] == before


def test_batches_in_order_and_what_came_before_an_error(engine: Any, images: list[np.ndarray]) -> None:
    single = [engine.detect([frame])[0] for frame in frames(images)]

    def broken() -> Iterator[list[Frame]]:
        for frame in frames(images):
            yield [frame]
        raise SourceError("the cable is out")

    for prefetch_batches in (0, 1, 2, 7):
        stream = engine.detect_batches(broken(), prefetch_batches)
        for number in range(4):
            (frame,), (found,) = next(stream)
            assert frame.index == number + 1
            check_equal(found, single[number])
        with pytest.raises(SourceError, match="cable"):
            next(stream)


def test_leaving_the_batches_frees_the_engine(engine: Any, images: list[np.ndarray]) -> None:
    given = frames(images)
    expected = engine.detect(given[3:])[0]
    stream = engine.detect_batches([[frame] for frame in given], 2)
    next(stream)
    engine.detect(given[3:])  # in the third slot
    with pytest.raises(RuntimeError, match="outstanding"):
        engine.detect(given[3:])
    stream.close()
    for _ in range(4):
        check_equal(engine.detect(given[3:])[0], expected)


def test_results_stay_on_the_gpu(engine: Any, cpu: Any, images: list[np.ndarray]) -> None:
    given = frames(images)
    expected = engine.detect(given)
    for _ in range(5):
        found = engine.detect_on_gpu(given)
        counts = found.counts.tolist()
        assert counts == [len(each) for each in expected]
        for image, count in enumerate(counts):
            np.testing.assert_array_equal(found.tlbr[image, :count].cpu().numpy(), expected[image].tlbr)
            np.testing.assert_array_equal(found.embeddings[image, :count].cpu().numpy(), expected[image].embeddings)
    heads = engine.heads(given[:2])
    assert heads.heatmap.is_cuda
    assert tuple(heads.embedding.shape) == (2, engine.model.embedding_size, 80, 144)
    # More often than there are slots, without the host waiting in between.
    for _ in range(5):
        best = [float(engine.heads([frame]).heatmap.max()) for frame in given]
    np.testing.assert_allclose(best, [each.scores[0] for each in expected], atol=0.01)
    with pytest.raises(ValueError, match="1 to 4 frames"):
        engine.heads([])


def test_a_closed_engine_says_so_and_another_opens(images: list[np.ndarray]) -> None:
    opened = open_engine(EngineSettings(backend="tensorrt", batch=BATCH))
    opened.close()
    opened.close()
    with pytest.raises(RuntimeError, match="closed"):
        opened.detect(frames(images))
    with open_engine(EngineSettings(backend="tensorrt", batch=BATCH)) as again:
        assert len(again.detect(frames(images))) == 4


def test_errors_of_the_gpu_become_user_errors() -> None:
    import torch

    from fairmot.engine.trt.errors import gpu_errors

    with pytest.raises(EngineError, match="out of memory while testing: lower --batch"), gpu_errors("testing"):
        torch.empty(1 << 50, device="cuda")
    with pytest.raises(RuntimeError, match="else"), gpu_errors("testing"):
        raise RuntimeError("something else")


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "run_track.py"), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", timeout=600, check=False, env=os.environ.copy()
    )


def test_the_command_takes_the_gpu_by_itself(tmp_path: Path) -> None:
    pytest.importorskip("jsonargparse")
    result = run("demo?frames=80&size=640x360", "--batch", BATCH, "--eval", "--output", tmp_path)
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "demo" / "run.json").read_text())
    assert (report["engine"]["name"], report["status"], report["frames"]) == ("tensorrt", "complete", 80)
    assert {"read", "upload", "wait", "gpu", "track", "write"} <= set(report["milliseconds"])
    numbers = [json.loads(line)["frame"] for line in (tmp_path / "demo" / "tracks.jsonl").read_text().splitlines()]
    assert numbers == list(range(1, 81))
    assert "MOTA" in result.stdout


def test_verify_accepts_the_plan(tmp_path: Path, engine: Any, images: list[np.ndarray]) -> None:
    import cv2

    from fairmot.engine.trt.builder import cached_plan
    from fairmot.engine.trt.plan import BuildSettings

    cv2.imwrite(str(tmp_path / "street.png"), images[0])
    plan = cached_plan(engine.model, BuildSettings(engine.model.size, (1, BATCH), "fp16", "plugin"))
    command = [sys.executable, "-m", "fairmot", "verify", engine.model.path, "--engine", plan]
    result = subprocess.run(
        [*map(str, command), "--frame", str(tmp_path / "street.png")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "accepted" in result.stdout


def test_frames_in_memory_of_others_are_page_locked(
    engine: Any, images: list[np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    import torch

    expected = engine.detect(frames(images))
    ring = FrameRing(RingLayout(images[0].nbytes, len(images)))
    copies = [ring.view(slot, image.shape, lambda: None) for slot, image in enumerate(images)]
    for copied, image in zip(copies, images, strict=True):
        copied[...] = image
    assert not torch.from_numpy(copies[1]).is_pinned()
    with engine.page_locked(ring.memory):
        assert all(torch.from_numpy(copied).is_pinned() for copied in copies)
        found = [engine.detect(frames(copies))]
        assert not caplog.records
        with engine.page_locked(ring.memory):  # which CUDA refuses the second time
            found.append(engine.detect(frames(copies)))
        assert "cannot be page-locked" in caplog.text
        assert torch.from_numpy(copies[1]).is_pinned()
    assert not torch.from_numpy(copies[1]).is_pinned()
    found.append(engine.detect(frames(copies)))
    for each in found:
        for one, other in zip(each, expected, strict=True):
            np.testing.assert_array_equal(one.tlbr, other.tlbr)
            np.testing.assert_array_equal(one.scores, other.scores)
    ring.close()
