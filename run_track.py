"""`python run_track.py SOURCE`, the same as `fairmot track SOURCE`: follow the people in a video."""

from __future__ import annotations

import sys

from fairmot.__main__ import run

if __name__ == "__main__":
    run(["track", *sys.argv[1:]])
