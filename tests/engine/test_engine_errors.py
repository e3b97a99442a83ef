"""Arrays that are no frames, and backends that fail while they run."""

from __future__ import annotations

import types
from pathlib import Path

import cv2
import numpy as np
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as runtime
from support import blob_network

import fairmot.engine.onnxruntime
from fairmot.core import EngineError, Frame, ModelError, UserError
from fairmot.engine import Engine, EngineSettings, open_engine
from fairmot.engine.trt.errors import cuda_failure, load_failure, run_failure

SQUARES = {(6, 5): (255, 255, 255)}
IMAGE = blob_network.image_of((96, 64), SQUARES)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return blob_network.save(tmp_path_factory.mktemp("weights") / "blobs.onnx")


@pytest.fixture
def opened(weights: Path) -> Engine:
    with open_engine(EngineSettings(weights=weights, backend="onnxruntime", threads=1)) as made:
        yield made


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((64, 96), np.uint8),
        np.zeros((64, 96, 4), np.uint8),
        np.zeros((64, 96, 3), np.float32),
        np.zeros((64, 96, 3), np.uint16),
    ],
    ids=["gray", "BGRA", "float32", "uint16"],
)
def test_other_arrays_never_show_the_frame_before(opened: Engine, pixels: np.ndarray) -> None:
    """Neither by the record, which refuses them, nor where something puts them past it."""
    assert len(opened.detect([Frame(1, 0.0, IMAGE)])[0]) == 1
    with pytest.raises((TypeError, ValueError)):
        Frame(2, 0.0, pixels)
    with pytest.raises((TypeError, ValueError)):
        opened.detect([types.SimpleNamespace(bgr=pixels)])  # type: ignore[list-item]
    assert len(opened.detect([Frame(3, 0.0, np.zeros_like(IMAGE))])[0]) == 0


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (2, 2)])
def test_frames_as_small_as_can_be(opened: Engine, size: tuple[int, int]) -> None:
    frames = [Frame(1, 0.0, IMAGE), Frame(2, 0.0, np.zeros((size[1], size[0], 3), np.uint8))]
    assert [len(found) for found in opened.detect(frames)] == [1, 0]


def test_views_are_found_as_copies_are(opened: Engine) -> None:
    big = np.zeros((200, 300, 3), np.uint8)
    big[10:74, 20:116] = IMAGE
    locked = IMAGE.copy()
    locked.setflags(write=False)
    views = [big[10:74, 20:116], IMAGE[::-1][::-1], np.asfortranarray(IMAGE), locked, IMAGE[::-1, ::-1]]
    found = opened.detect([Frame(1, 0.0, view) for view in views])
    for each in found[:4]:
        np.testing.assert_array_equal(each.tlbr, found[0].tlbr)
    (turned,) = opened.detect([Frame(1, 0.0, np.ascontiguousarray(views[4]))])
    np.testing.assert_array_equal(found[4].tlbr, turned.tlbr)


ALLOCATION = "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory for requested buffer of size 99"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (runtime.Fail(ALLOCATION), "Memory ran out while ONNX Runtime .* ran the model: lower --size or --batch"),
        (runtime.RuntimeException("std::bad_alloc"), "Memory ran out"),
        (runtime.EPFail("Available memory of 1 is smaller than; out of memory"), "Memory ran out"),
        (MemoryError(), "Memory ran out"),
        (np._core._exceptions._ArrayMemoryError((9, 9), np.dtype(np.uint8)), "Memory ran out")
        if hasattr(np, "_core")
        else (MemoryError("array"), "Memory ran out"),
        (cv2.error("OpenCV(4.9.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 9 bytes"), "Memory"),
        (runtime.Fail("node\nConv_3\n\x1b[31m fails."), r"ONNX Runtime .* failed .*\(node Conv_3 \\x1b\[31m fails\)"),
        (runtime.InvalidArgument("x" * 5000), r"failed while the engine ran the model \(x+\.\.\.\): start again"),
        (cv2.error("OpenCV: (-215:Assertion failed)"), r"OpenCV failed while .*Assertion failed"),
    ],
)
@pytest.mark.parametrize("place", ["network", "letterbox", "decode"])
def test_errors_of_the_backend_are_one_line(
    opened: Engine, error: Exception, words: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        if place == "network":
            patch.setattr(opened, "_session", types.SimpleNamespace(run=fail))
        elif place == "letterbox":
            patch.setattr(opened, "_preprocess", fail)
        else:
            patch.setattr(fairmot.engine.onnxruntime, "decode", fail)
        with pytest.raises(EngineError, match=words) as caught:
            opened.detect([Frame(1, 0.0, IMAGE)])
    assert isinstance(caught.value, UserError)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    assert len(opened.detect([Frame(1, 0.0, IMAGE)])[0]) == 1  # it may be used again


@pytest.mark.parametrize("bug", [RuntimeError("a bug"), ValueError("out of memory? no"), KeyError("x")])
def test_bugs_keep_their_traceback(opened: Engine, bug: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise bug

    monkeypatch.setattr(fairmot.engine.onnxruntime, "decode", fail)
    with pytest.raises(type(bug)):
        opened.detect([Frame(1, 0.0, IMAGE)])


def test_memory_that_ends_while_a_model_is_opened(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise runtime.RuntimeException(ALLOCATION)

    monkeypatch.setattr(fairmot.engine.onnxruntime.onnxruntime, "InferenceSession", fail)
    with pytest.raises(EngineError, match=r"Memory ran out while ONNX Runtime .* opened the model: lower --size"):
        open_engine(EngineSettings(weights=weights, backend="onnxruntime"))


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        (["1: [x.cpp] Error Code 1: Cuda Runtime (out of memory)"], "The GPU ran out of memory .*lower --batch"),
        (["first", "3: Parameter check\n failed."], r"could not run the model \(3: Parameter check failed\): start"),
        ([], "it gives no reason"),
    ],
)
def test_messages_of_what_tensorrt_cannot_run(errors: list[str], words: str) -> None:
    error = run_failure("10.16.1", errors)
    assert isinstance(error, EngineError)
    with pytest.raises(EngineError, match=words):
        raise error


@pytest.mark.parametrize(
    ("errors", "words"),
    [(["first", "1: Serialization\n failed."], "1: Serialization failed"), ([], "gives no reason")],
)
def test_messages_of_plans_that_tensorrt_refuses(errors: list[str], words: str) -> None:
    with pytest.raises(ModelError, match=rf"TensorRT 10\.16\.1 refuses the plan .*{words}.*: build it again with"):
        raise load_failure("10.16.1", errors)


@pytest.mark.parametrize(
    "advice",
    [
        "",
        "\nSearch for `cudaErrorIllegalAddress' in https://docs.nvidia.com/x.html for more information.",
        "\nCUDA kernel errors might be asynchronously reported at some other API call\nFor debugging pass ...",
    ],
)
def test_messages_of_cuda_lose_its_advice(advice: str) -> None:
    error = cuda_failure("running the model", f"CUDA error: an illegal memory access was encountered{advice}")
    assert str(error).startswith(
        "The GPU failed while running the model (CUDA error: an illegal memory access was encountered): start again"
    )
