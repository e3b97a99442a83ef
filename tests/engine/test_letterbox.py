"""The letterbox against FairMOT's own steps, written plainly, and its inverse."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import blob_network

from fairmot.engine import Letterbox, ModelInfo, map_boxes
from fairmot.engine.letterbox import Preprocessor, letterbox

SIZES = [(768, 576), (1920, 1080), (640, 480), (1088, 608), (320, 240), (480, 854), (3, 200), (1, 1), (1281, 719)]


def plain_letterbox(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """The steps of the design notes, one by one."""
    ratio = min(height / image.shape[0], width / image.shape[1])
    new_width, new_height = max(1, round(image.shape[1] * ratio)), max(1, round(image.shape[0] * ratio))
    dw, dh = (width - new_width) / 2, (height - new_height) / 2
    if image.shape[:2] != (new_height, new_width):
        image = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_AREA)
    return cv2.copyMakeBorder(
        image,
        round(dh - 0.1),
        round(dh + 0.1),
        round(dw - 0.1),
        round(dw + 0.1),
        cv2.BORDER_CONSTANT,
        value=(127.5, 127.5, 127.5),
    )


@pytest.mark.parametrize("target", [(1088, 608), (576, 320), (320, 576)])
@pytest.mark.parametrize("source", SIZES)
def test_pixels_equal_the_plain_steps(source: tuple[int, int], target: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (source[1], source[0], 3), np.uint8)
    expected = plain_letterbox(image, *target)
    geometry = Letterbox.fit(source, target)
    np.testing.assert_array_equal(letterbox(image, geometry), expected)
    out = np.zeros((target[1], target[0], 3), np.uint8)
    assert letterbox(image, geometry, out=out) is out
    np.testing.assert_array_equal(out, expected)


def test_the_known_case_of_1080p() -> None:
    geometry = Letterbox.fit((1920, 1080), (1088, 608))
    assert (geometry.resized, geometry.left, geometry.top) == ((1081, 608), 3, 0)
    assert Letterbox.fit((1920, 1080), (1088, 608)) is geometry


def test_an_image_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="10x20"):
        letterbox(np.zeros((20, 10, 3), np.uint8), Letterbox.fit((20, 10), (64, 32)))


@given(
    source=st.tuples(st.integers(1, 4000), st.integers(1, 4000)),
    target=st.tuples(st.integers(1, 40), st.integers(1, 40)).map(lambda cells: (32 * cells[0], 32 * cells[1])),
)
@settings(max_examples=300)
def test_the_frame_fits_and_exact_box_mapping_inverts_it(source: tuple[int, int], target: tuple[int, int]) -> None:
    box = Letterbox.fit(source, target)
    right = target[0] - box.left - box.resized[0]
    bottom = target[1] - box.top - box.resized[1]
    assert 0 <= box.left <= right <= box.left + 1
    assert 0 <= box.top <= bottom <= box.top + 1
    # The corners of the frame within the input go back to the corners of the frame.
    corners = np.float32([[box.left, box.top, box.left + box.resized[0], box.top + box.resized[1]]]) / 4
    np.testing.assert_allclose(map_boxes(corners, box, 4), [[0, 0, *source]], atol=2e-3)


@given(
    source=st.tuples(st.integers(16, 4000), st.integers(16, 4000)),
    target=st.sampled_from([(1088, 608), (576, 320), (320, 576), (512, 512)]),
    tlbr=st.lists(st.floats(-20, 300, width=32), min_size=4, max_size=4),
)
@settings(max_examples=200)
def test_the_reference_mode_is_the_affine_of_fairmot(
    source: tuple[int, int], target: tuple[int, int], tlbr: list[float]
) -> None:
    """`get_affine_transform` by three points and OpenCV, as CenterNet and FairMOT compute it."""
    width, height = source
    columns, rows = target[0] / 4, target[1] / 4
    scale = max(target[0] / target[1] * height, width)
    ours = np.array([[width / 2, height / 2], [width / 2, height / 2 - scale / 2]])
    cells = np.array([[columns / 2, rows / 2], [columns / 2, rows / 2 - columns / 2]])

    def three(points: np.ndarray) -> np.ndarray:
        across = points[0] - points[1]
        return np.float32([*points, points[1] + [-across[1], across[0]]])

    affine = cv2.getAffineTransform(three(cells), three(ours))
    expected = [affine @ [*tlbr[:2], 1], affine @ [*tlbr[2:], 1]]
    found = map_boxes(np.float32([tlbr]), Letterbox.fit(source, target), 4, "reference")
    np.testing.assert_allclose(found[0], np.ravel(expected), rtol=1e-5, atol=1e-5 * max(source) + 1e-3)


def test_the_reference_mode_at_1088x608() -> None:
    """The formula of the design notes, with its numbers."""
    scale = max(1088 / 608 * 1080, 1920)
    expected = [(10 - 136) * scale / 272 + 960, (20 - 76) * scale / 272 + 540]
    found = map_boxes(np.float32([[10, 20, 10, 20]]), Letterbox.fit((1920, 1080), (1088, 608)), 4, "reference")
    np.testing.assert_allclose(found, [expected * 2], rtol=1e-6)


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_the_tensor_is_normalized_in_float32(tmp_path: Path, order: str) -> None:
    metadata = blob_network.metadata(channel_order=order, mean="0.408,0.447,0.47", std="0.289,0.274,0.278", border="7")
    info = ModelInfo.read(blob_network.save(tmp_path / "model.onnx", blob_network.build(metadata)))
    preprocess = Preprocessor(info, (96, 64))
    random = np.random.default_rng(3)
    images = [random.integers(0, 256, (height, width, 3), np.uint8) for height, width in [(64, 96), (200, 70), (9, 30)]]
    batch, geometries = preprocess(images)
    assert batch.dtype == np.float32
    assert batch.shape == (3, 3, 64, 96)
    for tensor, image, geometry in zip(batch, images, geometries, strict=True):
        canvas = letterbox(image, geometry, border=7)
        channels = canvas[..., ::-1] if order == "rgb" else canvas
        scaled = channels.astype(np.float32) / np.float32(255)
        expected = (scaled - np.float32(info.mean)) / np.float32(info.std)
        np.testing.assert_array_equal(tensor, expected.transpose(2, 0, 1))


def test_buffers_are_kept_and_grow(tmp_path: Path) -> None:
    preprocess = Preprocessor(ModelInfo.read(blob_network.save(tmp_path / "model.onnx")), (96, 64))
    image = np.full((64, 96, 3), 51, np.uint8)
    first, _ = preprocess([image])
    second, _ = preprocess([image])
    assert np.shares_memory(first, second)
    both, _ = preprocess([image, image + 51])
    np.testing.assert_array_equal(both[0], np.float32(0.2))
    np.testing.assert_array_equal(both[1], np.float32(102) / np.float32(255))
    assert np.shares_memory(both, preprocess([image])[0])


@pytest.mark.parametrize(
    ("array", "error", "words"),
    [
        (np.zeros((20, 30), np.uint8), ValueError, r"\(20, 30\)"),
        (np.zeros((20, 30, 1), np.uint8), ValueError, r"\(20, 30, 1\)"),
        (np.zeros((20, 30, 4), np.uint8), ValueError, r"\(20, 30, 4\)"),
        (np.zeros((20, 30, 3), np.float32), TypeError, "float32"),
        (np.zeros((20, 30, 3), np.uint16), TypeError, "uint16"),
        (np.zeros((20, 30, 3), np.int8), TypeError, "int8"),
        (np.zeros((0, 30, 3), np.uint8), ValueError, "not above 0"),
        (np.zeros((20, 0, 3), np.uint8), ValueError, "not above 0"),
    ],
)
def test_images_of_another_kind_never_show_the_one_before(
    array: np.ndarray, error: type[Exception], words: str, tmp_path: Path
) -> None:
    preprocess = Preprocessor(ModelInfo.read(blob_network.save(tmp_path / "blobs.onnx")), (96, 64))
    preprocess([np.full((20, 30, 3), 255, np.uint8)])
    with pytest.raises(error, match=words):
        preprocess([array])
    if array.size and array.ndim > 1:
        with pytest.raises(error, match=words):
            letterbox(array, Letterbox.fit((30, 20), (96, 64)))


@pytest.mark.parametrize(
    ("out", "error"),
    [
        (np.zeros((64, 96, 3), np.float32), TypeError),
        (np.zeros((64, 96), np.uint8), ValueError),
        (np.zeros((64, 96, 4), np.uint8), ValueError),
        (np.zeros((96, 64, 3), np.uint8), ValueError),
    ],
)
def test_a_canvas_of_another_kind_is_refused(out: np.ndarray, error: type[Exception]) -> None:
    with pytest.raises(error, match="out"):
        letterbox(np.zeros((20, 30, 3), np.uint8), Letterbox.fit((30, 20), (96, 64)), out=out)


def test_what_opencv_puts_elsewhere_is_brought_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """As OpenCV does, silently, for a `dst` that does not suit."""
    image = np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8)
    geometry, out, real = Letterbox.fit((30, 20), (96, 64)), np.zeros((64, 96, 3), np.uint8), cv2.copyMakeBorder
    expected = letterbox(image, geometry)
    monkeypatch.setattr(cv2, "copyMakeBorder", lambda *args, dst=None, **kwargs: real(*args, **kwargs))
    assert letterbox(image, geometry, out=out) is out
    np.testing.assert_array_equal(out, expected)


def test_views_of_every_kind_are_read_as_copies_are() -> None:
    big = np.random.default_rng(3).integers(0, 256, (90, 120, 3), np.uint8)
    locked = big.copy()
    locked.setflags(write=False)
    one_row, one_pixel = np.broadcast_to(big[:1], big.shape), np.broadcast_to(big[0, 0], (50, 70, 3))
    views = [
        big[::-1],
        big[:, ::-1],
        big[..., ::-1],
        big[5:50:2, ::3],
        np.asfortranarray(big),
        locked,
        one_row,
        one_pixel,
    ]
    for view in views:
        geometry = Letterbox.fit((view.shape[1], view.shape[0]), (96, 64))
        out = np.zeros((100, 200, 3), np.uint8)[7:71, 9:105]
        np.testing.assert_array_equal(
            letterbox(view, geometry, out=out), letterbox(np.array(view, order="C"), geometry)
        )


@pytest.mark.parametrize("size", [(1, 1), (1, 100_000), (100_000, 1), (2, 5000), (7, 3)])
def test_frames_as_narrow_as_can_be(size: tuple[int, int]) -> None:
    geometry = Letterbox.fit(size, (96, 64))
    canvas = letterbox(np.full((size[1], size[0], 3), 255, np.uint8), geometry)
    assert canvas.shape == (64, 96, 3)
    assert int((canvas == 255).all(axis=2).sum()) == geometry.resized[0] * geometry.resized[1] > 0
