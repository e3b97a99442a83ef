"""Blocks of pixels and channels for Triton programs on channels-last maps."""

# mypy: disable-error-code="import-not-found, import-untyped"

from __future__ import annotations

import triton

SIZES = ("pixels", "height", "width")  # arguments that kernels are not specialized for
_LARGEST_BLOCK = 128  # channels of a block


def blocks(channels: int, elements: int, warps: int) -> tuple[int, int]:
    """Return the pixels and channels of a block.

    Args:
        channels: of the map.
        elements: of each thread.
        warps: of the program.
    """
    block = min(triton.next_power_of_2(channels), _LARGEST_BLOCK)
    return 32 * warps * elements // block, block
