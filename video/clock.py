"""The presentation clock: timestamps that always rise, and are the source's wherever it has any."""

from __future__ import annotations

_RESET_SECONDS = 1.0  # a larger step back is a new clock (joined files, wrap-around), not jitter


class PresentationClock:
    """The presentation times of a source as seconds since its first frame.

    Pauses stay as long as they are: a step forward is never shortened. A step back of up to a second is jitter, and
    the frame comes one frame interval after the one before it; a larger one starts a new clock, which continues from
    there. A frame without a time comes one frame interval after the one before it.

    Args:
        frame_rate: frames per second, for the interval.
    """

    def __init__(self, frame_rate: float) -> None:
        self._interval = 1.0 / frame_rate
        self._zero: float | None = None
        self._number = 0
        self._time = 0.0

    def time_of(self, number: int, stamp: float | None) -> float:
        """Return the time of the next frame.

        Args:
            number: its number, which rises from frame to frame.
            stamp: its time in seconds by the clock of the source, if that is known.
        """
        expected = self._time + (number - self._number) * self._interval if self._number else 0.0
        time = expected
        if stamp is not None:
            if self._zero is None:
                self._zero = stamp - expected
            time = stamp - self._zero
            if self._number and time <= self._time:
                if self._time - time > _RESET_SECONDS:
                    self._zero = stamp - expected
                time = expected
        self._number, self._time = number, time
        return time
