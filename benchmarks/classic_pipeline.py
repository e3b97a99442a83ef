"""FairMOT's tracking loop as it is usually run, to measure against: one thread, one frame after the other.

`python -m benchmarks.classic_pipeline FOLDER` times it on FOLDER/street.mp4 with FOLDER/dla_34.pth and prints JSON.

OpenCV reads BGR frames, the CPU letterboxes and normalizes them, the network runs eagerly in PyTorch in float32, torch
decodes on the GPU with a copy to the host per head, and the boxes go back by the affine of the reference. The steps are
those of `src/lib/tracker/multitracker.py` and `src/lib/models/decode.py` of ifzhang/FairMOT, written anew; the tracker
is this project's own, so that only what comes before it differs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from fairmot.core import Detections, Frame
from fairmot.core.records import ByteArray
from fairmot.export.checkpoint import load_network
from fairmot.export.networks.network import Network
from fairmot.tracker import FairMOTTracker
from fairmot.video import MOTSink

_MOST = 500
_STRIDE = 4


class ClassicDetector:
    """The way from a BGR image to detections.

    Args:
        network: raw heads (`hm`, `wh`, `reg`, `id`), on the GPU.
        size: input `(width, height)`.
        threshold: keep scores above it.
    """

    def __init__(self, network: Network, size: tuple[int, int], threshold: float) -> None:
        self._network = network
        self._size = size
        self._threshold = threshold
        self._device = next(network.parameters()).device

    def __call__(self, image: ByteArray) -> Detections:
        """Return the people in an image."""
        tensor = torch.from_numpy(self._letterbox(image)).to(self._device)[None]
        with torch.no_grad():
            heads = self._network(tensor)
            embedding = F.normalize(heads["id"], dim=1)
            boxes, scores, cells = self._decode(heads)
            vectors = embedding[0].flatten(1)[:, cells].T
        scores_here = scores.cpu().numpy()
        tlbr = self._back(boxes.cpu().numpy(), image.shape[1], image.shape[0])
        vectors_here = vectors.cpu().numpy()
        kept = scores_here > self._threshold
        return Detections(tlbr[kept], scores_here[kept], np.zeros(int(kept.sum()), np.int64), vectors_here[kept])

    def _letterbox(self, image: ByteArray) -> np.ndarray:
        width, height = self._size
        ratio = min(height / image.shape[0], width / image.shape[1])
        new = round(image.shape[1] * ratio), round(image.shape[0] * ratio)
        dw, dh = (width - new[0]) / 2, (height - new[1]) / 2
        image = np.asarray(cv2.resize(image, new, interpolation=cv2.INTER_AREA), np.uint8)
        edges = round(dh - 0.1), round(dh + 0.1), round(dw - 0.1), round(dw + 0.1)
        padded = cv2.copyMakeBorder(image, *edges, cv2.BORDER_CONSTANT, value=(127.5, 127.5, 127.5))
        planes = np.ascontiguousarray(padded[:, :, ::-1].transpose(2, 0, 1), dtype=np.float32)
        planes /= 255.0
        return planes

    def _decode(self, heads: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        heat = heads["hm"].sigmoid()
        heat = heat * (F.max_pool2d(heat, 3, stride=1, padding=1) == heat).float()
        columns = heat.shape[3]
        scores, cells = heat[0].flatten().topk(_MOST)
        x = (cells % columns).float() + heads["reg"][0, 0].flatten()[cells]
        y = torch.div(cells, columns, rounding_mode="floor").float() + heads["reg"][0, 1].flatten()[cells]
        left, top, right, bottom = heads["wh"][0].flatten(1)[:, cells]
        return torch.stack([x - left, y - top, x + right, y + bottom], dim=1), scores, cells

    def _back(self, cells: np.ndarray, width: int, height: int) -> np.ndarray:
        columns, rows = (side / _STRIDE for side in self._size)
        scale = max(self._size[0] / self._size[1] * height, width) / columns
        shift = np.array([width / 2 - scale * columns / 2, height / 2 - scale * rows / 2])
        return (cells * scale + np.tile(shift, 2)).astype(np.float32)


def track_file(detector: ClassicDetector, video: Path, output: Path, most: int) -> tuple[int, float]:
    """Track a video into MOTChallenge text.

    Args:
        detector: finds the people.
        video: the file.
        output: the text file.
        most: stop after so many frames.

    Returns:
        Number of frames and seconds from the first read to the closed file.
    """
    capture = cv2.VideoCapture(str(video))
    rate = capture.get(cv2.CAP_PROP_FPS)
    tracker = FairMOTTracker(rate)
    began = time.perf_counter()
    number = 0
    with MOTSink(output) as sink:
        while number < most:
            found, image = capture.read()
            if not found:
                break
            number += 1
            image = np.asarray(image, np.uint8)
            tracks = tracker.update(detector(image))
            sink.write(Frame(number, number / rate, image), tracks)
    capture.release()
    return number, time.perf_counter() - began


def main() -> None:
    """Print how many frames took how many seconds, after a few to warm up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with dla_34.pth and street.mp4, of benchmarks.widened")
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--size", default="1088x608")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = load_network(options.folder / "dla_34.pth", None)[1].eval().to(device)
    width, height = map(int, options.size.split("x"))
    detector, video = ClassicDetector(network, (width, height), 0.2), options.folder / "street.mp4"
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "tracks.txt"
        track_file(detector, video, text, min(10, options.frames))
        frames, seconds = track_file(detector, video, text, options.frames)
    print(json.dumps({"frames": frames, "seconds": seconds}))


if __name__ == "__main__":
    main()
