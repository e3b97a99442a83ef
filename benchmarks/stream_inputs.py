"""The videos of `benchmarks.streams`; `python -m benchmarks.stream_inputs FILE PORT...` sends live streams of one.

A long file has another's packets over and over, not encoded again. A live stream is MPEG-TS over UDP on this machine,
the packets of a file in real time, over and over until the process is ended.
"""

from __future__ import annotations

import argparse
import heapq
import os
import shutil
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.packet import Packet
from av.video.stream import VideoStream

LIVE_RATE = 30
_TICKS = 90_000  # a second, of MPEG-TS
_KEY_INTERVAL = 30  # a receiver begins at a key frame
_MOST_BITS = 100_000_000  # a second: a key frame at once is more than a socket's buffer holds


def write_long(path: Path, source: Path, frames: int) -> None:
    """Write the packets of a video again and again until there are so many; nothing is done where the file is there."""
    if path.is_file():
        return
    draft = path.with_name(f"draft-{path.name}")
    with av.open(str(draft), "w") as out, av.open(str(source)) as given:
        stream = out.add_stream_from_template(given.streams.video[0])
        rate = given.streams.video[0].average_rate or Fraction(25)
        for number, packet in enumerate(_packets(source, stream, rate)):
            if number == frames:
                break
            out.mux(packet)
    draft.replace(path)


def write_live(path: Path, source: Path, frames: int) -> None:
    """Encode the start of a video with a key frame every second, and no frame that refers to a later one."""
    if path.is_file():
        return
    draft = path.with_name(f"draft-{path.name}")
    options = {"preset": "veryfast", "tune": "zerolatency", "g": str(_KEY_INTERVAL)}
    with av.open(str(source)) as given, av.open(str(draft), "w") as out:
        video = given.streams.video[0]
        stream = out.add_stream("libx264", rate=LIVE_RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = video.width, video.height, "yuv420p"
        for number, frame in enumerate(given.decode(video)):
            if number == frames:
                break
            frame.pts, frame.time_base = number, Fraction(1, LIVE_RATE)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    draft.replace(path)


def copies(source: Path, count: int) -> list[Path]:
    """Return so many files of one content beside a file; hard links where the disk has them."""
    paths = [source.with_name(f"{source.stem}_{number}{source.suffix}") for number in range(1, count + 1)]
    for path in paths:
        if not path.is_file():
            try:
                os.link(source, path)
            except OSError:
                shutil.copyfile(source, path)
    return paths


def _packets(source: Path, stream: VideoStream, rate: Fraction) -> Iterator[Packet]:
    """Yield the packets of a video for another stream without end, timestamps at a constant rate."""
    number, first = 0, None
    while True:
        with av.open(str(source)) as given:
            for packet in given.demux(given.streams.video[0]):
                if packet.dts is None or packet.pts is None:  # the empty one at the end
                    continue
                assert packet.time_base is not None
                ahead = round((packet.pts - packet.dts) * packet.time_base * rate)
                first = ahead if first is None else first  # so that the first frame is at 0
                packet.time_base = Fraction(1, _TICKS)
                packet.dts = int((number - first) * _TICKS / rate)
                packet.pts = int((number - first + ahead) * _TICKS / rate)
                packet.stream = stream
                number += 1
                yield packet


def send(source: Path, ports: list[int]) -> None:
    """Send a file to UDP ports of this machine in real time, without end; the streams take turns within a frame."""
    due: list[tuple[float, int]] = []
    streams = []
    began = time.perf_counter()
    for number, port in enumerate(ports):
        url = f"udp://127.0.0.1:{port}?pkt_size=1316&bitrate={_MOST_BITS}&fifo_size=100000"
        out = av.open(url, "w", format="mpegts", options={"flush_packets": "1"})
        with av.open(str(source)) as given:
            stream = out.add_stream_from_template(given.streams.video[0])
        streams.append((out, _packets(source, stream, Fraction(LIVE_RATE))))
        heapq.heappush(due, (began + number / len(ports) / LIVE_RATE, number))
    while True:
        moment, number = heapq.heappop(due)
        time.sleep(max(0.0, moment - time.perf_counter()))
        out, packets = streams[number]
        out.mux(next(packets))
        heapq.heappush(due, (moment + 1 / LIVE_RATE, number))


def main() -> None:
    """Send until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("ports", type=int, nargs="+", metavar="PORT")
    options = parser.parse_args()
    send(options.file, options.ports)


if __name__ == "__main__":
    main()
