"""The letterbox kernel, run on the CPU from its source."""

from __future__ import annotations

from dataclasses import replace

import cuda_on_cpu
import cv2
import kernel_checks
import numpy as np
import pytest
import torch
from cuda_on_cpu import CudaOnCpu
from hypothesis import given, settings
from hypothesis import strategies as st

from fairmot.core.records import Frame
from fairmot.engine.cuda.kernels.letterbox import axis_taps, yuv_matrix
from fairmot.engine.graph.input_scale import IMAGE_SCALE, HalfImages
from fairmot.engine.letterbox import Letterbox, Preprocessor
from fairmot.engine.preprocessing import Resize

pytestmark = pytest.mark.skipif(cuda_on_cpu.COMPILER is None, reason="needs g++")


@pytest.fixture(scope="module")
def gpu(tmp_path_factory: pytest.TempPathFactory) -> CudaOnCpu:
    return CudaOnCpu(tmp_path_factory.mktemp("kernels"))


def test_nothing_else_is_launched(gpu: CudaOnCpu) -> None:
    gpu.launches.clear()
    kernel_checks.check_bgr_letterbox(gpu, [(96, 64)], (96, 64), kernel_checks.model_facts(), "hwc4_float16")
    assert gpu.launches == ["letterbox_bgr24_hwc4_float16"]


@pytest.mark.parametrize("layout", ["chw_float32", "hwc4_float16", "hwc8_float16"])
@pytest.mark.parametrize(
    "sources",
    [[(96, 64)], [(192, 128)], [(288, 192), (200, 70)], [(9, 30), (1, 1), (3, 200)], [(97, 64), (640, 359)]],
    ids=str,
)
def test_bgr_equals_opencv(gpu: CudaOnCpu, sources: list[tuple[int, int]], layout: str) -> None:
    kernel_checks.check_bgr_letterbox(gpu, sources, (96, 64), kernel_checks.model_facts(), layout)
    kernel_checks.check_bgr_letterbox(gpu, sources, (64, 96), kernel_checks.model_facts("bgr", 7, True), layout)


@pytest.mark.parametrize("resize", ["linear", "linear-centered"])
@pytest.mark.parametrize("layout", ["chw_float32", "hwc4_float16", "hwc8_float16"])
def test_bilinear_modes_equal_opencv(gpu: CudaOnCpu, resize: Resize, layout: str) -> None:
    model = kernel_checks.model_facts("bgr", 0, True, resize)
    sources = [(96, 64), (288, 192), (200, 70), (9, 30), (1, 1), (3, 200), (97, 64), (640, 359)]
    for size in ((64, 64), (96, 64), (64, 96)):
        kernel_checks.check_bgr_letterbox(gpu, sources, size, model, layout)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "nv12"])
def test_bilinear_modes_on_yuv(gpu: CudaOnCpu, pixel_format: str) -> None:
    for source, resize, layout in [
        ((192, 108), "linear", "chw_float32"),
        ((54, 38), "linear-centered", "hwc4_float16"),
        ((130, 96), "linear-centered", "chw_float32"),
    ]:
        kernel_checks.check_yuv_letterbox(gpu, source, (128, 96), pixel_format, "ITU709", False, layout, resize)


@pytest.mark.parametrize("pixel_format", ["bgr24", "yuv420p", "nv12"])
@pytest.mark.parametrize("layout", ["chw_float32", "hwc8_float16"])
def test_any_warp(gpu: CudaOnCpu, pixel_format: str, layout: str) -> None:
    for source, scale, shift in [
        ((90, 82), (1.0, 1.0), (3.0, -9.0)),
        ((150, 40), (0.37, 1.9), (11.3, -4.6)),
        ((2, 2), (7.0, 0.3), (-1.5, 30.0)),
        ((64, 64), (1.0, 1.0), (500.0, 0.0)),
    ]:
        kernel_checks.check_warp(gpu, pixel_format, layout, Letterbox.warp(source, (96, 64), scale, shift))


def test_a_geometry_of_another_kernel_is_refused(gpu: CudaOnCpu) -> None:
    frame, out = torch.zeros(240, dtype=torch.uint8), torch.zeros(1, 3, 64, 96)
    kernel = kernel_checks.letterbox_kernel(gpu, (96, 64), kernel_checks.model_facts(), "chw_float32")
    for geometry in (Letterbox.fit((10, 8), (96, 64), "linear"), Letterbox.fit((10, 8), (64, 96))):
        with pytest.raises(ValueError, match="border 128 cannot run"):
            kernel.launch(frame, "bgr24", "ITU601", False, geometry, out, 0)


