"""How Triton's programs divide maps that lie channels last."""

# mypy: disable-error-code="import-not-found, import-untyped"

from __future__ import annotations

import triton

SIZES = ("pixels", "height", "width")  # arguments of kernels of which other values take no new build
_LARGEST_BLOCK = 128  # channels of a program at a time


def blocks(channels: int, elements: int, warps: int) -> tuple[int, int]:
    """Return how many pixels and channels a program takes at a time.

    Args:
        channels: of the map.
        elements: of each thread.
        warps: of the program.
    """
    block = min(triton.next_power_of_2(channels), _LARGEST_BLOCK)
    return 32 * warps * elements // block, block
