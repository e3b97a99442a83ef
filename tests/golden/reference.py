"""Ask the reference trackers for the identities of the golden detections, and write their answers.

    PYTHONPATH=.:tests python -m golden.reference FAIRMOT BYTETRACK

FAIRMOT and BYTETRACK are checkouts of https://github.com/ifzhang/FairMOT and https://github.com/ifzhang/ByteTrack.
Needs PyTorch, cython_bbox and lap. Their association runs unchanged; what it imports besides, the network and its
decoding, is replaced by the detections of the file.
"""

from __future__ import annotations

import argparse
import gzip
import importlib
import importlib.util
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch

from fairmot.core.records import Detections
from fairmot.tracker.detection_file import read_detection_file
from golden import FOLDER, WALKS
from golden.make import detections_path

CHECKOUT = FOLDER.parents[1]
# Name of the answers: which tracker, its `conf_thres` and its `match_thres`.
VARIANTS = {
    "fairmot": ("multitracker.JDETracker", 0.4, 0.4),
    "byte_reid": ("tracker.JDETracker", 0.4, 0.4),
    "byte_motion": ("byte_tracker.BYTETracker", 0.4, 0.8),
    "byte_reid_c06": ("tracker.JDETracker", 0.6, 0.4),
    "byte_motion_c06": ("byte_tracker.BYTETracker", 0.6, 0.8),
}


class Network:
    """Stands for the reference's network: its answers are the detections that were set last."""

    def __init__(self) -> None:
        self.detections = Detections.empty()

    def __call__(self, image: torch.Tensor) -> list[dict[str, torch.Tensor]]:
        return [{name: torch.zeros(1, 1, 1, 1) for name in ("hm", "wh", "id", "reg")}]

    def boxes(self, *_: object, **__: object) -> tuple[torch.Tensor, None]:
        """Return rows of left, top, right, bottom, score, as `mot_decode` does."""
        rows = np.column_stack((self.detections.tlbr, self.detections.scores)).astype(np.float32)
        return torch.from_numpy(rows)[None], None

    def embeddings(self, *_: object) -> torch.Tensor:
        """Return the embedding of each row, as `_tranpose_and_gather_feat` does."""
        return torch.from_numpy(self.detections.embeddings.copy())[None]

    def to(self, _: object) -> Network:
        """Return itself, on any device."""
        return self

    def eval(self) -> None:
        """Do nothing: there are no layers."""


def install(network: Network, fairmot: Path, byte_track: Path) -> None:
    """Make the reference's modules importable, and put the network in the place of what they import."""
    np.float = float  # type: ignore[attr-defined]  # which NumPy 1.24 removed
    # In the place of the checkout and its tests, which have folders `tracker` too.
    others = [path for path in sys.path if Path(path).resolve() not in (CHECKOUT, CHECKOUT / "tests")]
    sys.path[:] = [str(fairmot / "src" / "lib"), *others]

    def provide(name: str, **members: Callable[..., Any]) -> None:
        module = ModuleType(name)
        vars(module).update(members)
        sys.modules[name] = module

    provide("models")
    provide("models.decode", mot_decode=network.boxes)
    provide("models.model", create_model=lambda *_: network, load_model=lambda model, _: model)
    provide("models.utils", _tranpose_and_gather_feat=network.embeddings)
    provide("tracking_utils.utils")
    # Boxes are in pixels of the source already; class 1 has them all.
    provide("utils.post_process", ctdet_post_process=lambda rows, *_: [{1: rows[0]}])
    for name in ("tracker", "byte_tracker"):
        source = byte_track / "tutorials" / "fairmot" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"tracker.{name}", source)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[f"tracker.{name}"] = module
        spec.loader.exec_module(module)


def answers(variant: str, name: str, network: Network) -> Iterator[str]:
    """Yield lines of frame, id, left, top, width, height, score: every track that the reference returns."""
    tracker_name, confidence, limit = VARIANTS[variant]
    module, tracker_class = tracker_name.split(".")
    importlib.import_module("tracker.basetrack").BaseTrack._count = 0
    detections = read_detection_file(detections_path(name))
    options = SimpleNamespace(
        gpus=[-1], arch="", heads={}, head_conv=0, load_model="", conf_thres=confidence, match_thres=limit,
        track_buffer=30, K=500, mean=[0, 0, 0], std=[1, 1, 1], down_ratio=4, num_classes=1, reg_offset=True, ltrb=True,
    )  # fmt: skip
    tracker = getattr(importlib.import_module(f"tracker.{module}"), tracker_class)(options, detections.frame_rate)
    width, height = detections.size or (0, 0)
    for frame, network.detections in detections:
        for track in tracker.update(torch.zeros(1, 3, 608, 1088), np.zeros((height, width, 3), np.uint8)):
            numbers = ",".join(f"{value:.3f}" for value in (*track.tlwh, track.score))
            yield f"{frame},{track.track_id},{numbers}\n"


def main() -> None:
    """Write the answers of all variants."""
    parser = argparse.ArgumentParser(description=str(__doc__), formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fairmot", type=Path, metavar="FAIRMOT")
    parser.add_argument("bytetrack", type=Path, metavar="BYTETRACK")
    given = parser.parse_args()
    logging.disable(logging.DEBUG)  # five lines a frame
    network = Network()
    install(network, given.fairmot, given.bytetrack)
    origin = "".join(
        f"# {url}/tree/{revision(folder)}\n"
        for url, folder in (
            ("https://github.com/ifzhang/FairMOT", given.fairmot),
            ("https://github.com/ifzhang/ByteTrack", given.bytetrack),
        )
    )
    for variant in VARIANTS:
        for name in WALKS:
            target = FOLDER / "expected" / variant / f"{name}.txt.gz"
            target.parent.mkdir(parents=True, exist_ok=True)
            text = f"{origin}# frame,id,left,top,width,height,score\n{''.join(answers(variant, name, network))}"
            target.write_bytes(gzip.compress(text.encode(), mtime=0))


def revision(folder: Path) -> str:
    """Return the commit that a folder holds."""
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main()
