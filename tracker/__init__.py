"""From detections to identities: Kalman filter, costs, assignment, the FairMOT and BYTE cascades, evaluation."""

from fairmot.tracker.fairmot import FairMOTTracker
from fairmot.tracker.settings import TrackerSettings

__all__ = ["FairMOTTracker", "TrackerSettings"]
