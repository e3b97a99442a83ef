"""Every architecture with every form of heads, from a checkpoint file to tracks: `python -m benchmarks.head_variants`.

For each architecture x (2, 2C, 4 channels of `wh`) x (with, without `reg`) x (with, without `id`): a checkpoint with
CenterNet's keys is written, exported by the function of `fairmot export`, compared with PyTorch, opened in ONNX
Runtime, and tracks a scene of rectangles in three colors, which are the classes. No training: the features are those of
random weights with the statistics of their BatchNorms measured on the scene, the hidden layers of the heads are random
and wide, and the last convolution of each head is solved by ridge regression on the frames that are tracked.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from itertools import product
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

import fairmot
from fairmot.core.records import ByteArray, FloatArray
from fairmot.engine.preprocessing import CENTERNET, FAIRMOT, Preprocessing
from fairmot.export.architectures import Architecture
from fairmot.export.checkpoint import load_network
from fairmot.export.command import export
from fairmot.export.networks import ARCHITECTURES, STRIDE, HeadSizes, Network, build_network
from fairmot.export.networks.deform_conv import DeformConv2d
from fairmot.export.verify import normalized, verify

SIZE = (128, 96)
FRAMES = 10
COLORS = ((255, 80, 80), (80, 255, 80), (80, 80, 255))  # BGR of each class
CLASSES = len(COLORS)
_START = ((4, 10), (60, 20), (70, 72))  # left and top of each class in frame 0
_STEP = ((2, 4), (-2, 2), (2, 1))  # across, and down in half pixels, per frame
_SIZE = ((16, 32), (32, 40), (27, 18))  # an IoU of two of these is at most 0.41
EMBEDDING = 16

_HIDDEN = 768  # so many random features tell neighboring cells apart even behind a ResNet's maps of stride 32
_PEAK, _BESIDE, _ELSEWHERE = (4.0, 100.0), (-2.5, 40.0), (-5.0, 1.0)  # logit and weight of a cell
_RIDGE = 1e-3  # of the mean square of the features
_LEAST_IOU = 0.6

BoxChannels = Literal["2", "2C", "4"]


@dataclass(frozen=True)
class Variant:
    """A form of the heads.

    Attributes:
        box: channels of `wh`.
        offset: whether there is `reg`.
        embedding: whether there is `id`.
    """

    box: BoxChannels
    offset: bool
    embedding: bool

    @property
    def sizes(self) -> HeadSizes:
        """The sizes of the heads."""
        return HeadSizes(
            classes=CLASSES,
            box={"2": 2, "2C": 2 * CLASSES, "4": 4}[self.box],
            embedding=EMBEDDING if self.embedding else 0,
            hidden=_HIDDEN,
            offset=self.offset,
            class_boxes=self.box == "2C",
        )

    @property
    def preprocessing(self) -> Preprocessing:
        """The pre-processing that `fairmot export` chooses."""
        return FAIRMOT if self.embedding else CENTERNET


VARIANTS = tuple(Variant(*each) for each in product(("2", "2C", "4"), (True, False), (True, False)))


@dataclass(frozen=True)
class Result:
    """What became of a checkpoint.

    Attributes:
        error: largest of any output against PyTorch, relative to `max(1, |value|)`.
        found: true boxes with a track of their class at an IoU of at least 0.6.
        true: true boxes in all frames.
        identities: ids that were given.
    """

    error: float
    found: int
    true: int
    identities: int


def scene() -> tuple[ByteArray, FloatArray]:
    """Return frames `(f, height, width, 3)` uint8 BGR and the boxes `(f, classes, 4)` tlbr of their rectangles."""
    width, height = SIZE
    frames = np.full((FRAMES, height, width, 3), 30, np.uint8)
    boxes = np.zeros((FRAMES, CLASSES, 4), np.float32)
    for (index, frame), kind in product(enumerate(frames), range(CLASSES)):
        (left, top), (across, down), (wide, high) = _START[kind], _STEP[kind], _SIZE[kind]
        left, top = left + across * index, top + down * index // 2
        right, bottom = left + wide, top + high
        frame[top:bottom, left:right] = COLORS[kind]
        boxes[index, kind] = left, top, right, bottom
    return frames, boxes


def solve(network: Network, preprocessing: Preprocessing) -> None:
    """Set a network with random weights so that it detects the rectangles of the scene; in place.

    Args:
        network: with `CLASSES` classes; left in evaluation mode.
        preprocessing: of its input.
    """
    frames, boxes = scene()
    images = normalized(frames, preprocessing)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the statistics become those of the one batch
        elif isinstance(module, DeformConv2d):
            nn.init.normal_(module.conv_offset_mask.weight, std=0.02)
    with torch.no_grad():
        network.train()(images)
        features = network.eval().features(images)
        for head, (targets, weights) in _targets(boxes, network.head_sizes).items():
            layer = network.output_layer(head)
            layers = network.get_submodule(head)
            assert isinstance(layers, nn.Sequential)
            hidden = layers[:-1](features).permute(0, 2, 3, 1).flatten(0, 2)
            for channel in range(len(targets)):
                solution = _ridge(hidden, targets[channel].flatten(), weights[channel].flatten())
                layer.weight[channel, :, 0, 0] = solution[:-1]
                assert layer.bias is not None
                layer.bias[channel] = solution[-1]


def _targets(boxes: FloatArray, sizes: HeadSizes) -> dict[str, tuple[Tensor, Tensor]]:
    """Return what each head should answer and the weight of each cell, both `(channels, f, rows, columns)`."""
    shape = (FRAMES, SIZE[1] // STRIDE, SIZE[0] // STRIDE)
    channels = {"hm": sizes.classes, "wh": sizes.box}
    channels |= {"reg": 2} if sizes.offset else {}
    channels |= {"id": sizes.embedding} if sizes.embedding else {}
    targets = {head: (torch.zeros(count, *shape), torch.zeros(count, *shape)) for head, count in channels.items()}
    logits, logit_weights = targets["hm"]
    logits[:], logit_weights[:] = _ELSEWHERE[0], _ELSEWHERE[1]
    for frame, kind in product(range(FRAMES), range(CLASSES)):
        left, top, right, bottom = (float(edge) / STRIDE for edge in boxes[frame, kind])
        x, y = (left + right) / 2, (top + bottom) / 2
        column, row = int(x), int(y)
        around = (kind, frame, slice(row - 1, row + 2), slice(column - 1, column + 2))
        logits[around], logit_weights[around] = _BESIDE
        logits[kind, frame, row, column], logit_weights[kind, frame, row, column] = _PEAK
        size = [right - left, bottom - top] if sizes.box_is_size else [x - left, y - top, right - x, bottom - y]
        first = len(size) * kind if sizes.class_boxes else 0
        answers = {"wh": (first, size), "reg": (0, [x - column, y - row])}
        answers["id"] = (0, torch.eye(max(EMBEDDING, CLASSES))[kind].tolist())
        for head, (start, values) in answers.items():
            if head in targets:
                cell = (slice(start, start + len(values)), frame, row, column)
                targets[head][0][cell] = torch.tensor(values)
                targets[head][1][cell] = 1.0
    return targets


def _ridge(features: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Return the weights and the bias, in one row, whose weighted squared error with a penalty is least."""
    used = weights > 0
    factors = weights[used].sqrt().double()[:, None]
    rows = torch.cat((features[used], torch.ones(int(used.sum()), 1)), 1).double() * factors
    penalty = _RIDGE * rows.square().mean() * torch.eye(rows.shape[1], dtype=torch.float64)
    wanted = targets[used].double()[:, None] * factors
    return torch.linalg.solve(rows.T @ rows + penalty, rows.T @ wanted)[:, 0].float()


