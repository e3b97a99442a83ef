"""Records and the error helper."""

import re

import av
import cv2
import numpy as np
import pytest

from fairmot.core import Detections, Frame, StageClock, Tracks, TrackState
from fairmot.core.errors import suggestion


def smooth(height, width, seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (height // 32, width // 32, 3), np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "nv12"])
@pytest.mark.parametrize("color_space", ["ITU601", "ITU709"])
@pytest.mark.parametrize("full_range", [False, True])
def test_planes_become_the_image_they_came_from(pixel_format, color_space, full_range):
    image = smooth(64, 96)
    level = av.video.reformatter.ColorRange.JPEG if full_range else av.video.reformatter.ColorRange.MPEG
    planes = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(
        format=pixel_format,
        dst_colorspace=av.video.reformatter.Colorspace[color_space],
        src_color_range=av.video.reformatter.ColorRange.JPEG,
        dst_color_range=level,
    )
    frame = Frame(1, 0.0, planes.to_ndarray(), pixel_format, color_space, full_range)
    assert frame.size == (96, 64)
    # Chroma has half the resolution, so that only smooth images survive.
    assert np.abs(frame.bgr.astype(int) - image).mean() < 6


def test_color_space_matters():
    planes = np.full((96, 64), 90, np.uint8)
    a, b = (Frame(1, 0.0, planes, "yuv420p", space).bgr for space in ("ITU601", "ITU709"))
    assert np.abs(a.astype(int) - b).max() > 5


def test_bgr_frame_is_not_copied():
    image = smooth(64, 64)
    assert Frame(1, 0.0, image).bgr is image


def test_detections_rows():
    found = Detections(
        np.arange(12, dtype="f").reshape(3, 4), np.array([0.9, 0.5, 0.3], "f"), np.zeros(3, int), np.eye(3, dtype="f")
    )
    best = found[found.scores > 0.4]
    assert len(best) == 2
    assert best.embeddings.shape == (2, 3)
    assert len(Detections.empty(64)) == 0


def test_tracks_iterate_as_rows():
    tracks = Tracks(np.array([3]), np.array([[1, 2, 3, 4]], "f"), np.array([0.5], "f"), np.array([0]))
    (row,) = tracks
    assert (row.id, row.tlwh, row.score, row.state) == (3, (1, 2, 3, 4), 0.5, TrackState.TRACKED)
    assert list(Tracks.empty()) == []


def test_clock_adds_up_by_stage():
    clock = StageClock()
    clock.add("a", 0.5)
    with clock("b"):
        pass
    clock.add("a", 0.25)
    assert clock.milliseconds(per=3)["a"] == pytest.approx(250)
    assert list(clock.milliseconds()) == ["a", "b"]


def test_suggestion():
    assert suggestion("ouput", ["output", "engine"]) == ' Did you mean "output"?'
    assert suggestion("zzz", ["output"]) == ""


GRAY = np.zeros((64, 96), np.uint8)
COLOR = np.zeros((64, 96, 3), np.uint8)
PLANES = np.zeros((96, 64), np.uint8)


@pytest.mark.parametrize(
    ("pixels", "pixel_format", "error", "words"),
    [
        (GRAY, "bgr24", ValueError, r"shape \(height, width, 3\).*not \(64, 96\); cv2.cvtColor"),
        (GRAY[..., None], "bgr24", ValueError, r"not \(64, 96, 1\)"),
        (np.zeros((64, 96, 4), np.uint8), "bgr24", ValueError, r"not \(64, 96, 4\)"),
        (np.zeros((1, 64, 96, 3), np.uint8), "bgr24", ValueError, r"not \(1, 64, 96, 3\)"),
        (np.zeros((3, 64, 96), np.uint8), "bgr24", ValueError, r"not \(3, 64, 96\)"),
        (np.zeros(96, np.uint8), "bgr24", ValueError, r"not \(96,\)"),
        (np.uint8(3), "bgr24", TypeError, "not uint8"),
        (np.zeros((0, 96, 3), np.uint8), "bgr24", ValueError, r"not \(0, 96, 3\)"),
        (np.zeros((64, 0, 3), np.uint8), "bgr24", ValueError, r"not \(64, 0, 3\)"),
        (COLOR.astype(np.float32), "bgr24", TypeError, r"float32 with the shape \(64, 96, 3\)"),
        (COLOR.astype(np.float64), "bgr24", TypeError, "float64"),
        (COLOR.astype(np.uint16), "bgr24", TypeError, "uint16"),
        (COLOR.astype(np.int8), "bgr24", TypeError, "int8"),
        (COLOR.astype(bool), "bgr24", TypeError, "bool"),
        (COLOR.astype(object), "bgr24", TypeError, "object"),
        (COLOR.tolist(), "bgr24", TypeError, "not list"),
        (None, "bgr24", TypeError, "not NoneType"),
        (COLOR, "yuv420p", ValueError, r"\(height \* 3 / 2, width\) in yuv420p.*not \(64, 96, 3\)"),
        (PLANES[:95], "yuv420p", ValueError, r"not \(95, 64\)"),
        (PLANES[:, :63], "nv12", ValueError, r"in nv12.*not \(96, 63\)"),
        (PLANES[:0], "nv12", ValueError, r"not \(0, 64\)"),
        (PLANES[:, :0], "yuv420p", ValueError, r"not \(96, 0\)"),
        (PLANES.astype(np.uint16), "nv12", TypeError, "uint16"),
        (COLOR, "rgb24", ValueError, "bgr24, yuv420p or nv12, not 'rgb24'"),
    ],
)
def test_frames_hold_what_their_format_says(pixels, pixel_format, error, words):
    with pytest.raises(error, match=words):
        Frame(1, 0.0, pixels, pixel_format)


DETECTIONS = {
    "tlbr": np.zeros((3, 4), np.float32),
    "scores": np.zeros(3, np.float32),
    "class_ids": np.zeros(3, np.int64),
    "embeddings": np.zeros((3, 8), np.float32),
}
TRACKS = {
    "ids": np.arange(3),
    "tlwh": np.zeros((3, 4), np.float32),
    "scores": np.zeros(3, np.float32),
    "class_ids": np.zeros(3, np.int64),
    "states": np.ones(3, np.int8),
}


@pytest.mark.parametrize(
    ("record", "fields", "field", "expected"),
    [
        (record, fields, field, shape)
        for record, fields, shapes in (
            (Detections, DETECTIONS, {"tlbr": "(3, 4)", "class_ids": "(3,)", "embeddings": "(3, d)"}),
            (Tracks, TRACKS, {"tlwh": "(3, 4)", "scores": "(3,)", "class_ids": "(3,)", "states": "(3,)"}),
        )
        for field, shape in shapes.items()
    ],
)
@pytest.mark.parametrize(
    "change",
    [
        lambda array: array[:-1],
        lambda array: array[:0],
        lambda array: np.concatenate([array, array]),
        lambda array: array[None],
        lambda array: array[..., None],
        lambda array: array.ravel() if array.ndim > 1 else array.reshape(1, 3),
        lambda array: array[0],
    ],
    ids=["shorter", "empty", "longer", "batch", "column", "other dimensions", "row"],
)
def test_records_name_the_field_of_a_wrong_shape(record, fields, field, expected, change):
    array = np.asarray(change(fields[field]))
    message = f"{record.__name__}.{field} must have the shape {expected}, not {array.shape}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        record(**{**fields, field: array})


@pytest.mark.parametrize(("record", "fields", "field"), [(Detections, DETECTIONS, "scores"), (Tracks, TRACKS, "ids")])
def test_the_field_that_counts_the_rows(record, fields, field):
    name = f"{record.__name__}.{field}"
    with pytest.raises(ValueError, match=rf"^{name} must have the shape \(n,\), not \(3, 1\)$"):
        record(**{**fields, field: fields[field][:, None]})
    with pytest.raises(ValueError, match=rf"^{record.__name__}\.\w+ must have the shape \(2, 4\), not \(3, 4\)$"):
        record(**{**fields, field: fields[field][:2]})


@pytest.mark.parametrize(
    ("record", "fields", "field"),
    [(record, fields, field) for record, fields in ((Detections, DETECTIONS), (Tracks, TRACKS)) for field in fields],
)
@pytest.mark.parametrize(
    "change",
    [
        np.ndarray.tolist,
        lambda array: array.astype(str),
        lambda array: array > 0,
        lambda array: array.astype({"f": np.int64, "i": np.float32}[array.dtype.kind]),
    ],
    ids=["list", "text", "bool", "other kind"],
)
def test_records_refuse_other_kinds_of_number(record, fields, field, change):
    with pytest.raises(TypeError, match=rf"^{record.__name__}\.{field} must be a NumPy array.*, not "):
        record(**{**fields, field: change(fields[field])})


def test_records_accept_other_precisions_and_values_that_are_not_finite():
    wide = {name: array.astype(array.dtype.kind + "8") for name, array in DETECTIONS.items()}
    assert np.isnan(Detections(**{**wide, "tlbr": np.full((3, 4), np.nan)}).tlbr).all()
    wide = {name: array.astype(array.dtype.kind + "4") for name, array in TRACKS.items()}
    assert len(Tracks(**{**wide, "scores": np.full(3, np.inf)})) == 3


def test_states_are_kept_or_tracked():
    fields = {name: array for name, array in TRACKS.items() if name != "states"}
    assert [track.state for track in Tracks(**fields)] == [TrackState.TRACKED] * 3
    states = np.array([0, 2, 3], np.int8)
    assert Tracks(**fields, states=states).states is states


@pytest.mark.parametrize("height", range(2, 20, 2))
def test_planes_of_every_even_height(height):
    assert Frame(1, 0.0, np.zeros((height * 3 // 2, 2), np.uint8), "nv12").size == (2, height)


def test_the_smallest_frame():
    assert Frame(1, 0.0, np.zeros((1, 1, 3), np.uint8)).size == (1, 1)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "nv12"])
def test_planes_that_are_views_convert_as_copies_do(pixel_format):
    big = np.random.default_rng(2).integers(16, 236, (200, 300), np.uint8)
    locked = big[:96, :64].copy()
    locked.setflags(write=False)
    for view in (
        big[3:99, 5:69],
        big[100:4:-1, 5:69],
        big[::2, ::4][:96, :64],
        np.asfortranarray(big[:96, :64]),
        locked,
    ):
        found = Frame(1, 0.0, view, pixel_format).bgr
        np.testing.assert_array_equal(found, Frame(1, 0.0, np.array(view, order="C"), pixel_format).bgr)
