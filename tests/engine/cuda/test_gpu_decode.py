"""The decode kernels on a GPU."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_checks import cell_transforms, check_decode, decode_kernel, random_heads, tensor_heads

from fairmot.engine.decode import decode
from fairmot.engine.letterbox import Letterbox

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def gpu():
    from fairmot.engine.cuda.gpu import Gpu

    return Gpu.open()


@pytest.mark.parametrize("mode", ["exact", "reference"])
@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize(
    ("shape", "embedding_size", "levels", "limit", "share"),
    [
        pytest.param((1, 1, 152, 272), 128, 1000, 500, 0.01, id="a usual frame"),
        pytest.param((8, 1, 152, 272), 128, 1000, 500, 0.01, id="a batch"),
        pytest.param((2, 1, 152, 272), 64, 10, 500, 0.05, id="ties"),
        pytest.param((2, 1, 152, 272), 8, 10, 500, 1.0, id="nearly every cell"),
        pytest.param((1, 1, 152, 272), 8, 1, 500, 1.0, id="equal scores everywhere"),
        pytest.param((2, 80, 128, 128), 0, 1000, 100, 0.001, id="80 classes"),
        pytest.param((1, 80, 128, 128), 0, 10**6, 100, 1.0, id="80 classes, nearly every cell"),
        pytest.param((1, 3, 152, 271), 5, 1000, 20000, 1.0, id="more detections than shared memory sorts"),
        pytest.param((3, 2, 7, 9), 3, 5, 500, 1.0, id="small and odd"),
        pytest.param((2, 1, 80, 144), 32, 10, 500, 0.0, id="nothing"),
    ],
)
def test_equals_the_numpy_decoder(gpu, shape, embedding_size, levels, limit, share, raw, mode) -> None:
    heads = random_heads(1, shape, embedding_size, levels, raw, share)
    kernel = decode_kernel(gpu, shape, embedding_size, limit, 0.4, raw)
    check_decode(gpu, kernel, heads, limit, 0.4, raw, mode)


@pytest.mark.parametrize("mode", ["exact", "reference"])
@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize(
    ("shape", "class_boxes", "points", "embedding_size", "levels", "limit", "share"),
    [
        pytest.param((1, 1, 128, 128), True, 0, 0, 1000, 100, 0.01, id="one class"),
        pytest.param((2, 2, 128, 128), True, 0, 64, 10, 100, 0.05, id="two classes, ties"),
        pytest.param((2, 20, 96, 96), True, 5, 0, 10, 100, 0.01, id="20 classes, ties"),
        pytest.param((8, 80, 128, 128), True, 0, 0, 1000, 100, 0.001, id="COCO, a batch"),
        pytest.param((1, 80, 128, 128), True, 5, 0, 10**6, 20000, 1.0, id="COCO, more than shared memory sorts"),
        pytest.param((1, 91, 33, 47), True, 17, 3, 4, 500, 0.1, id="odd"),
        pytest.param((4, 1, 120, 160), False, 5, 0, 100, 500, 0.01, id="faces"),
    ],
)
def test_boxes_of_a_class_and_landmarks(
    gpu, shape, class_boxes, points, embedding_size, levels, limit, share, raw, mode
) -> None:
    heads = random_heads(2, shape, embedding_size, levels, raw, share, class_boxes, points)
    kernel = decode_kernel(gpu, shape, embedding_size, limit, 0.3, raw, class_boxes, points)
    check_decode(gpu, kernel, heads, limit, 0.3, raw, mode)


def test_random_shapes(gpu) -> None:
    random = np.random.default_rng(3)
    for seed in range(30):
        shape = tuple(random.integers(1, [4, 5, 90, 90]).tolist())
        size, levels, limit = int(random.integers(0, 140)), int(random.integers(1, 50)), int(random.integers(1, 6000))
        threshold, raw = float(random.random()), bool(seed % 2)
        heads = random_heads(seed, shape, size, levels, raw, float(random.random()))
        kernel = decode_kernel(gpu, shape, size, limit, threshold, raw)
        check_decode(gpu, kernel, heads, limit, threshold, raw)


def test_one_kernel_for_frames_with_few_many_and_no_candidates(gpu) -> None:
    shape = (2, 1, 152, 272)
    kernel = decode_kernel(gpu, shape, 16, 300, 0.4, False)
    for levels, share in [(1, 1.0), (10, 0.01), (10, 0.0), (10**6, 1.0), (7, 0.1)]:
        heads = random_heads(7, shape, 16, levels, False, share)
        heads.heatmap[1] *= 0.5
        check_decode(gpu, kernel, heads, 300, 0.4, False)


def test_a_captured_launch_finds_what_is_new(gpu) -> None:
    import torch

    shape = (1, 1, 152, 272)
    kernel = decode_kernel(gpu, shape, 16, 300, 0.4, False)
    transforms = gpu.upload(cell_transforms([Letterbox.fit((1088, 608), (1088, 608))], 1, "exact"))
    many = [random_heads(seed, shape, 16, 50, False, share) for seed, share in enumerate((0.01, 0.5, 0.0, 0.002))]
    static = tensor_heads(gpu, many[0])
    kernel.launch(static, transforms)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=gpu.stream):
        kernel.launch(static, transforms)
    for heads in many:
        with torch.cuda.stream(gpu.stream):
            for (_, tensor), (_, array) in zip(static.named(), heads.named(), strict=True):
                tensor.copy_(torch.from_numpy(array))
            graph.replay()
        gpu.synchronize()
        (found,) = kernel.unpack(kernel.packed.cpu().numpy(), 1)
        (expected,) = decode(heads, 0.4, 300)
        for name in ("tlbr", "scores", "class_ids", "embeddings"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
