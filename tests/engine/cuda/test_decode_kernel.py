"""The decode kernels, run on the CPU from their source."""

from __future__ import annotations

import cuda_on_cpu
import kernel_checks
import numpy as np
import pytest
import torch
from cuda_on_cpu import CudaOnCpu
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_checks import check_decode, decode_kernel, random_heads

pytestmark = pytest.mark.skipif(cuda_on_cpu.COMPILER is None, reason="needs g++")


@pytest.fixture(scope="module")
def gpu(tmp_path_factory: pytest.TempPathFactory) -> CudaOnCpu:
    return CudaOnCpu(tmp_path_factory.mktemp("kernels"))


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 12), st.integers(1, 12)),
    embedding_size=st.sampled_from([0, 1, 5, 40]),
    levels=st.integers(1, 10),
    limit=st.integers(1, 40),
    raw=st.booleans(),
    mode=st.sampled_from(["exact", "reference"]),
    class_boxes=st.booleans(),
    points=st.sampled_from([0, 0, 1, 5, 17]),  # one warp has lanes for 16
)
@settings(max_examples=40, deadline=None)
def test_equals_the_numpy_decoder(gpu, seed, shape, embedding_size, levels, limit, raw, mode, class_boxes, points):
    heads = random_heads(seed, shape, embedding_size, levels, raw, 1.0, class_boxes, points)
    kernel = decode_kernel(gpu, shape, embedding_size, limit, 0.4, raw, class_boxes, points)
    check_decode(gpu, kernel, heads, limit, 0.4, raw, mode)


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize(
    ("shape", "levels", "limit"),
    [
        pytest.param((1, 1, 80, 80), 1, 50, id="4096 equal scores and more"),
        pytest.param((2, 1, 80, 80), 10**6, 50, id="more candidates than are sorted"),
        pytest.param((1, 80, 12, 12), 10**6, 100, id="80 classes"),
        pytest.param((1, 80, 12, 12), 3, 5000, id="more detections than shared memory sorts"),
        pytest.param((1, 2, 5, 7), 4, 500, id="more slots than cells"),
        pytest.param((1, 1, 65, 63), 1, 4096, id="as many as shared memory sorts"),
    ],
)
def test_any_number_of_candidates(gpu: CudaOnCpu, shape, levels, limit, raw) -> None:
    heads = random_heads(5, shape, 3, levels, raw)
    kernel = decode_kernel(gpu, shape, 3, limit, 0.1, raw)
    check_decode(gpu, kernel, heads, limit, 0.1, raw)


@pytest.mark.parametrize(
    ("classes", "levels", "limit", "raw"),
    [
        pytest.param(1, 5, 100, False, id="one class"),
        pytest.param(2, 1, 37, True, id="ties"),
        pytest.param(20, 10**6, 100, False, id="20 classes"),
        pytest.param(80, 3, 100, False, id="80 classes, ties"),
        pytest.param(80, 3, 100, True, id="80 classes, raw"),
        pytest.param(90, 10**6, 12000, False, id="more slots than candidates"),
    ],
)
def test_boxes_of_a_class_and_landmarks(gpu: CudaOnCpu, classes, levels, limit, raw) -> None:
    shape = (2, classes, 9, 13)
    heads = random_heads(10 + classes, shape, 0, levels, raw, 1.0, class_boxes=True, points=5)
    check_decode(gpu, decode_kernel(gpu, shape, 0, limit, 0.1, raw, True, 5), heads, limit, 0.1, raw)


def test_all_scores_equal(gpu: CudaOnCpu) -> None:
    shape = (1, 2, 60, 60)
    heads = random_heads(6, shape, 2, 1, False)
    heads.heatmap[:] = 0.5
    check_decode(gpu, decode_kernel(gpu, shape, 2, 77, 0.4, False), heads, 77, 0.4, False)


def test_one_kernel_for_frames_with_few_many_and_no_candidates(gpu: CudaOnCpu) -> None:
    shape = (2, 1, 80, 60)
    kernel = decode_kernel(gpu, shape, 4, 30, 0.4, False)
    for levels, share in [(1, 1.0), (10, 0.01), (10, 0.0), (10**6, 1.0), (7, 0.1)]:
        heads = random_heads(7, shape, 4, levels, False, share)
        heads.heatmap[1] *= 0.5  # the images of a batch differ
        check_decode(gpu, kernel, heads, 30, 0.4, False)


