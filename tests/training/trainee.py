"""Tiny images, a tiny network and a trainer for them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from fairmot.export.networks import HeadSizes, Network
from fairmot.training.augment import Augmenter
from fairmot.training.augment_settings import AugmentSettings
from fairmot.training.distributed import Processes
from fairmot.training.losses import FairMOTLoss
from fairmot.training.samples import Sample
from fairmot.training.settings import TrainSettings
from fairmot.training.store import Store
from fairmot.training.trainer import Trainer

SIZE = (128, 96)


def blobs(seed: int, count: int = 4) -> Sample:
    """An image with bright upright rectangles as people."""
    generator = np.random.default_rng(seed)
    image = generator.integers(0, 60, (96, 128, 3), np.uint8)
    boxes = []
    for identity in range(count):
        left, top = 8 + 30 * identity, int(generator.integers(10, 50))
        image[top : top + 36, left : left + 14] = (255, 40 * identity, 255)
        boxes.append((left, top, left + 14, top + 36))
    labels = (np.array(boxes, "f"), np.ones(count, int), np.zeros(count, int), np.arange(count))
    return Sample(image, *labels, "blobs", "blobs", f"blobs/{seed}")


def blob_store() -> Store:
    """Six images of one identity space that are drawn, and one of another that is not."""
    other = blobs(100)
    other.space = other.group = "other"
    return Store([*(blobs(seed) for seed in range(6)), other], {"blobs": 1.0}, 128)


class TinyNetwork(Network):
    """Four convolutions, one that is not used, and the heads."""

    def __init__(self) -> None:
        super().__init__(HeadSizes(embedding=8, hidden=16))
        layers: list[nn.Module] = []
        for inputs, outputs, stride in ((3, 16, 2), (16, 32, 2), (32, 32, 1), (32, 32, 1)):
            layers += [nn.Conv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.spare = nn.Conv2d(32, 32, 1)  # never used, as some layers of DLA
        self._add_heads(32)

    def features(self, images: Tensor) -> Tensor:
        features: Tensor = self.body(images)
        return features


def make_trainer(folder: Path, steps: int, processes: Processes | None = None, **changes: object) -> Trainer:
    """A trainer of the blobs, always with the same first weights."""
    torch.manual_seed(0)
    processes = processes or Processes(torch.device("cpu"))
    settings = TrainSettings(size=SIZE, steps=steps, batch=4, warmup=5, learning_rate=5e-3, ema=0.9)
    settings = TrainSettings(**(vars(settings) | changes))
    augment = AugmentSettings(mosaic=0, whole=1, rotation=0, stretch=0, minimum_height=4)
    store = blob_store()
    folder.mkdir(exist_ok=True)
    augmenter = Augmenter(store, SIZE, augment, settings.seed + processes.rank)
    return Trainer(settings, augmenter, TinyNetwork(), FairMOTLoss(8, store.spaces), folder, processes)


def write_folder(root: Path, images: int) -> None:
    """A folder as a user has it: images with labels in JDE form, of two scenes."""
    for name in ("images", "labels_with_ids"):
        (root / "mine" / name).mkdir(parents=True)
    for index in range(images):
        sample = blobs(index)
        stem = f"camera{index % 2}_frame_{index}"
        cv2.imwrite(str(root / "mine" / "images" / f"{stem}.jpg"), sample.image)
        tlbr, size = sample.tlbr, np.array([128, 96, 128, 96])
        rows = np.concatenate(((tlbr[:, :2] + tlbr[:, 2:]) / 2, tlbr[:, 2:] - tlbr[:, :2]), 1) / size
        lines = [f"0 {i} " + " ".join(map(str, row)) for i, row in enumerate(rows)]
        (root / "mine" / "labels_with_ids" / f"{stem}.txt").write_text("\n".join(lines))
