"""The histogram of delays against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from fairmot.app.latency import LatencyHistogram


@pytest.mark.parametrize(
    "seconds",
    [
        np.random.default_rng(0).gamma(4, 0.01, 5000),
        np.full(3, 0.04),
        np.geomspace(1e-3, 500, 1001),
    ],
)
def test_quantiles_are_right_to_one_percent(seconds: np.ndarray) -> None:
    histogram = LatencyHistogram()
    for value in seconds:
        histogram.add(float(value))
    expected = 1000 * np.quantile(seconds, (0.5, 0.95), method="inverted_cdf")
    assert list(histogram.summary().values()) == pytest.approx(expected, rel=0.011)


def test_the_ends() -> None:
    histogram = LatencyHistogram()
    assert histogram.summary() == {"median": 0.0, "p95": 0.0}
    histogram.add(-1.0)
    assert histogram.milliseconds(0.5) == pytest.approx(0.1, rel=0.011)
    histogram.add(1e9)
    assert histogram.milliseconds(1.0) > 700_000
