"""Networks as functions from prepared images to heads; the ONNX file of a model in ONNX Runtime is one."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import onnx
import onnxruntime

from fairmot.core.cores import usable_cores
from fairmot.core.errors import ModelError
from fairmot.core.records import FloatArray
from fairmot.engine.decode import HeadOutputs
from fairmot.engine.graph.heatmap import keep_scores_of_all_cells
from fairmot.engine.model import INPUT, ModelInfo
from fairmot.engine.onnxruntime import open_session, runtime_errors


class HeadsNetwork(Protocol):
    """A network that is ready to run.

    Attributes:
        model: metadata of it; with `raw_heads` the heatmap holds logits of all cells.
        description: what runs it.
    """

    model: ModelInfo
    description: str

    def __call__(self, images: FloatArray) -> HeadOutputs[FloatArray]:
        """Map images `(n, 3, h, w)`, prepared as the model wants them, to heads without embedding and landmarks."""


class OnnxNetwork:
    """A model in ONNX Runtime on the CPU; see `HeadsNetwork`.

    Args:
        model: metadata of the file to load.
        all_cells: return the scores of all cells, not of peaks alone.

    Raises:
        EngineError: if there is not enough memory.
        ModelError: if ONNX Runtime cannot run the model, or the file does not keep peaks as `fairmot export` writes it.
    """

    def __init__(self, model: ModelInfo, *, all_cells: bool = False) -> None:
        self.model = model
        threads = usable_cores()
        self.description = f"ONNX Runtime {onnxruntime.__version__} on the CPU, {threads} threads"
        graph = onnx.load(model.path)
        heatmap = keep_scores_of_all_cells(graph) if all_cells and not model.raw_heads else "heatmap"
        self._names = [heatmap, "box", "offset"]
        self._session = open_session(model.path, threads, graph)

    def __call__(self, images: FloatArray) -> HeadOutputs[FloatArray]:
        """Return the heads.

        Raises:
            EngineError: if ONNX Runtime fails, for lack of memory as a rule.
            ModelError: if a head is not what the metadata promises.
        """
        with runtime_errors():
            heads: HeadOutputs[FloatArray] = HeadOutputs(*self._session.run(self._names, {INPUT: images}))
        check_heads(self.model, images, heads)
        return heads


def check_heads(model: ModelInfo, images: FloatArray, heads: HeadOutputs[FloatArray]) -> None:
    """Raise `ModelError` unless heads have the shapes that a model's metadata promises, and are finite."""
    stride = model.stride
    rows, columns = images.shape[2] // stride, images.shape[3] // stride
    for name, head in heads.named():
        if head.shape[1:] != (model.output_channels[name], rows, columns):
            raise ModelError(
                f'{model.path}: the output "{name}" has the shape {head.shape}, not that of its metadata: export the '
                "checkpoint again with `fairmot export`."
            )
        if not np.isfinite(head).all():
            raise ModelError(f'{model.path}: the output "{name}" is not finite: export another checkpoint.')
