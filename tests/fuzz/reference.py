"""Print as JSON how plain PyAV or OpenCV reads a file: `reference.py video|image FILE`.

Run as a job of the fork server: a damaged file may take a decoder down.
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any

import av
import cv2
import numpy as np


def see_video(path: str) -> dict[str, Any]:
    """Count the frames of the first video stream, and what is wrong on the way to the last."""
    options: dict[str, Any] = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "ignore"}
    frames, errors, digest = 0, 0, hashlib.sha256()
    try:
        with av.open(f"file:{path}", **options) as container:
            for packet in container.demux(container.streams.video[0]):
                try:
                    for image in packet.decode():
                        frames += 1
                        digest.update(image.to_ndarray(format="bgr24").tobytes())
                except av.FFmpegError:
                    errors += 1
    except (av.FFmpegError, IndexError):
        errors += 1
    return {"frames": frames, "errors": errors, "digest": digest.hexdigest()}


def see_image(path: str) -> dict[str, Any]:
    """Decode an image."""
    with open(path, "rb") as file:
        data = np.frombuffer(file.read(), np.uint8)
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    except cv2.error:
        image = None
    digest = "" if image is None else hashlib.sha256(image.tobytes()).hexdigest()
    return {"frames": int(image is not None), "errors": int(image is None), "digest": digest}


if __name__ == "__main__":
    see = {"video": see_video, "image": see_image}[sys.argv[1]]
    print(json.dumps(see(sys.argv[2])))
