"""Numeric comparison of an exported model in ONNX Runtime with its network in PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from core.records import ByteArray, FloatArray
from engine.letterbox import Preprocessor
from engine.model import INPUT, ModelInfo
from engine.ort import open_session, usable_cores
from export.compare import tied_peaks
from export.networks import Network
from export.onnx_model import ExportedNetwork

TOLERANCE = 1e-4


@dataclass(frozen=True)
class OutputError:
    """How far one output is from the reference, relative to `max(1, |reference|)`.

    Attributes:
        name: of the output.
        maximum: largest error of any element.
        mean: over all elements.
        ties: heatmap cells left out, see `export.compare.tied_peaks`.
    """

    name: str
    maximum: float
    mean: float
    ties: int = 0

    def __str__(self) -> str:
        ties = f", {self.ties} tied peaks left out" if self.ties else ""
        return f"{self.name:<10} maximum error {self.maximum:.2e}, mean {self.mean:.2e}{ties}"


def verify(network: Network, path: Path, image: ByteArray) -> list[OutputError]:
    """Run a frame and its mirror image, as a batch of two, through both and compare every output.

    Args:
        network: the network as it should be.
        path: the exported file.
        image: `(height, width, 3)` uint8 BGR of any size.

    Raises:
        ModelError: if the file cannot be read or run.
    """
    model = ModelInfo.read(path)
    batch, _ = Preprocessor(model, model.size)([image, np.ascontiguousarray(image[:, ::-1])])
    session = open_session(path, usable_cores())
    results: list[FloatArray] = session.run(model.output_names, {INPUT: batch})
    reference = ExportedNetwork(network.eval(), model.raw_heads)
    with torch.no_grad():
        expected = dict(zip(reference.output_names, reference(torch.from_numpy(batch)), strict=True))
        heads = network(torch.from_numpy(batch))
    errors = []
    for name, result in zip(model.output_names, results, strict=True):
        wanted = expected[name].numpy()
        difference = np.abs(result - wanted) / np.maximum(1, np.abs(wanted))
        tied = np.zeros(difference.shape, bool)
        if name == "heatmap" and not model.raw_heads:
            tied = tied_peaks(result, wanted, heads["hm"].sigmoid().numpy(), TOLERANCE)
        kept: npt.NDArray[np.floating] = difference[~tied]
        errors.append(OutputError(name, float(kept.max(initial=0)), float(kept.mean()), int(tied.sum())))
    return errors
