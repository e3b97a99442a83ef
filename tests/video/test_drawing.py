from __future__ import annotations

import colorsys
import itertools

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from hypothesis import given, settings
from hypothesis import strategies as st

from fairmot.core import Frame, Tracks
from fairmot.core.records import ByteArray
from fairmot.video.canvas import Canvas
from fairmot.video.drawing import TRAIL_LENGTH, Trails, color_of, draw_tracks
from fairmot.video.planes import Layout, drawable, encodable, fitted, planes_of


def tracks(ids: list[int], boxes: list[tuple[float, float, float, float]]) -> Tracks:
    return Tracks(
        np.array(ids, np.int64),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(len(ids), 0.9, np.float32),
        np.zeros(len(ids), np.int64),
    )


def test_colors_are_stable_and_neighbors_differ() -> None:
    assert color_of(1) == color_of(1)
    hues = [colorsys.rgb_to_hsv(*(channel / 255 for channel in reversed(color_of(id_))))[0] for id_ in range(1, 200)]
    for first, second in itertools.pairwise(hues):
        assert min(abs(first - second), 1 - abs(first - second)) > 0.2
    assert len({color_of(id_) for id_ in range(1, 101)}) == 100


def test_trails_hold_the_middle_of_the_lower_edge() -> None:
    trails = Trails(3)
    for step in range(5):
        trails.update(tracks([7], [(10.0 + step, 20, 8, 30)]))
    assert trails.of(7).tolist() == [[16, 50], [17, 50], [18, 50]]
    assert trails.of(8).shape == (0, 2)


def test_trails_do_not_cross_gaps_and_forget() -> None:
    trails = Trails(5)
    trails.update(tracks([1, 2], [(0, 0, 2, 2), (50, 50, 2, 2)]))
    trails.update(tracks([2], [(51, 50, 2, 2)]))
    trails.update(tracks([1], [(90, 90, 2, 2)]))
    assert trails.of(1).tolist() == [[91, 92]]
    for _ in range(6):
        trails.update(Tracks.empty())
    assert len(trails) == 0


def test_memory_of_trails_is_bounded() -> None:
    trails = Trails()
    for id_ in range(5000):
        trails.update(tracks([id_], [(0, 0, 1, 1)]))
    assert len(trails) <= TRAIL_LENGTH + 1


def test_box_label_trail_and_caption_are_drawn_where_they_belong() -> None:
    image = np.zeros((300, 400, 3), np.uint8)
    trails = Trails()
    for left in (60.0, 80.0, 100.0):
        now = tracks([5], [(left, 100, 60, 120)])
        trails.update(now)
    draw_tracks(image, now, trails, "caption")
    color = np.array(color_of(5))
    for x, y in ((100, 160), (160, 160), (130, 100), (130, 220)):  # the four edges
        np.testing.assert_array_equal(image[y, x], color)
    assert image[218:223, 95].max(axis=0) == pytest.approx(color, rel=0.1)  # the trail, left of the box; smoothed
    np.testing.assert_array_equal(image[95, 101], color)  # the label's background, above the box
    assert (image[85:99, 100:120] == 0).all(axis=2).any() or (image[85:99, 100:120] == 255).all(axis=2).any()
    assert (image[:10, :60] == 32).all(axis=2).any()
    assert not image[150:170, 115:145].any()
    assert not image[250:, :].any()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(*[st.floats(-1e9, 1e9, width=32)] * 2, *[st.floats(0, 1e9, width=32)] * 2), min_size=1, max_size=4
    ),
    st.sampled_from([(1, 1), (3, 200), (48, 64), (720, 1280)]),
)
def test_any_box_can_be_drawn(boxes: list[tuple[float, float, float, float]], shape: tuple[int, int]) -> None:
    image = np.zeros((*shape, 3), np.uint8)
    now = tracks(list(range(1, len(boxes) + 1)), boxes)
    trails = Trails()
    trails.update(now)
    trails.update(now)
    draw_tracks(image, now, trails, "x")
    assert image.shape == (*shape, 3)


