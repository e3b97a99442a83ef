"""Data that the gates of tracker and evaluation run on, made by scripts beside it; see README.md."""

from __future__ import annotations

import gzip
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
WALKS = ("crossings", "pan", "returns")
RENDERED = "rendered"


def write_answers(variant: str, folder: Path) -> Path:
    """Write a reference tracker's answers as MOTChallenge results, `NAME.txt` for each walk, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in WALKS:
        with gzip.open(FOLDER / "expected" / variant / f"{name}.txt.gz", "rt") as file:
            rows = [f"{line.rstrip()},-1,-1,-1\n" for line in file if not line.startswith("#")]
        (folder / f"{name}.txt").write_text("".join(rows))
    return folder
