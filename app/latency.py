"""The delay of a live source: from the arrival of a frame to its result, in a fixed amount of memory."""

from __future__ import annotations

import math

_LEAST = 1e-4  # seconds; what is faster counts as this
_GROWTH = 1.02  # of the limits of the bins, so a quantile is right to one percent
_BINS = 800  # up to 760 seconds


class LatencyHistogram:
    """A histogram of delays with logarithmic bins, for sources that run for months."""

    def __init__(self) -> None:
        self._counts = [0] * _BINS
        self._total = 0

    def add(self, seconds: float) -> None:
        """Count a delay."""
        place = int(math.log(max(seconds, _LEAST) / _LEAST) / math.log(_GROWTH))
        self._counts[min(place, _BINS - 1)] += 1
        self._total += 1

    def milliseconds(self, share: float) -> float:
        """Return the delay that this share of all delays does not exceed; 0 if there are none."""
        wanted, seen = share * self._total, 0
        for place, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                return 1000.0 * _LEAST * float(_GROWTH ** (place + 0.5))  # the middle of the bin
        return 0.0

    def summary(self) -> dict[str, float]:
        """Return median and 95th percentile in milliseconds, for `run.json`."""
        return {"median": self.milliseconds(0.5), "p95": self.milliseconds(0.95)}