@pytest.mark.parametrize("caption", ["", "frame 1"])
def test_nothing_but_the_caption_without_tracks(caption: str) -> None:
    image = np.zeros((90, 160, 3), np.uint8)
    draw_tracks(image, Tracks.empty(), Trails(), caption)
    assert bool(image.any()) == bool(caption)


def test_labels_name_the_class_where_there_are_several() -> None:
    """With one name the image is that without; with several the label is as wide as its text."""
    found = Tracks(np.array([3]), np.float32([[100, 100, 40, 60]]), np.float32([0.9]), np.array([1]))
    images = {names: np.zeros((240, 400, 3), np.uint8) for names in ((), ("car",), ("person", "car"))}
    for names, image in images.items():
        draw_tracks(image, found, class_names=names)
    assert np.array_equal(images[()], images[("car",)])
    widths = {names: int(image[90].any(axis=1).sum()) for names, image in images.items()}
    assert widths[("person", "car")] > 2 * widths[()] > 0


LAYOUTS = [
    Layout("yuv420p"),
    Layout("nv12"),
    Layout("yuv420p", "ITU709"),
    Layout("yuv420p", "ITU601", full_range=True),
    Layout("nv12", "ITU709", full_range=True),
]


def planes(image: ByteArray, layout: Layout) -> Frame:
    """The planes of a BGR image, by swscale."""
    converted = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(
        format=layout.pixel_format,
        dst_colorspace=Colorspace[layout.color_space],
        src_color_range=ColorRange.JPEG,
        dst_color_range=layout.color_range,
    )
    pixels = np.zeros((image.shape[0] * 3 // 2, image.shape[1]), np.uint8)
    for target, plane in zip(planes_of(pixels, layout.pixel_format), converted.planes, strict=True):
        lines = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)  # type: ignore[call-overload]
        target[...] = lines[:, : target[0].size].reshape(target.shape)
    return Frame(1, 0.0, pixels, layout.pixel_format, layout.color_space, layout.full_range)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: f"{layout.pixel_format}-{layout.color_space}")
@pytest.mark.parametrize("size", [(960, 540), (1280, 720)])
def test_planes_look_like_bgr(layout: Layout, size: tuple[int, int]) -> None:
    """What is drawn on planes is what is drawn on BGR and converted: luma everywhere, chroma but for edges."""
    image = np.full((size[1], size[0], 3), (90, 120, 100), np.uint8)
    frame = planes(image, layout)
    unit = size[1] // 90
    trails = Trails()
    for step in range(20):
        lefts = [unit * (10 + step), unit * 60 + 1, unit * 100]
        now = tracks([5, 6, 1234], [(left, unit * 20 + step, unit * 9 + 1, unit * 30) for left in lefts])
        trails.update(now)
    for canvas in (Canvas.of_bgr(image), Canvas.of_planes(frame)):
        draw_tracks(canvas, now, trails, "frame 20", ["car", "person"])
    expected = planes(image, layout)
    both = [planes_of(each.pixels, layout.pixel_format) for each in (frame, expected)]
    luma, *chroma = [np.abs(one.astype(int) - other) for one, other in zip(*both, strict=True)]
    assert luma.max() <= 3
    assert all(plane.mean() < 1 and (plane > 6).mean() < 0.03 for plane in chroma)
    for id_, (left, top, _, _) in zip(now.ids.tolist(), now.tlwh.astype(int).tolist(), strict=True):
        background = (top - 6, left + 1)  # inside of the label, beside the text
        np.testing.assert_array_equal(image[background], color_of(id_))
        assert np.abs(frame.bgr[background].astype(int) - color_of(id_)).max() <= 8  # as exact as swscale


