"""From detections to identities: Kalman filter, costs, assignment, the FairMOT and BYTE cascades, evaluation."""

from tracker.fairmot import FairMOTTracker
from tracker.settings import TrackerSettings

__all__ = ["FairMOTTracker", "TrackerSettings"]
