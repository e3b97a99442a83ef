"""Text of other libraries and of files, made fit for one line of an error message."""

from __future__ import annotations

import re

_LONGEST = 300

OUT_OF_MEMORY = re.compile(
    r"out ?of ?memory|(enough|insufficient) (free |device |gpu )?memory|memory .*could not be allocated|"
    r"bad.?alloc|(failed to|can't|cannot|unable to) allocate|memoryerror",
    re.IGNORECASE,
)
"""How ONNX Runtime, OpenCV, PyTorch and TensorRT say that an allocation failed."""


def one_line(text: object, longest: int = _LONGEST) -> str:
    """Return text on one line, without its last period, control characters escaped, cut where it is too long.

    Args:
        text: what to show; `str` is applied to it.
        longest: most characters.
    """
    words = " ".join(str(text)[: 20 * longest].split()).rstrip(".")
    shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in words)
    return shown if len(shown) <= longest else f"{shown[: longest - 3]}..."
