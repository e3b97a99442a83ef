"""Limits on what is accepted from files that nobody vouches for."""

from __future__ import annotations

MAX_PIXELS = 200_000_000
"""Most pixels of one image or video frame; 8K video has 33 million."""
