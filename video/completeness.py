"""Completeness of a video stream: its packets against what the container states."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import av

from fairmot.video import pyav
from fairmot.video.structure import is_cut


class Completeness:
    """A count of packets, from which it follows at the end whether some are missing.

    A count alone does not suffice: AVI counts dropped frames, which are no packets, and the edit list of an MP4 leaves
    packets out. So the file must end before its own structure does, or, where that states nothing, packets and time
    must both fall short.

    Args:
        container: the open container.
        stream: the video stream that is read.
        path: the file, None for a network stream.
    """

    def __init__(self, container: av.container.InputContainer, stream: Any, path: Path | None) -> None:
        self._container = container
        self._stream = stream
        self._path = path
        self._packets = 0
        self._ends_in_part = False

    def add(self, packet: Any) -> None:
        """Count a packet, unless it is empty."""
        if packet.size > 0:
            self._packets += 1
            self._ends_in_part = packet.is_corrupt

    @property
    def stated_frames(self) -> int:
        """Number of frames that the container states, 0 if it states none."""
        stated = int(self._stream.frames)
        return min(stated, self._packets_in_avi_index() or stated) if stated else 0

    def check(self, reached: float, interval: float) -> tuple[bool, int]:
        """Return whether the stream ended before its end, and how many packets are missing inside.

        Args:
            reached: time of the last frame, in seconds.
            interval: seconds between frames.
        """
        cut = None if self._path is None else is_cut(self._path)
        if cut is False:
            missing = (self._packets_in_avi_index() or 0) - self._packets
            return False, missing if missing > max(2, self._packets // 100) else 0
        if cut and self._ends_in_part:
            return True, 0
        stated = self._stream.frames
        if stated > 0 and self._packets >= stated - (0 if cut else max(2, stated // 100)):
            return False, 0
        counts_suffice = bool(cut) or stated > 0
        duration = self._duration(any_kind=counts_suffice)
        if duration is None:
            return counts_suffice, 0
        slack = 1.5 * interval if cut else max(1.0, 0.01 * duration, 5 * interval)
        return reached + slack < duration, 0

    def _packets_in_avi_index(self) -> int | None:
        return pyav.packets_in_index(self._stream) if self._container.format.name == "avi" else None

    def _duration(self, *, any_kind: bool) -> float | None:
        """Return the duration that the stream states, in seconds; with `any_kind` also FFmpeg's estimate."""
        match = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", self._stream.metadata.get("DURATION", ""))  # Matroska
        if match is not None:
            hours, minutes, seconds = map(float, match.groups())
            return 3600 * hours + 60 * minutes + seconds
        if not any_kind:
            return None
        if self._stream.duration is not None and self._stream.time_base:
            return float(self._stream.duration * self._stream.time_base)
        return None if self._container.duration is None else self._container.duration / av.time_base
