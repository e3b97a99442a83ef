"""The tables of the letterbox kernel for warps against the installed OpenCV, which may round coordinates or not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from fairmot.engine import Letterbox
from fairmot.engine.cuda.kernels.letterbox import geometry_taps
from fairmot.engine.letterbox import letterbox

SIDE = st.one_of(st.integers(1, 3), st.integers(4, 300))
TARGETS = st.tuples(st.integers(1, 5), st.integers(1, 5)).map(lambda cells: (32 * cells[0], 32 * cells[1]))


def matrix(taps: npt.NDArray[np.void], source: int) -> np.ndarray:
    weights = np.zeros((len(taps), source))
    for row, (first, count, head, body, tail) in zip(weights, taps.tolist(), strict=True):
        assert count == 0 or 0 <= first < first + count <= source
        row[first : first + count] = ([head] + [body] * (count - 2) + [tail])[:count]
    return weights


def check(geometry: Letterbox, seed: int) -> None:
    width, height = geometry.source
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    columns, rows = (matrix(taps, side) for taps, side in zip(geometry_taps(geometry), geometry.source, strict=True))
    expected = np.einsum("yh,hwc,xw->yxc", rows, image.astype(float), columns, optimize=True)
    # Half a level of rounding; OpenCV 5 computes in float32.
    np.testing.assert_allclose(letterbox(image, geometry, 0), expected, atol=0.7)


@given(
    source=st.tuples(SIDE, SIDE),
    target=TARGETS,
    resize=st.sampled_from(["linear", "linear-centered"]),
    seed=st.integers(0, 99),
)
@settings(max_examples=100, deadline=None)
def test_resize_modes(source: tuple[int, int], target: tuple[int, int], resize: str, seed: int) -> None:
    check(Letterbox.fit(source, target, resize), seed)


@given(
    source=st.tuples(SIDE, SIDE),
    target=TARGETS,
    scale=st.tuples(st.floats(0.05, 4), st.floats(0.05, 4)),
    shift=st.tuples(st.floats(-300, 300), st.floats(-300, 300)),
    seed=st.integers(0, 99),
)
@settings(max_examples=100, deadline=None)
def test_any_warp(
    source: tuple[int, int],
    target: tuple[int, int],
    scale: tuple[float, float],
    shift: tuple[float, float],
    seed: int,
) -> None:
    check(Letterbox.warp(source, target, scale, shift), seed)
