"""Records of arrays as bytes, for messages between processes: quicker than pickling every array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import TypeVar

import numpy as np

from fairmot.core.records import Detections, Tracks

Packed = Sequence[tuple[str, tuple[int, ...], bytes]]
"""The arrays of a record: type, shape and bytes of each."""

Record = TypeVar("Record", Detections, Tracks)

_NAMES = {kind: tuple(field.name for field in fields(kind)) for kind in (Detections, Tracks)}


def pack(record: Detections | Tracks) -> Packed:
    """Return the arrays of a record as bytes, with what is needed to read them."""
    arrays = (getattr(record, name) for name in _NAMES[type(record)])
    return [(array.dtype.str, array.shape, array.tobytes()) for array in arrays]


def unpack(kind: type[Record], packed: Packed) -> Record:
    """Return a record of a kind, whose arrays can be read only."""
    return kind(*(np.frombuffer(data, dtype).reshape(shape) for dtype, shape, data in packed))
