"""From detections to identities: Kalman filter, costs, assignment, the FairMOT and BYTE cascades, evaluation."""

from typing import TYPE_CHECKING

from fairmot.core.lazy import lazy_names

if TYPE_CHECKING:
    from fairmot.tracker.fairmot import FairMOTTracker
    from fairmot.tracker.settings import TrackerSettings
else:
    __getattr__, __dir__ = lazy_names(
        __name__, {"FairMOTTracker": "fairmot.tracker.fairmot", "TrackerSettings": "fairmot.tracker.settings"}
    )

__all__ = ["FairMOTTracker", "TrackerSettings"]
