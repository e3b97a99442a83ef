"""The bilinear resize modes against the steps of CenterNet and tensorRT_Pro, and their inverse."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import blob_network

from fairmot.engine import Letterbox, ModelInfo, map_boxes
from fairmot.engine.letterbox import Preprocessor, letterbox

SOURCES = [(640, 480), (1920, 1080), (333, 777), (512, 512), (100, 60), (1281, 719), (1, 1), (3, 200)]
LINEAR = ["linear", "linear-centered"]
SIZES = st.tuples(st.integers(1, 4000), st.integers(1, 4000))
TARGETS = st.tuples(st.integers(1, 40), st.integers(1, 40)).map(lambda cells: (32 * cells[0], 32 * cells[1]))


def centernet_matrix(source: tuple[float, float], side: float, target: tuple[int, int]) -> np.ndarray:
    """CenterNet's matrix by three points: the centers, half a side above them, and to the left of that."""
    center, middle = np.float32(source) / 2, np.float32(target) / 2
    points = []
    for origin, length in ((center, side), (middle, target[0])):
        above = origin + np.float32([0, -length / 2])
        points.append(np.float32([origin, above, above + np.float32([-length / 2, 0])]))
    return cv2.getAffineTransform(*points)


def tensorrt_pro_matrix(source: tuple[int, int], target: tuple[int, int]) -> np.ndarray:
    scale = min(target[0] / source[0], target[1] / source[1])
    rest = scale * 0.5 - 0.5
    return np.array(
        [
            [scale, 0, -scale * source[0] * 0.5 + target[0] * 0.5 + rest],
            [0, scale, -scale * source[1] * 0.5 + target[1] * 0.5 + rest],
        ]
    )


def matrix_of(geometry: Letterbox) -> np.ndarray:
    (x, y), (left, top) = geometry.scale, geometry.shift
    return np.array([[x, 0, left], [0, y, top]])


@pytest.mark.parametrize("resize", LINEAR)
@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_pixels_are_those_of_the_original_projects(source: tuple[int, int], resize: str) -> None:
    target = (512, 512)
    image = np.random.default_rng(1).integers(0, 256, (source[1], source[0], 3), np.uint8)
    matrix = (
        centernet_matrix(source, max(source), target) if resize == "linear" else tensorrt_pro_matrix(source, target)
    )
    expected = cv2.warpAffine(image, matrix, target, flags=cv2.INTER_LINEAR)
    geometry = Letterbox.fit(source, target, resize)
    np.testing.assert_allclose(matrix_of(geometry), matrix, atol=1e-10 * max(source))
    found = letterbox(image, geometry, 0)
    np.testing.assert_allclose(found.astype(int), expected.astype(int), atol=1)
    assert np.mean(found != expected) < 1e-3
    out = np.full((512, 512, 3), 77, np.uint8)
    assert letterbox(image, geometry, 0, out=out) is out
    np.testing.assert_array_equal(out, found)


@given(source=SIZES, target=TARGETS, resize=st.sampled_from(LINEAR))
@settings(max_examples=200)
def test_the_whole_frame_fits_and_boxes_return(source: tuple[int, int], target: tuple[int, int], resize: str) -> None:
    geometry = Letterbox.fit(source, target, resize)
    scale, shift = np.array(geometry.scale), np.array(geometry.shift)
    edge = 0.5 if resize == "linear-centered" else 0.0  # of the first pixel, where its center is 0
    low, high = scale * (0 - edge) + shift, scale * (np.array(source) - edge) + shift
    assert np.all(low >= -edge - 1e-6)
    assert np.all(high <= np.array(target) - edge + 1e-6)
    np.testing.assert_allclose(low + high, np.array(target) - 2 * edge, atol=1e-6)  # in the middle
    assert np.isclose(high - low, target).any()  # as large as possible
    boxes = np.float32([[0, 0, *source], [-7, 3, 2, 9]])
    cells = ((boxes.reshape(2, 2, 2) * scale + shift) / 4).reshape(2, 4).astype(np.float32)
    for mode in ("exact", "reference"):
        np.testing.assert_allclose(map_boxes(cells, geometry, 4, mode), boxes, atol=4e-6 * max(source) / min(scale))


@given(source=SIZES, tlbr=st.lists(st.floats(-20, 150, width=32), min_size=4, max_size=4))
@settings(max_examples=100)
def test_boxes_return_as_in_centernet(source: tuple[int, int], tlbr: list[float]) -> None:
    """`transform_preds`: the matrix between frame and output of 128x128, solved the other way round."""
    affine = cv2.invertAffineTransform(centernet_matrix(source, max(source), (128, 128)))
    expected = np.ravel([affine @ [*tlbr[:2], 1], affine @ [*tlbr[2:], 1]])
    found = map_boxes(np.float32([tlbr]), Letterbox.fit(source, (512, 512), "linear"), 4)
    np.testing.assert_allclose(found[0], expected, rtol=1e-6, atol=2e-6 * max(source))


