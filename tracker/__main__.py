"""Run the association on stored detections: `python -m tracker DETECTIONS -o RESULTS`."""

import sys

from tracker.command import run

sys.exit(run())
