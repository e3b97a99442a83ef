"""The backlog of a live source: frames that came before it was read, which are passed over."""

from __future__ import annotations

import time

_WAITED_SHARE = 0.25  # of the interval between frames: the packets of a backlog are there in microseconds


class Backlog:
    """The frames that came while a live source was opened and the consumer prepared for it.

    FFmpeg keeps what it probes a stream by, often more than a second, and a socket's buffers keep what follows. All of
    it is decoded in a moment: were its first frame tracked, most others would be dropped meanwhile. The backlog ends
    with the second frame whose packets had to be waited for; at the first one the thread may have been kept from
    running. It is never longer than a source in real time can have sent since it was opened, and where frames are
    decoded hardly faster than they come it is given up after as long as it took to grow.

    Create it when reading begins.

    Args:
        opened: when the source began to be opened, by `time.monotonic`.
        frame_rate: frames per second.
    """

    def __init__(self, opened: float, frame_rate: float) -> None:
        self._opened = opened
        self._rate = frame_rate
        began = time.monotonic()
        self._given_up = began + (began - opened)
        self._waits = 0
        self._is_over = False

    def holds(self, number: int, waited: float) -> bool:
        """Return whether a frame belongs to the backlog; none does after one that does not.

        Args:
            number: of the frame, 1 for the first that was decoded.
            waited: seconds for its packets.
        """
        if not self._is_over:
            now = time.monotonic()
            self._waits += waited * self._rate > _WAITED_SHARE
            no_more = number > (now - self._opened) * self._rate
            self._is_over = self._waits > 1 or no_more or now > self._given_up
        return not self._is_over