def run(architecture: Architecture, variant: Variant, folder: Path) -> Result:
    """Take a variant from a checkpoint file to tracks.

    Args:
        architecture: of the network.
        variant: of its heads.
        folder: for the files.

    Raises:
        RuntimeError: if the export does not agree with PyTorch.
        UserError: if a step refuses the files of the step before.
    """
    torch.manual_seed(1)
    network = build_network(architecture, variant.sizes)
    solve(network, variant.preprocessing)
    checkpoint, model, image = folder / "model.pth", folder / "model.onnx", folder / "frame.png"
    torch.save({"epoch": 140, "state_dict": network.state_dict()}, checkpoint)
    frames, boxes = scene()
    cv2.imwrite(str(image), frames[0])
    with redirect_stdout(StringIO()) as printed:
        if not export(checkpoint, model, size=SIZE, frame=image):
            raise RuntimeError(printed.getvalue())
    error = max(each.maximum for each in verify(load_network(checkpoint, architecture)[1], model, frames[0]))
    found, identities = _track(model, frames, boxes, folder / "frames")
    return Result(error, found, boxes.shape[0] * boxes.shape[1], identities)


def _track(model: Path, frames: ByteArray, boxes: FloatArray, folder: Path) -> tuple[int, int]:
    """Track the frames as image files; return the number of true boxes found and of identities."""
    folder.mkdir(exist_ok=True)
    for index, image in enumerate(frames):
        cv2.imwrite(str(folder / f"{index:03}.png"), image)
    found, ids = 0, set()
    settings = fairmot.EngineSettings(backend="onnxruntime", weights=model)
    with fairmot.open_source(str(folder)) as source, fairmot.open_engine(settings) as engine:
        tracker = fairmot.FairMOTTracker(source.frame_rate)
        for truth, (_, tracks) in zip(boxes, fairmot.track_frames(source, engine, tracker), strict=True):
            ids |= set(tracks.ids.tolist())
            for kind, box in enumerate(truth):
                same = tracks.tlwh[tracks.class_ids == kind]
                found += any(_iou(box, each) >= _LEAST_IOU for each in same)
    return found, len(ids)


def _iou(tlbr: FloatArray, tlwh: FloatArray) -> float:
    low = np.maximum(tlbr[:2], tlwh[:2])
    high = np.minimum(tlbr[2:], tlwh[:2] + tlwh[2:])
    common = float(np.prod(np.maximum(high - low, 0)))
    return common / (float(np.prod(tlbr[2:] - tlbr[:2])) + float(np.prod(tlwh[2:])) - common)


def table(architectures: list[Architecture]) -> Iterator[str]:
    """Yield the lines of the table, each as soon as it is measured."""
    yield "| architecture | channels of wh | reg | id | pre-processing | error against PyTorch | found | identities |"
    yield "|---|---|---|---|---|---|---|---|"
    for architecture, variant in product(architectures, VARIANTS):
        with tempfile.TemporaryDirectory() as folder:
            result = run(architecture, variant, Path(folder))
        yield (
            f"| {architecture} | {variant.box} | {_yes(variant.offset)} | {_yes(variant.embedding)} | "
            f"{'fairmot' if variant.embedding else 'centernet'} | {result.error:.1e} | "
            f"{result.found} of {result.true} | {result.identities} of {CLASSES} |"
        )


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architectures", nargs="+", choices=list(ARCHITECTURES), default=list(ARCHITECTURES))
    options = parser.parse_args()
    start = time.perf_counter()
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, ", end="")
    print(f"onnxruntime {onnxruntime.__version__}, torch {torch.__version__}, {SIZE[0]}x{SIZE[1]}, C = {CLASSES}\n")
    for line in table(options.architectures):
        print(line, flush=True)
    print(f"\n{time.perf_counter() - start:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
