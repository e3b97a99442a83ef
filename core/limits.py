"""Limits on what is accepted from untrusted files, and of what one frame may hold."""

from __future__ import annotations

MAX_PIXELS = 200_000_000
"""Most pixels of one image or video frame; 8K video has 33 million."""

MAX_BOXES = 5_000
"""Most boxes of one frame. All pairs of so many are 25 million: 200 MB for each matrix of distances, costs or overlaps,
and seconds for an assignment. The most crowded sequences have some 250 people in a frame (MOT20)."""
