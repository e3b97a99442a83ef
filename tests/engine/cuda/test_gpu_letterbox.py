"""The letterbox kernel on a GPU."""

from __future__ import annotations

import kernel_checks
import numpy as np
import pytest

from fairmot.core.records import Frame
from fairmot.engine.letterbox import Letterbox

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def gpu():
    from fairmot.engine.cuda.gpu import Gpu

    return Gpu.open()


@pytest.mark.parametrize("layout", ["chw_float32", "hwc4_float16", "hwc8_float16"])
@pytest.mark.parametrize(
    "sources",
    [
        [(1920, 1080)],
        [(1088, 608)],
        [(2176, 1216)],
        [(3840, 2160), (1281, 719), (7, 4001)],
        [(320, 240), (333, 77), (1, 1), (1087, 609)],
    ],
    ids=str,
)
def test_bgr_equals_opencv(gpu, sources, layout) -> None:
    kernel_checks.check_bgr_letterbox(gpu, sources, (1088, 608), kernel_checks.model_facts(), layout)
    kernel_checks.check_bgr_letterbox(gpu, sources, (576, 320), kernel_checks.model_facts("bgr", 0, True), layout)


def test_bgr_of_random_sizes(gpu) -> None:
    random = np.random.default_rng(1)
    for seed in range(25):
        source = tuple(random.integers(1, 1500, 2).tolist())
        size = tuple((32 * random.integers(1, 30, 2)).tolist())
        kernel_checks.check_bgr_letterbox(gpu, [source], size, kernel_checks.model_facts(), "chw_float32", seed)


@pytest.mark.parametrize("resize", ["linear", "linear-centered"])
@pytest.mark.parametrize("layout", ["chw_float32", "hwc4_float16", "hwc8_float16"])
def test_bilinear_modes_equal_opencv(gpu, resize, layout) -> None:
    model = kernel_checks.model_facts("bgr", 0, True, resize)
    sources = [(1920, 1080), (640, 480), (512, 512), (333, 777), (1, 1), (3, 200), (7, 4001), (1087, 609)]
    for size in ((512, 512), (1088, 608)):
        kernel_checks.check_bgr_letterbox(gpu, sources, size, model, layout)
    for pixel_format in ("yuv420p", "nv12"):
        for source in [(1920, 1080), (640, 362), (54, 38)]:
            kernel_checks.check_yuv_letterbox(gpu, source, (512, 512), pixel_format, "ITU709", False, layout, resize)


@pytest.mark.parametrize("pixel_format", ["bgr24", "yuv420p", "nv12"])
@pytest.mark.parametrize("layout", ["chw_float32", "hwc4_float16", "hwc8_float16"])
def test_any_warp(gpu, pixel_format, layout) -> None:
    random = np.random.default_rng(1)
    for seed in range(10):
        source = tuple((2 * random.integers(1, 500, 2)).tolist())
        scale, shift = random.uniform(0.1, 3, 2), random.uniform(-200, 200, 2)
        geometry = Letterbox.warp(source, (512, 384), tuple(scale.tolist()), tuple(shift.tolist()))
        kernel_checks.check_warp(gpu, pixel_format, layout, geometry, seed)


@pytest.mark.parametrize("layout", ["chw_float32", "hwc4_float16", "hwc8_float16"])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("color_space", ["ITU601", "ITU709"])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "nv12"])
def test_yuv_equals_swscale_and_the_formula(gpu, pixel_format, color_space, full_range, layout) -> None:
    for source in [(1920, 1080), (640, 362), (1088, 608)]:
        kernel_checks.check_yuv_letterbox(gpu, source, (1088, 608), pixel_format, color_space, full_range, layout)


def test_a_captured_launch_reads_the_new_frame(gpu) -> None:
    import torch

    model = kernel_checks.model_facts()
    random = np.random.default_rng(2)
    frames = [Frame(1, 0, random.integers(16, 236, (1620, 1920), np.uint8), "yuv420p") for _ in range(3)]
    kernel = kernel_checks.letterbox_kernel(gpu, (1088, 608), model, "chw_float32")
    source = gpu.upload(frames[0].pixels.reshape(-1))
    out = gpu.zeros(kernel.input_shape(1), torch.float32)
    place = Letterbox.fit((1920, 1080), (1088, 608))
    kernel.launch(source, "yuv420p", "ITU601", False, place, out, 0)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=gpu.stream):
        kernel.launch(source, "yuv420p", "ITU601", False, place, out, 0)
    for frame in frames:
        with torch.cuda.stream(gpu.stream):
            source.copy_(torch.from_numpy(frame.pixels.reshape(-1)))
            graph.replay()
        gpu.synchronize()
        expected = kernel_checks.run_letterbox(gpu, [frame], (1088, 608), model, "chw_float32")
        np.testing.assert_array_equal(out.cpu().numpy(), expected)
