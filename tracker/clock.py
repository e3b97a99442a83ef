"""The clock of the tracker: seconds where there are timestamps, else frames."""

from __future__ import annotations

import math

# At a constant rate steps are whole frames up to rounding, so comparisons are made halfway between two.
HALF_A_FRAME = 0.5

_USUAL_STEPS = 4  # a step up to this many times the previous one is no pause


class Clock:
    """Counts frames of the nominal rate; more than one passes per step where frames are missing.

    Args:
        frame_rate: nominal frames per second.

    Attributes:
        now: frames since the start.
        step: frames of the last advance.
    """

    def __init__(self, frame_rate: float) -> None:
        self._frame_rate = frame_rate
        self._timestamp: float | None = None
        self._previous_step = 1.0
        self.now = 0.0
        self.step = 1.0

    def advance(self, timestamp: float | None) -> None:
        """Advance to the next frame.

        Args:
            timestamp: of that frame in seconds; if it is unknown or does not rise, one frame passes.
        """
        self._previous_step, self.step = self.step, 1.0
        if timestamp is not None and math.isfinite(timestamp):
            if self._timestamp is not None and timestamp > self._timestamp:
                self.step = (timestamp - self._timestamp) * self._frame_rate
            self._timestamp = timestamp
        self.now += self.step

    def paused(self, frames: float) -> bool:
        """Return whether the last step was longer than `frames` and unusually long."""
        return self.step > frames + HALF_A_FRAME and self.step > _USUAL_STEPS * self._previous_step
