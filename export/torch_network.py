"""A checkpoint in PyTorch as a function from images to heads, for evaluation without an ONNX file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from fairmot.core.class_names import default_class_names
from fairmot.core.errors import EngineError
from fairmot.core.records import FloatArray
from fairmot.engine.decode import HeadOutputs
from fairmot.engine.model import ModelInfo
from fairmot.engine.preprocessing import PREPROCESSING, PreprocessName
from fairmot.export.architectures import SIZE_MULTIPLE, Boxes
from fairmot.export.checkpoint import load_network, read_class_names
from fairmot.export.networks import STRIDE
from fairmot.export.onnx_model import ExportedNetwork


class TorchNetwork:
    """A checkpoint in PyTorch, float32, on the GPU if there is one.

    Args:
        checkpoint: a .pth file that `fairmot export` takes.
        preprocess: pre-processing that the network was trained with; as `fairmot export` chooses it if None: FairMOT's
            for a network with embeddings, else CenterNet's.
        boxes: by the channels of `wh` if None, see `fairmot.export.checkpoint.head_sizes`.
        all_cells: return the scores of all cells, as raw heads, not of peaks alone.

    Attributes:
        model: the metadata that an export would have.
        description: what runs it.

    Raises:
        ModelError: if the checkpoint cannot be read.
    """

    def __init__(
        self,
        checkpoint: Path,
        *,
        preprocess: PreprocessName | None = None,
        boxes: Boxes | None = None,
        all_cells: bool = False,
    ) -> None:
        architecture, network = load_network(checkpoint, class_boxes=None if boxes is None else boxes == "per-class")
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._network = ExportedNetwork(network, raw=all_cells).eval().to(self._device)
        sizes = network.head_sizes
        wanted = PREPROCESSING[preprocess or ("fairmot" if sizes.embedding else "centernet")]
        names = read_class_names(checkpoint)
        classes = sizes.classes
        self.description = f"PyTorch {torch.__version__} on {_name(self._device)} in float32"
        self.model = ModelInfo(
            path=checkpoint,
            architecture=architecture,
            stride=STRIDE,
            size=wanted.size,
            size_multiple=SIZE_MULTIPLE,
            channel_order=wanted.channel_order,
            mean=wanted.mean,
            std=wanted.std,
            border=wanted.border,
            resize=wanted.resize,
            class_names=tuple(names) if len(names) == classes else default_class_names(classes),
            raw_heads=all_cells,
            embedding_size=sizes.embedding,
            score_threshold=wanted.score_threshold,
            max_detections=wanted.max_detections,
            class_boxes=sizes.class_boxes,
        )

    def __call__(self, images: FloatArray) -> HeadOutputs[FloatArray]:
        """Map images `(n, 3, h, w)` to heads without embedding.

        Raises:
            EngineError: if PyTorch fails, for lack of memory as a rule.
        """
        try:
            outputs = self._run(torch.from_numpy(np.ascontiguousarray(images)))
            found = {name: output.cpu().numpy() for name, output in outputs.items()}
        except RuntimeError as error:  # also of CUDA, and its lack of memory
            raise EngineError(
                f"PyTorch failed while it ran the network ({str(error).splitlines()[0]}): lower --size or close other "
                "programs."
            ) from error
        return HeadOutputs(found["heatmap"], found["box"], found["offset"])

    @torch.no_grad()
    def _run(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        outputs = self._network(images.to(self._device))
        return dict(zip(self._network.output_names, outputs, strict=True))


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU"
