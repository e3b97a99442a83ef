"""Frames from a local camera, through OpenCV (PyAV's wheels carry no capture devices)."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from fairmot.core import Frame, SourceError
from fairmot.video.source import Source

_DEFAULT_FRAME_RATE = 30.0


class CameraSource(Source):
    """A camera of this machine.

    Frames that the consumer was too slow for are dropped, so it always gets the newest. Timestamps are
    seconds since the first frame, by this machine's clock. The frame rate is the driver's, else 30.

    Args:
        device: index of the camera (0 is the first), or a device path (`/dev/video2`).

    Raises:
        SourceError: if there is no such camera or it delivers no image. While reading: if it disappears.
    """

    def __init__(self, device: int | str) -> None:
        self._label = f"camera {device}"
        if sys.platform == "linux" and isinstance(device, int) and not Path(f"/dev/video{device}").exists():
            present = sorted(path.name.removeprefix("video") for path in Path("/dev").glob("video[0-9]*"))
            there = f"those present are {', '.join(present)}" if present else "this machine has none"
            raise SourceError(f"There is no {self._label}; {there}.")
        self._capture = cv2.VideoCapture(device)
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # where the driver allows it: no stale frames
        read, first = self._capture.read()
        if not read:
            self._capture.release()
            raise SourceError(f"The {self._label} delivers no image; check that no other program uses it.")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        super().__init__(
            f"camera{device}" if isinstance(device, int) else Path(device).stem,
            (first.shape[1], first.shape[0]),
            rate if 0 < rate < 1000 else _DEFAULT_FRAME_RATE,
            is_live=True,
        )

    def _frames(self) -> Iterator[Frame]:
        number = 0
        began = 0.0
        while True:
            read, image = self._capture.read()
            if not read:
                raise SourceError(f"The {self._label} stopped delivering images after frame {number}; check its cable.")
            now = time.monotonic()
            number += 1
            began = now if number == 1 else began
            yield Frame(number, now - began, np.asarray(image, np.uint8))

    def _release(self) -> None:
        self._capture.release()
