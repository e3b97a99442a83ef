"""The line of MOTChallenge results, one format for all who write it."""

from __future__ import annotations

from collections.abc import Iterable


def result_line(frame: int, identity: int, tlwh: Iterable[float], score: float) -> str:
    """Return `frame,id,left,top,width,height,score,-1,-1,-1` with a line end; pixels with two decimals."""
    left, top, width, height = tlwh
    return f"{frame},{identity},{left:.2f},{top:.2f},{width:.2f},{height:.2f},{score:.6f},-1,-1,-1\n"
