"""The sink that shows the tracks in a window."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

import cv2

from fairmot.core import Frame, OutputError, Tracks
from fairmot.video.drawing import Trails, draw_tracks
from fairmot.video.sink import Sink
from fairmot.video.video_sink import RateMeter, caption

_STOP_KEYS = {ord("q"), ord("Q"), 27}
# OpenCV's window toolkit ends the process when it cannot reach the display, so another process tries first.
_PROBE = "import cv2; cv2.namedWindow('probe', cv2.WINDOW_NORMAL); cv2.waitKey(1); cv2.destroyAllWindows()"
_PROBE_SECONDS = 20.0


class WindowSink(Sink):
    """Show every frame with its tracks in a window.

    `q`, Esc or closing the window sets `stop_requested`; frames written after that are not shown.

    Args:
        title: title of the window.
        class_names: by class id; of two or more, labels show them.

    Raises:
        OutputError: if there is no display, or OpenCV cannot open a window on it.
    """

    def __init__(self, title: str, class_names: Sequence[str] = ()) -> None:
        _check_display()
        self._class_names = class_names
        self._title = title
        self._trails = Trails()
        self._meter = RateMeter()
        cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        self._sized = False

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Show a frame and check the keyboard."""
        if self.stop_requested:
            return
        if not self._sized:
            cv2.resizeWindow(self._title, *frame.size)
            self._sized = True
        image = frame.bgr.copy()
        self._trails.update(tracks)
        text = caption(frame, tracks, self._meter.tick())
        draw_tracks(image, tracks, self._trails, text, self._class_names)
        cv2.imshow(self._title, image)
        pressed = cv2.waitKey(1) & 0xFF
        closed = cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1
        self.stop_requested = pressed in _STOP_KEYS or closed

    def close(self) -> None:
        """Close the window."""
        cv2.destroyAllWindows()


def _check_display() -> None:
    """Raise unless a window can be opened."""
    remedy = "leave out --show, or run it on a desktop"
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise OutputError(f"There is no display for a window (neither DISPLAY nor WAYLAND_DISPLAY is set); {remedy}.")
    try:
        probe = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, timeout=_PROBE_SECONDS, check=False)
        failed = probe.returncode != 0
    except subprocess.TimeoutExpired:
        failed = True
    if failed:
        raise OutputError(
            "OpenCV cannot open a window here: the display does not answer, or opencv-python-headless is installed "
            f"in place of opencv-python; {remedy}."
        )