def test_threshold_is_strict_and_not_a_number_is_nothing(gpu: CudaOnCpu) -> None:
    shape = (1, 1, 2, 3)
    heads = random_heads(8, shape, 0, 1, False)
    at = np.float32(0.4)
    heads.heatmap[0, 0] = [[np.nextafter(at, np.float32(0)), at, np.nextafter(at, np.float32(1))], [np.nan, 0, np.inf]]
    check_decode(gpu, decode_kernel(gpu, shape, 0, 5, 0.4, False), heads, 5, 0.4, False)


def test_a_batch_may_be_smaller(gpu: CudaOnCpu) -> None:
    kernel = decode_kernel(gpu, (4, 1, 10, 10), 2, 20, 0.4, False)
    check_decode(gpu, kernel, random_heads(9, (3, 1, 10, 10), 2, 9, False), 20, 0.4, False)
    check_decode(gpu, kernel, random_heads(9, (1, 1, 10, 10), 2, 9, False), 20, 0.4, False)


def test_launches_do_not_depend_on_the_data(gpu: CudaOnCpu) -> None:
    kernel = decode_kernel(gpu, (1, 1, 80, 80), 2, 20, 0.4, False)
    for share in (0.0, 1.0):
        gpu.launches.clear()
        heads = kernel_checks.tensor_heads(gpu, random_heads(1, (1, 1, 80, 80), 2, 9, False, share))
        kernel.launch(heads, torch.ones(1, 4, dtype=torch.float64))
        assert gpu.launches == ["decode_collect", "decode_rank", "decode_gather"]


def test_wrong_tensors_are_refused(gpu: CudaOnCpu) -> None:
    kernel = decode_kernel(gpu, (2, 1, 10, 10), 2, 20, 0.4, False)
    transforms = torch.ones(2, 4, dtype=torch.float64)
    heads = kernel_checks.tensor_heads(gpu, random_heads(1, (2, 1, 10, 10), 2, 9, False))
    kernel.launch(heads, transforms)
    with pytest.raises(ValueError, match="transforms"):
        kernel.launch(heads, transforms.float())
    with pytest.raises(ValueError, match="3 images"):
        kernel.launch(kernel_checks.tensor_heads(gpu, random_heads(1, (3, 1, 10, 10), 2, 9, False)), transforms)
    with pytest.raises(ValueError, match="embedding"):
        kernel.launch(kernel_checks.tensor_heads(gpu, random_heads(1, (2, 1, 10, 10), 0, 9, False)), transforms)
    with pytest.raises(ValueError, match="heatmap"):
        kernel.launch(kernel_checks.tensor_heads(gpu, random_heads(1, (2, 2, 10, 10), 2, 9, False)), transforms)
    with pytest.raises(ValueError, match="score_threshold"):
        decode_kernel(gpu, (2, 1, 10, 10), 2, 20, -0.1, False)


@pytest.mark.parametrize(
    ("made_for", "given", "message"),
    [
        ({}, {"points": 1}, "The landmarks do not have 0 channels"),
        ({"points": 1}, {}, "The landmarks do not have 2 channels"),
        ({"points": 5}, {"points": 4}, "landmarks must be contiguous, float32, 2000 values"),
        ({"class_boxes": True}, {}, "box must be contiguous, float32, 2400 values"),
        ({}, {"class_boxes": True}, "box must be contiguous, float32, 800 values"),
    ],
)
def test_heads_of_another_kind_are_refused(gpu: CudaOnCpu, made_for, given, message) -> None:
    shape = (2, 3, 10, 10)
    kernel = decode_kernel(gpu, shape, 0, 20, 0.4, False, **made_for)
    heads = kernel_checks.tensor_heads(gpu, random_heads(1, shape, 0, 9, False, **given))
    with pytest.raises(ValueError, match=message):
        kernel.launch(heads, torch.ones(2, 4, dtype=torch.float64))


@pytest.mark.parametrize(
    ("classes", "rows", "columns", "fits"),
    [
        (1, 1, 2**31 - 2**24, True),
        (1, 1, 2**31 - 2**24 + 1, False),
        (80, 4096, 4096, True),
        (127, 4096, 4096, True),
        (128, 4096, 4096, False),
    ],
)
def test_heatmaps_beyond_32_bit_indices_are_refused(gpu: CudaOnCpu, classes, rows, columns, fits) -> None:
    if fits:
        assert decode_kernel(gpu, (1, classes, rows, columns), 0, 10, 0.4, False)
        return
    with pytest.raises(ValueError, match=f"{classes}x{rows}x{columns} is too large: at most 2130706432 elements"):
        decode_kernel(gpu, (1, classes, rows, columns), 0, 10, 0.4, False)
