"""The tracker's notion of time: seconds where there are timestamps, else frames."""

from __future__ import annotations

import math

# Constant rates give whole frames but for rounding: comparisons lie in the middle between two.
HALF_A_FRAME = 0.5

_USUAL_STEPS = 4  # so many times the step before are still no pause


class Clock:
    """Counts frames of the nominal rate, of which more than one passes where frames are missing.

    Args:
        frame_rate: nominal frames per second.

    Attributes:
        now: frames since the start.
        step: those of the last advance.
    """

    def __init__(self, frame_rate: float) -> None:
        self._frame_rate = frame_rate
        self._timestamp: float | None = None
        self._step_before = 1.0
        self.now = 0.0
        self.step = 1.0

    def advance(self, timestamp: float | None) -> None:
        """Go on to the next frame.

        Args:
            timestamp: of that frame in seconds; if it is not known or does not rise, one frame passes.
        """
        self._step_before, self.step = self.step, 1.0
        if timestamp is not None and math.isfinite(timestamp):
            if self._timestamp is not None and timestamp > self._timestamp:
                self.step = (timestamp - self._timestamp) * self._frame_rate
            self._timestamp = timestamp
        self.now += self.step

    def paused(self, frames: float) -> bool:
        """Return whether the last step was longer than `frames` and than what is usual."""
        return self.step > frames + HALF_A_FRAME and self.step > _USUAL_STEPS * self._step_before
