"""Live streams over UDP, in real time."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from support import clip_files as clips

RATE = 50
_DATAGRAM = 7 * 188  # bytes


class UdpStream:
    """A sender of MPEG-TS in real time, from the moment that it is made until it is ended.

    Every frame is a key frame of noise, so that all have the same size: time passes in bytes. The same second comes
    again and again.

    Attributes:
        url: to open.
    """

    def __init__(self, folder: Path) -> None:
        path = clips.write_noise_video(
            folder / "noise.ts", RATE, rate=RATE, encoder={"tune": "zerolatency", "g": "1", "preset": "ultrafast"}
        )
        self._data = path.read_bytes()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
            unused.bind(("127.0.0.1", 0))
            self._address = unused.getsockname()
        self.url = f"udp://127.0.0.1:{self._address[1]}"
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        began, total = time.monotonic(), len(self._data)
        for sent in count(0, _DATAGRAM):
            start, due = sent % total, began + sent / total
            if self._ended.wait(max(0.0, due - time.monotonic())):
                return
            self._socket.sendto(self._data[start : start + _DATAGRAM], self._address)

    def send(self, data: bytes) -> None:
        """Send something in between."""
        for start in range(0, len(data), _DATAGRAM):
            self._socket.sendto(data[start : start + _DATAGRAM], self._address)

    def end(self) -> None:
        """Send nothing more."""
        self._ended.set()
        self._thread.join()
        self._socket.close()


@contextmanager
def udp_stream(folder: Path) -> Iterator[UdpStream]:
    """A stream that ends with the block."""
    stream = UdpStream(folder)
    try:
        yield stream
    finally:
        stream.end()