@given(source=SIZES, target=TARGETS)
@settings(max_examples=100)
def test_scale_and_shift_of_area_are_its_exact_inverse(source: tuple[int, int], target: tuple[int, int]) -> None:
    geometry = Letterbox.fit(source, target)
    corners = np.array([[0, 0], source]) * geometry.scale + geometry.shift
    found = map_boxes((corners / 4).reshape(1, 4).astype(np.float32), geometry, 4)
    np.testing.assert_allclose(found, [[0, 0, *source]], atol=2e-3)


def model(tmp_path: Path, **changes: str) -> ModelInfo:
    metadata = blob_network.metadata(
        **{"channel_order": "bgr", "mean": "0.408,0.447,0.47", "std": "0.289,0.274,0.278", "border": "0"} | changes
    )
    return ModelInfo.read(blob_network.save(tmp_path / "blobs.onnx", blob_network.build(metadata)))


@pytest.mark.parametrize("resize", LINEAR)
def test_the_model_decides_and_one_image_is_prepared_alike(tmp_path: Path, resize: str) -> None:
    info = model(tmp_path, resize=resize)
    preprocess = Preprocessor(info, (96, 64))
    images = [
        np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)
        for height, width in [(64, 96), (200, 70), (9, 30)]
    ]
    batch, geometries = preprocess(images)
    assert geometries == [Letterbox.fit((image.shape[1], image.shape[0]), (96, 64), resize) for image in images]
    for tensor, image, geometry in zip(batch, images, geometries, strict=True):
        canvas = letterbox(image, geometry, 0).astype(np.float32) / np.float32(255)
        np.testing.assert_array_equal(
            tensor, ((canvas - np.float32(info.mean)) / np.float32(info.std)).transpose(2, 0, 1)
        )
        single = preprocess.prepare(image, geometry)
        np.testing.assert_array_equal(single, tensor)
        assert not np.shares_memory(single, batch)


def test_an_input_of_any_size_at_the_scale_of_the_frame(tmp_path: Path) -> None:
    """CenterNet's `--keep-res`: sides (s | 31) + 1, the frame as it is, around the middle."""
    info = model(tmp_path, resize="linear", channel_order="rgb")
    image = np.random.default_rng(4).integers(0, 256, (101, 70, 3), np.uint8)
    geometry = Letterbox.warp((70, 101), (96, 128), (1.0, 1.0), (96 / 2 - 70 // 2, 128 / 2 - 101 // 2))
    found = Preprocessor(info, (32, 32)).prepare(image, geometry)
    canvas = np.zeros((128, 96, 3), np.float32)
    canvas[14:115, 13:83] = image[..., ::-1]
    expected = (canvas / np.float32(255) - np.float32(info.mean)) / np.float32(info.std)
    np.testing.assert_allclose(found, expected.transpose(2, 0, 1), atol=1e-6)
    np.testing.assert_allclose(map_boxes(np.float32([[3.25, 3.5, 20.75, 28.75]]), geometry, 4), [[0, 0, 70, 101]])


def test_what_a_warp_leaves_outside_is_cropped() -> None:
    image = np.random.default_rng(5).integers(0, 256, (90, 80, 3), np.uint8)
    found = letterbox(image, Letterbox.warp((80, 90), (64, 32), (1.0, 1.0), (-5.0, -7.0)), 0)
    np.testing.assert_array_equal(found, image[7:39, 5:69])
    assert not letterbox(image, Letterbox.warp((80, 90), (64, 32), (1.0, 2.0), (65.0, 0.0)), 0).any()


def test_the_border_fades_in() -> None:
    image = np.full((10, 10, 3), 200, np.uint8)
    found = letterbox(image, Letterbox.warp((10, 10), (16, 16), (1.0, 1.0), (2.5, 3.0)), 100)
    np.testing.assert_array_equal(found[5, :, 0], [100] * 2 + [150] + [200] * 9 + [150] + [100] * 3)


@pytest.mark.parametrize(
    ("source", "scale", "shift", "words"),
    [
        ((0, 5), (1.0, 1.0), (0.0, 0.0), "not above 0"),
        ((5, 5), (1.0, 0.0), (0.0, 0.0), "scale"),
        ((5, 5), (-1.0, 1.0), (0.0, 0.0), "scale"),
        ((5, 5), (math.inf, 1.0), (0.0, 0.0), "scale"),
        ((5, 5), (math.nan, 1.0), (0.0, 0.0), "scale"),
        ((5, 5), (1.0, 1.0), (0.0, math.nan), "shift"),
    ],
)
def test_no_such_warp(
    source: tuple[int, int], scale: tuple[float, float], shift: tuple[float, float], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        Letterbox.warp(source, (32, 32), scale, shift)


def test_an_image_of_another_size_is_refused(tmp_path: Path) -> None:
    preprocess = Preprocessor(replace(model(tmp_path), resize="linear"), (96, 64))
    geometry = Letterbox.fit((20, 10), (96, 64), "linear")
    with pytest.raises(ValueError, match="10x20"):
        preprocess.prepare(np.zeros((20, 10, 3), np.uint8), geometry)
    with pytest.raises(TypeError, match="float32"):
        preprocess.prepare(np.zeros((10, 20, 3), np.float32), geometry)  # type: ignore[arg-type]
