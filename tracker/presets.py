"""Named settings: the user's default, and the published trackers that it grew from."""

from __future__ import annotations

from dataclasses import replace

from fairmot.core.errors import ConfigError, suggestion
from fairmot.tracker.settings import TrackerSettings

# FairMOT as published, without BYTE's low-score stage.
_FAIRMOT = TrackerSettings(
    confidence_threshold=0.4,
    low_score_stage=False,
    appearance_cost="gating",
    appearance_limit=0.4,
    overlap_limit=0.5,
    motion_weight=0.02,
    box_model="xyah",
    overlap="iou",
    box_margin=0.0,
    score_fusion=False,
    gmc_from_detections=False,
    predict_unconfirmed=False,
)
_BYTE = replace(_FAIRMOT, low_score_stage=True)

PRESETS: dict[str, TrackerSettings] = {
    "default": TrackerSettings(),
    "fairmot": _FAIRMOT,
    "byte": _BYTE,
    "byte-motion": replace(_BYTE, use_embeddings=False),
}


def preset(name: str) -> TrackerSettings:
    """Return the settings called `name`: default, fairmot, byte (BYTE on FairMOT) or byte-motion (by boxes alone).

    With `reference_quirks` the last three answer exactly as the reference does.

    Raises:
        ConfigError: if there are none.
    """
    if name not in PRESETS:
        raise ConfigError(f'There is no tracker "{name}"; choose {", ".join(PRESETS)}.{suggestion(name, PRESETS)}')
    return PRESETS[name]
