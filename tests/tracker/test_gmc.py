"""Global motion compensation, from detections and from images."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairmot.core.records import Detections
from fairmot.tracker import FairMOTTracker, TrackerSettings
from fairmot.tracker.costs import iou_distance
from fairmot.tracker.gmc.flow import OpticalFlowGMC
from fairmot.tracker.gmc.shift import camera_shift
from fairmot.tracker.kalman import KalmanFilter, WidthKalmanFilter
from fairmot.tracker.presets import PRESETS


def people(count: int, seed: int = 0) -> np.ndarray:
    """Boxes `(4, n)` of people 40 wide and 100 high who stand apart."""
    random = np.random.default_rng(seed)
    corner = np.stack((90.0 * np.arange(count) + random.uniform(0, 20, count), random.uniform(0, 400, count)))
    return np.concatenate((corner, corner + np.array([[40.0], [100.0]])))


def as_detections(tlbr: np.ndarray) -> Detections:
    count = tlbr.shape[1]
    return Detections(
        tlbr.T.astype(np.float32),
        np.full(count, 0.9, np.float32),
        np.zeros(count, np.int64),
        np.zeros((count, 0), np.float32),
    )


def test_camera_shift_is_what_most_share() -> None:
    """Ten people, of whom three walk and one is gone, in an image that moved by 8 and -5 pixels."""
    before = people(10)
    after = before + np.array([[8.0], [-5.0], [8.0], [-5.0]])
    after[:, :3] += np.array([[12.0], [3.0], [12.0], [3.0]])
    np.testing.assert_allclose(camera_shift(before, after[:, np.r_[0:9]][:, ::-1], iou_distance), [[8.0], [-5.0]])


@pytest.mark.parametrize(("tracks", "detections"), [(5, 8), (8, 5), (0, 0)])
def test_camera_shift_needs_people(tracks: int, detections: int) -> None:
    assert camera_shift(people(tracks), people(detections), iou_distance) is None


def test_camera_shift_needs_pairs() -> None:
    assert camera_shift(people(8), people(8) + 2000.0, iou_distance) is None


@pytest.mark.parametrize("follows", [True, False])
def test_a_jolt_of_the_camera(follows: bool) -> None:
    """Eight people stand and the image jumps by 18 pixels: compensated, the boxes neither lag nor overshoot."""
    tracker = FairMOTTracker(settings=TrackerSettings(gmc_from_detections=follows))
    here = people(8)
    there = here + np.array([[18.0], [0.0], [18.0], [0.0]])
    for _ in range(5):
        tracker.update(as_detections(here))
    errors = []
    for _ in range(6):
        tracks = tracker.update(as_detections(there))
        assert sorted(tracks.ids.tolist()) == list(range(1, 9))
        errors.append(float(np.abs(np.sort(tracks.tlwh[:, 0]) - there[0]).max()))
    assert (max(errors) < 0.1) is follows


def image(transform: np.ndarray, size: tuple[int, int] = (960, 540)) -> np.ndarray:
    """A cluttered wall, seen through `transform`."""
    random = np.random.default_rng(1)
    wall = np.full((size[1] + 400, size[0] + 400, 3), 128, np.uint8)
    for _ in range(500):
        left, top = random.integers(0, [wall.shape[1], wall.shape[0]]).tolist()
        width, height = random.integers(5, 60, 2).tolist()
        color = random.integers(0, 256, 3).tolist()
        cv2.rectangle(wall, (left, top), (left + width, top + height), color, -1)
    centered = transform @ np.array([[1, 0, -200], [0, 1, -200], [0, 0, 1.0]])
    return np.asarray(cv2.warpAffine(wall, centered, size, flags=cv2.INTER_LINEAR), np.uint8)


@pytest.mark.parametrize(
    "transform",
    [
        np.array([[1, 0, 7.0], [0, 1, -4.0]]),
        np.array([[1.02, 0, -5.0], [0, 1.02, 3.0]]),
        np.array([[np.cos(0.02), -np.sin(0.02), 6.0], [np.sin(0.02), np.cos(0.02), 0.0]]),
    ],
    ids=["shift", "zoom", "turn"],
)
@pytest.mark.parametrize("gray", [False, True])
def test_flow_finds_the_movement(transform: np.ndarray, gray: bool) -> None:
    """To half a pixel anywhere, though a person as large as half the image walks the other way."""
    frames = [image(np.eye(2, 3)), image(transform)]
    for step, frame in enumerate(frames):
        frame[100:, 300 - 20 * step : 600 - 20 * step] = frames[0][100:540, 300:600] // 2
    gmc = OpticalFlowGMC()
    person = np.float32([[300, 100, 300, 440]])
    first, found = (gmc.update(frame.mean(axis=2).astype(np.uint8) if gray else frame, person) for frame in frames)
    np.testing.assert_array_equal(first, np.eye(2, 3))
    corners = np.array([[0, 960, 0, 960], [0, 0, 540, 540], [1, 1, 1, 1.0]])
    np.testing.assert_allclose(found @ corners, transform @ corners, atol=0.6)


def test_flow_without_corners() -> None:
    gmc = OpticalFlowGMC()
    blank = np.zeros((100, 200, 3), np.uint8)
    for frame in (blank, blank, image(np.eye(2, 3)), blank, image(np.eye(2, 3), (300, 200))):
        np.testing.assert_array_equal(gmc.update(frame, np.zeros((0, 4), np.float32)), np.eye(2, 3))


@settings(max_examples=30, deadline=None)
@given(st.floats(-0.3, 0.3), st.floats(0.7, 1.4), st.floats(-50, 50), st.booleans(), st.integers(0, 1000))
def test_moving_commutes_with_filtering(angle: float, scale: float, shift: float, width: bool, seed: int) -> None:
    """Filtering in the old image and then moving is moving first and then filtering there."""
    kalman = (WidthKalmanFilter if width else KalmanFilter)()
    random = np.random.default_rng(seed)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    transform = np.column_stack((turn, [shift, -shift / 2]))

    def moved(measured: np.ndarray) -> np.ndarray:
        there = measured.copy()
        there[:2] = turn @ measured[:2] + transform[:, 2:]
        there[3] *= scale
        if width:
            there[2] *= scale
        return there

    def scene() -> np.ndarray:
        return np.stack([*random.uniform(0, 900, (2, 6)), random.uniform(0.3, 50, 6), random.uniform(50, 200, 6)])

    steps = [scene() for _ in range(3)]
    here, there = kalman.initiate(steps[0]), kalman.initiate(moved(steps[0]))
    for measured in steps[1:]:
        coasting = random.random(6) < 0.5
        here = kalman.update(kalman.predict(here, coasting), measured)
        there = kalman.update(kalman.predict(there, coasting), moved(measured))
    kalman.move(here, transform)
    np.testing.assert_allclose(here, there, rtol=1e-7, atol=1e-7)


def test_a_cut_is_compensated() -> None:
    """The image jumps by a whole screen; with its transform the tracks jump too."""
    for compensated in (True, False):
        tracker = FairMOTTracker(settings=replace(PRESETS["byte"], reference_quirks=False))
        for _ in range(4):
            tracker.update(as_detections(people(4)))
        if compensated:
            tracker.move(np.array([[1, 0, 1000.0], [0, 1, 0]]))
        tracks = tracker.update(as_detections(people(4) + np.array([[1000.0], [0], [1000], [0]])))
        assert tracks.ids.tolist() == ([1, 2, 3, 4] if compensated else [])
