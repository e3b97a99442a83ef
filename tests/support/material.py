"""Small sources with known content for the tests of the command, and a way to run it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from support import blob_network

ROOT = Path(__file__).resolve().parents[2]
SIZE = (96, 64)
WHITE = (255, 255, 255)
PEOPLE = ((6, 5), (15, 9))  # cells of the squares that the test network takes for people

Cells = Iterable[tuple[int, int]]


def image(cells: Cells = PEOPLE, size: tuple[int, int] = SIZE) -> np.ndarray:
    return blob_network.image_of(size, dict.fromkeys(cells, WHITE))


def write_video(path: Path, images: Iterable[np.ndarray], muxer: Mapping[str, str] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=dict(muxer or {})) as container:
        stream: Any = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.pix_fmt = "yuv420p"
        for position, image in enumerate(images):
            if position == 0:
                stream.height, stream.width = image.shape[:2]
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts = position
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_clip(path: Path, count: int = 12, **options: Any) -> Path:
    return write_video(path, [image()] * count, **options)


def write_images(folder: Path, images: Iterable[np.ndarray]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images, 1):
        cv2.imwrite(str(folder / f"{number:06d}.png"), image)
    return folder


def write_sequence(folder: Path, frames: Sequence[Cells], rate: int = 25) -> Path:
    """A MOTChallenge sequence with ground truth: in each frame people at these cells, the n-th place is person n."""
    write_images(folder / "img1", map(image, frames))
    (folder / "seqinfo.ini").write_text(
        f"[Sequence]\nname={folder.name}\nimDir=img1\nframeRate={rate}\nseqLength={len(frames)}\nimExt=.png\n"
    )
    rows = []
    for number, cells in enumerate(frames, 1):
        for person, cell in enumerate(cells, 1):
            left, top, right, bottom = blob_network.expected_box(*cell)
            rows.append(f"{number},{person},{left},{top},{right - left},{bottom - top},1,1,1\n")
    (folder / "gt").mkdir()
    (folder / "gt" / "gt.txt").write_text("".join(rows))
    return folder


def command(*arguments: object) -> list[str]:
    return [sys.executable, str(ROOT / "run_track.py"), *map(str, arguments)]


def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, env=environment, timeout=60, check=False, **options
    )


def check_sentence(stderr: str, pattern: str) -> None:
    """One line that matches, and no traceback."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    assert len(lines) == 1, stderr
    assert re.search(pattern, lines[0]), stderr
    assert re.match(r"(error|warning): .*[.?]$", lines[0]), stderr


def read_lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "tracks.jsonl").read_text().splitlines()]


def read_run(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())


def count_frames(video: Path) -> int:
    with av.open(str(video)) as container:
        return sum(1 for _ in container.decode(video=0))


def check_results(folder: Path, *, status: str, least: int = 1) -> int:
    """All files of a run are valid and go as far as each other; returns the number of frames."""
    lines = read_lines(folder)
    numbers = [line["frame"] for line in lines]
    assert len(lines) >= least
    assert numbers == sorted(set(numbers))
    report = read_run(folder)
    assert (report["status"], report["frames"], report["last_frame"]) == (status, len(lines), numbers[-1])
    rows = [line.split(",") for line in (folder / "tracks.txt").read_text().splitlines()]
    in_text = [(int(row[0]), int(row[1])) for row in rows]
    assert in_text == [(line["frame"], track["id"]) for line in lines for track in line["tracks"]]
    assert count_frames(folder / "tracked.mp4") == len(lines)
    return len(lines)
