from __future__ import annotations

import inspect
import re
from dataclasses import fields

import pytest

from fairmot.core.errors import ConfigError
from fairmot.tracker import FairMOTTracker, TrackerSettings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"confidence_threshold": 1.5}, "confidence_threshold must be between 0 and 1, not 1.5."),
        ({"confidence_threshold": float("nan")}, "confidence_threshold must be between 0 and 1, not nan."),
        (
            {"low_score_threshold": 0.5, "confidence_threshold": 0.4},
            "low_score_threshold (0.5) must not be above confidence_threshold (0.4)",
        ),
        ({"new_track_threshold": -1}, "new_track_threshold must be between 0 and 1"),
        ({"overlap_limit": 2}, "overlap_limit must be between 0 and 1"),
        ({"appearance_limit": 3}, "appearance_limit must be between 0 and 2"),
        ({"embedding_momentum": -0.1}, "embedding_momentum must be between 0 and 1"),
        ({"lost_track_buffer": 0}, "lost_track_buffer must be at least 1, not 0."),
        ({"position_weight": 0}, "position_weight must be above 0, not 0."),
        ({"max_aspect_ratio": 0}, "max_aspect_ratio must be above 0"),
        ({"min_box_area": -1}, "min_box_area must be at least 0"),
    ],
)
def test_out_of_range(values: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        TrackerSettings(**values)


@pytest.mark.parametrize("rate", [0, -25, float("nan"), float("inf")])
def test_frame_rate(rate: float) -> None:
    with pytest.raises(ConfigError, match="frame_rate must be above 0"):
        FairMOTTracker(rate)


def test_every_field_is_described() -> None:
    for field in fields(TrackerSettings):
        # Python 3.13 takes the indentation of docstrings away by itself.
        assert f"\n    {field.name}: " in inspect.cleandoc(str(TrackerSettings.__doc__))


def test_derived_scores() -> None:
    assert TrackerSettings().minimum_score == 0.2
    assert TrackerSettings().start_score == 0.5
    fairmot = TrackerSettings(low_score_stage=False, low_score_threshold=0.9)
    assert (fairmot.minimum_score, fairmot.start_score) == (0.4, 0.4)
    assert TrackerSettings(new_track_threshold=0.9).start_score == 0.9


@pytest.mark.parametrize(("rate", "mended", "reference"), [(30, 30, 30), (29.97, 30, 29), (14, 14, 14), (0.2, 1, 0)])
def test_buffer(rate: float, mended: int, reference: int) -> None:
    assert TrackerSettings().buffer_frames(rate) == mended
    assert TrackerSettings(reference_quirks=True).buffer_frames(rate) == reference