def test_labels_that_come_again_are_kept() -> None:
    """The second drawing is equal to the first, and a label of another color, text or layout is another."""
    images = []
    for layout in (Layout("yuv420p"), Layout("yuv420p", "ITU709"), Layout("yuv420p")):
        frame = planes(np.zeros((90, 160, 3), np.uint8), layout)
        Canvas.of_planes(frame).label("7", (40, 60), 1.0, (10, 200, 30))
        images.append(frame.pixels)
    assert np.array_equal(images[0], images[2])
    assert not np.array_equal(images[0], images[1])


@pytest.mark.parametrize("pixel_format", ["yuv420p", "nv12"])
@pytest.mark.parametrize("corner", [(-5, 30), (155, 30), (40, 3), (40, 100), (-50, 30), (40, -500), (40, 500)])
def test_labels_at_the_edges_are_cut(pixel_format: str, corner: tuple[int, int]) -> None:
    frame = planes(np.zeros((90, 160, 3), np.uint8), Layout(pixel_format))  # type: ignore[arg-type]
    image = np.zeros((90, 160, 3), np.uint8)
    Canvas.of_planes(frame).label("12", corner, 0.5, (255, 255, 255))
    Canvas.of_bgr(image).label("12", corner, 0.5, (255, 255, 255))
    assert np.abs(frame.bgr.astype(int) - image).max() < 12  # gray, so that chroma blurs nothing


@pytest.mark.parametrize(
    ("size", "largest", "expected"),
    [
        ((1920, 1080), None, (1920, 1080)),
        ((1919, 1081), None, (1920, 1082)),
        ((1920, 1080), (1280, 720), (1280, 720)),
        ((1920, 1080), (1280, 1280), (1280, 720)),
        ((1080, 1920), (1280, 720), (404, 720)),
        ((640, 360), (1280, 720), (640, 360)),
        ((1, 300), (100, 100), (2, 100)),
        ((768, 576), (500, 500), (500, 374)),
        ((1, 1), (2, 2), (2, 2)),
    ],
)
def test_frames_are_fitted(size: tuple[int, int], largest: tuple[int, int] | None, expected: tuple[int, int]) -> None:
    assert fitted(size, largest) == expected


@pytest.mark.parametrize("layout", [Layout("bgr24"), *LAYOUTS[:3]], ids=lambda layout: layout.pixel_format)
def test_scaling_keeps_the_image(layout: Layout) -> None:
    ramp = np.linspace(20, 230, 320).astype(np.uint8)
    image = np.ascontiguousarray(np.broadcast_to(ramp[None, :, None], (180, 320, 3)))
    frame = Frame(3, 0.5, image) if layout.pixel_format == "bgr24" else planes(image, layout)
    got = drawable(frame, (160, 90))
    assert (got.size, got.index, got.timestamp) == ((160, 90), frame.index, frame.timestamp)
    assert np.abs(got.bgr[5:-5, 5:-5].astype(int) - image[10:-10:2, 10:-10:2]).max() <= 6


@pytest.mark.parametrize("pixel_format", ["yuv420p", "nv12"])
@pytest.mark.parametrize("height", [90, 92])  # PyAV cuts heights that are no multiple of 4 where it views an array
def test_encodable_planes_are_those_of_the_frame(pixel_format: str, height: int) -> None:
    layout = Layout(pixel_format)  # type: ignore[arg-type]
    columns, rows = np.meshgrid(np.linspace(30, 220, 160), np.linspace(30, 220, height))
    frame = planes(np.dstack([columns, rows, 250 - columns]).astype(np.uint8), layout)
    for shared in (True, False):
        got = encodable(frame, layout, shared=shared)
        np.testing.assert_array_equal(got.to_ndarray(), frame.pixels)
    other = encodable(frame, Layout("yuv420p", "ITU709", full_range=True), shared=True)
    again = Frame(1, 0.0, other.to_ndarray(), "yuv420p", "ITU709", True)  # type: ignore[arg-type]
    assert np.abs(again.bgr.astype(int) - frame.bgr).mean() < 4
