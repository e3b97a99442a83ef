"""Numeric comparison of an exported model in ONNX Runtime with its network in PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from fairmot.core.cores import usable_cores
from fairmot.core.errors import ModelError
from fairmot.core.records import ByteArray, FloatArray
from fairmot.engine.letterbox import Letterbox, Preprocessor, letterbox
from fairmot.engine.model import INPUT, ModelInfo
from fairmot.engine.onnxruntime import open_session, runtime_errors
from fairmot.engine.preprocessing import Preprocessing
from fairmot.export.compare import tied_peaks
from fairmot.export.finite import require_finite_heads
from fairmot.export.networks import Network
from fairmot.export.onnx_model import ExportedNetwork

TOLERANCE = 1e-4


@dataclass(frozen=True)
class OutputDeviation:
    """The deviation of one output from the reference, relative to `max(1, |reference|)`.

    Attributes:
        name: of the output.
        maximum: largest error of any element.
        mean: over all elements.
        ties: heatmap cells left out, see `fairmot.export.compare.tied_peaks`.
    """

    name: str
    maximum: float
    mean: float
    ties: int = 0

    def __str__(self) -> str:
        ties = f", {self.ties} tied peaks left out" if self.ties else ""
        return f"{self.name:<10} maximum error {self.maximum:.2e}, mean {self.mean:.2e}{ties}"


def check_network(
    network: Network, image: ByteArray, size: tuple[int, int], preprocessing: Preprocessing, path: Path
) -> None:
    """Run an image through a network and check that its raw heads are finite, before it is exported.

    Args:
        network: with its trained weights, in evaluation mode.
        image: `(height, width, 3)` uint8 BGR of any size.
        size: input `(width, height)`.
        preprocessing: what the network expects; the frame is always resized by area, which makes no difference here.
        path: the checkpoint, for the message.

    Raises:
        ModelError: if a head is not finite.
    """
    resized = letterbox(image, Letterbox.fit((image.shape[1], image.shape[0]), size), preprocessing.border)
    require_finite_heads(network, normalized(resized[None], preprocessing), path)


def normalized(images: ByteArray, preprocessing: Preprocessing) -> torch.Tensor:
    """Return images `(n, height, width, 3)` uint8 BGR as a network's input `(n, 3, height, width)` float32."""
    if preprocessing.channel_order == "rgb":
        images = images[..., ::-1]
    mean, std = (np.array(each, np.float32) for each in (preprocessing.mean, preprocessing.std))
    values = (images / np.float32(255) - mean) / std
    return torch.from_numpy(np.ascontiguousarray(values.transpose(0, 3, 1, 2)))


def verify(network: Network, path: Path, image: ByteArray) -> list[OutputDeviation]:
    """Run an image and its mirror image, as a batch of two, through both and compare every output.

    Args:
        network: the reference.
        path: the exported file.
        image: `(height, width, 3)` uint8 BGR of any size.

    Raises:
        ModelError: if the file cannot be read or run, or an output is not finite.
    """
    model = ModelInfo.read(path)
    batch, _ = Preprocessor(model, model.size)([image, np.ascontiguousarray(image[:, ::-1])])
    session = open_session(path, usable_cores())
    with runtime_errors():
        results: list[FloatArray] = session.run(model.output_names, {INPUT: batch})
    reference = ExportedNetwork(network.eval(), model.raw_heads)
    heads = require_finite_heads(network, torch.from_numpy(batch), path)
    with torch.no_grad():
        expected = dict(zip(reference.output_names, reference(torch.from_numpy(batch)), strict=True))
    errors = []
    for name, result in zip(model.output_names, results, strict=True):
        if not np.isfinite(result).all():
            raise ModelError(
                f'{path}: the output "{name}" is not finite in ONNX Runtime but is in PyTorch: export the checkpoint '
                "again with another version of torch or onnxruntime."
            )
        wanted = expected[name].numpy()
        difference = np.abs(result - wanted) / np.maximum(1, np.abs(wanted))
        tied = np.zeros(difference.shape, bool)
        if name == "heatmap" and not model.raw_heads:
            tied = tied_peaks(result, wanted, heads["hm"].sigmoid().numpy(), TOLERANCE)
        kept: npt.NDArray[np.floating] = difference[~tied]
        errors.append(OutputDeviation(name, float(kept.max(initial=0)), float(kept.mean()), int(tied.sum())))
    return errors
