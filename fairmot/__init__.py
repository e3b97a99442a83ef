"""FairMOT in production form: people in a video become tracks with identities."""

from __future__ import annotations

from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[1]
if (_CHECKOUT / "run_track.py").is_file():  # not installed: each folder X of the checkout is fairmot.X
    __path__.append(str(_CHECKOUT))