@pytest.mark.parametrize("layout", ["hwc4_float16", "hwc8_float16"])
def test_half_precision_images_of_an_engine_are_exact_levels(gpu: CudaOnCpu, layout: str) -> None:
    """With the mean and the standard deviation that `TensorRTEngine` gives the kernel, for CenterNet's mean too."""
    model = kernel_checks.model_facts()
    frame = np.random.default_rng(4).integers(0, 256, (150, 200, 3), np.uint8)
    (expected,) = Preprocessor(model, (96, 64))([frame])[0]
    for mean in (model.mean, (0.408, 0.447, 0.47)):
        black = HalfImages(mean, (0.289, 0.274, 0.278)).black
        scaled = replace(model, mean=tuple(black.tolist()), std=(1 / IMAGE_SCALE,) * 3)
        (found,) = kernel_checks.run_letterbox(gpu, [Frame(1, 0, frame)], (96, 64), scaled, layout)
        eighths = np.rint(black * 255 * 8)[:, None, None]
        np.testing.assert_array_equal(found * 256 * 8, np.rint(expected * 255) * 8 - eighths)


@given(
    source=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)).map(lambda cells: (32 * cells[0], 32 * cells[1])),
)
@settings(max_examples=40, deadline=None)
def test_bgr_of_any_size(gpu: CudaOnCpu, source: tuple[int, int], size: tuple[int, int]) -> None:
    kernel_checks.check_bgr_letterbox(gpu, [source], size, kernel_checks.model_facts(), "chw_float32")


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("color_space", ["ITU601", "ITU709"])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "nv12"])
def test_yuv_equals_swscale_and_the_formula(
    gpu: CudaOnCpu, pixel_format: str, color_space: str, full_range: bool
) -> None:
    for source, layout in [((192, 108), "chw_float32"), ((54, 38), "hwc4_float16"), ((128, 96), "chw_float32")]:
        kernel_checks.check_yuv_letterbox(gpu, source, (128, 96), pixel_format, color_space, full_range, layout)


def test_nv12_and_yuv420p_are_the_same_planes(gpu: CudaOnCpu) -> None:
    random = np.random.default_rng(3)
    luma, u, v = random.integers(0, 256, (50, 66)), *random.integers(0, 256, (2, 25, 33))
    planar = np.concatenate([luma.ravel(), u.ravel(), v.ravel()])
    interleaved = np.concatenate([luma.ravel(), np.stack([u, v], axis=-1).ravel()])
    results = [
        kernel_checks.run_letterbox(
            gpu,
            [Frame(1, 0, flat.astype(np.uint8).reshape(75, 66), pixel_format)],
            (64, 32),
            kernel_checks.model_facts(),
            "chw_float32",
        )
        for flat, pixel_format in ((planar, "yuv420p"), (interleaved, "nv12"))
    ]
    np.testing.assert_array_equal(*results)


def test_wrong_tensors_are_refused(gpu: CudaOnCpu) -> None:
    kernel = kernel_checks.letterbox_kernel(gpu, (96, 64), kernel_checks.model_facts(), "chw_float32")
    place = Letterbox.fit((10, 8), (96, 64))
    out = torch.zeros(kernel.input_shape(2))
    frame = torch.zeros(240, dtype=torch.uint8)
    kernel.launch(frame, "bgr24", "ITU601", False, place, out, 1)
    for wrong in (frame[:-1], frame.float(), torch.zeros(480, dtype=torch.uint8)[::2]):
        with pytest.raises(ValueError, match="source"):
            kernel.launch(wrong, "bgr24", "ITU601", False, place, out, 0)
    with pytest.raises(ValueError, match="out must"):
        kernel.launch(frame, "bgr24", "ITU601", False, place, out.half(), 0)
    with pytest.raises(ValueError, match="Image 2"):
        kernel.launch(frame, "bgr24", "ITU601", False, place, out, 2)


@given(source=st.integers(1, 500), resized=st.integers(1, 500))
@settings(max_examples=300, deadline=None)
def test_taps_are_the_weights_of_opencv(source: int, resized: int) -> None:
    """Resizing the unit matrix along its rows shows the weight of every source pixel."""
    weights = np.zeros((source, resized), np.float32)
    for column, (first, count, head, body, tail) in enumerate(axis_taps(source, resized).tolist()):
        assert 0 <= first < first + count <= source
        weights[first : first + count, column] = ([head] + [body] * (count - 2) + [tail])[:count]
    unit = np.eye(source, dtype=np.float32)
    expected = unit if source == resized else cv2.resize(unit, (resized, source), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(weights, expected, atol=2e-6)


def test_matrix_of_bt601() -> None:
    """The factors of FFmpeg's `ff_yuv2rgb_coeffs` in `libswscale/yuv2rgb.c`."""
    assert yuv_matrix("ITU601", False)[:5] == pytest.approx((76309, 104597, -25675, -53279, 132201), abs=2)
    assert yuv_matrix("ITU709", False)[1:5] == pytest.approx((117489, -13975, -34925, 138438), abs=2)
