"""Unexpected exceptions as users see them."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from fairmot.core import ConfigError
from fairmot.core.failures import explained, traceback_of
from fairmot.engine.letterbox import Letterbox
from fairmot.tracker.kalman import KalmanFilter
from fairmot.video import draw_tracks
from fairmot.video.images import natural_key


def out_of_memory() -> None:
    raise MemoryError


def onnx_out_of_memory() -> None:
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail

    raise Fail("[ONNXRuntimeError] : 1 : FAIL : Failed to allocate memory for requested buffer of size 99")


def numpy_out_of_memory() -> None:
    np.zeros(1 << 50)


def cuda_out_of_memory() -> None:
    raise type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory. Tried to allocate 2 GiB")


def opencv_error() -> None:
    cv2.cvtColor(np.zeros((2, 2), np.uint8), cv2.COLOR_BGR2GRAY)


def broken_disk() -> None:
    raise OSError(errno.EIO, "Input/output error")


def bug() -> None:
    raise KeyError("rtsp://me:secret@host/x?token=secret\x1b[31m\nerror: no")


def failing_stream() -> None:
    raise TypeError("x" * 5000)


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (out_of_memory, r"a: memory ran out in the program \(MemoryError\); free some"),
        (onnx_out_of_memory, r"a: memory ran out in .* \(Fail: \[ONNXRuntimeError\].*size 99\); free some"),
        (numpy_out_of_memory, r"a: memory ran out in .*Unable to allocate"),
        (cuda_out_of_memory, r"a: memory ran out in .*\(OutOfMemoryError: CUDA"),
        (opencv_error, r"a: the program failed \(error: OpenCV.*\); see the traceback in out/a/run\.json\."),
        (broken_disk, r"a: the program failed \(OSError: Input/output error\); see"),
        (bug, r"a: internal error in the program \(KeyError: .*\); please report it with the traceback in out/a/run"),
        (failing_stream, r"a: internal error in the program \(TypeError: x{300}\.\.\.\)"),
    ],
)
def test_sentences(act: Callable[[], None], sentence: str) -> None:
    with pytest.raises(Exception) as raised:  # noqa: PT011 - any
        act()
    error = explained(raised.value, "a", "out/a/run.json")
    assert re.match(sentence, str(error))
    assert error.exit_code == 1
    assert error.__cause__ is raised.value
    assert "\n" not in str(error)
    assert "secret" not in str(error) + traceback_of(raised.value)
    assert f"in {act.__name__}" in traceback_of(raised.value)


def test_errors_of_users_stay_as_they_are() -> None:
    error = ConfigError("No.")
    assert explained(error, "a") is error


def test_without_a_file_it_is_said_how_to_get_the_traceback() -> None:
    assert "traceback that FAIRMOT_TRACEBACK=1 in the environment prints" in str(explained(ValueError("x")))


@pytest.mark.parametrize(
    ("call", "part"),
    [
        (lambda: Letterbox.fit(None, None), "the network"),
        (lambda: KalmanFilter().predict(None, None), "the tracker"),
        (lambda: draw_tracks(None, None, None), "writing the video"),
        (lambda: natural_key(None), "the source"),
    ],
)
def test_the_part_that_was_running_is_named(call: Callable[[], None], part: str) -> None:
    with pytest.raises((AttributeError, TypeError)) as raised:
        call()
    assert f"internal error in {part} (" in str(explained(raised.value, "a"))
