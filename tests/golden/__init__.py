"""Data that the gates of tracker and evaluation run on, made by scripts beside it; see README.md."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parent
WALKS = ("crossings", "pan", "returns")
RENDERED = "rendered"
