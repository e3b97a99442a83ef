"""The comparison of a TensorRT plan with its model in float32, for the command `fairmot verify`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import onnx

from fairmot.core.cores import usable_cores
from fairmot.core.errors import ConfigError, ModelError, SourceError
from fairmot.core.records import ByteArray, FloatArray
from fairmot.core.text import printable
from fairmot.engine.decode import HeadOutputs
from fairmot.engine.factory import BACKENDS, choose_backend
from fairmot.engine.graph.heatmap import keep_scores_of_all_cells
from fairmot.engine.letterbox import Preprocessor
from fairmot.engine.model import INPUT, ModelInfo
from fairmot.engine.onnxruntime import open_session
from fairmot.engine.trt.plan import Plan
from fairmot.export.compare import (
    DetectionDifference,
    OutputDifference,
    compare_detections,
    compare_outputs,
    tied_peaks,
)

if TYPE_CHECKING:
    from fairmot.engine.trt.network import TensorRTNetwork

TOLERANCES = {"fp32": 1e-4, "fp16": 5e-3}
LEAST_COSINE = 0.999
_BATCHES = (1, 8)
_BORDER = 0.01

Reference = Callable[[FloatArray], tuple["HeadOutputs[FloatArray]", "FloatArray | None"]]
"""Maps images `(n, 3, h, w)` to the outputs, and to the heatmap before peaks were kept alone (None for raw heads)."""


def verify_engine(
    model_path: Path, plan_path: Path, frame: Path, *, checkpoint: Path | None = None, threshold: float | None = None
) -> bool:
    """Compare a plan with its model, print the comparison and return whether the plan is accepted.

    Args:
        model_path: the ONNX file.
        plan_path: the plan.
        frame: an image with objects of the model's classes.
        checkpoint: compare with PyTorch on this .pth file instead of ONNX Runtime.
        threshold: detections score above it; None means the model's own.

    Raises:
        UserError: if a file or the GPU is invalid.
    """
    model, plan = ModelInfo.read(model_path), Plan.read(plan_path)
    choose_backend("tensorrt", BACKENDS)
    from fairmot.engine.cuda.gpu import Gpu
    from fairmot.engine.trt.cache import file_sha256  # these need Linux and the packages of a GPU
    from fairmot.engine.trt.network import TensorRTNetwork

    if plan.model_sha256 != file_sha256(model.path):
        raise ConfigError(f"{plan_path} was built from another model than {model.path}: build it from this one.")
    image = cv2.imread(str(frame))
    if image is None:
        raise SourceError(f"{frame} is not an image that OpenCV can read.")
    reference = torch_reference(checkpoint, model) if checkpoint else onnx_reference(model)
    network = TensorRTNetwork(plan, Gpu.open())
    tolerance = TOLERANCES[plan.settings.precision]
    batches = ", ".join(map(str, network.batches))
    print(f"{printable(plan_path)}: {plan.settings.precision}, {plan.size[0]}x{plan.size[1]}, batches {batches};")
    print(f"against {'PyTorch' if checkpoint else 'ONNX Runtime'} in float32")
    most = max(*_BATCHES, network.batches[-1])
    images, _ = Preprocessor(model, plan.size)(variants(np.asarray(image, np.uint8), most))
    expected, heat = _in_parts(images, reference)
    results = ((batch, _run(network, images, batch)) for batch in network.batches)
    good = judge(results, expected, heat, model, tolerance, model.score_threshold if threshold is None else threshold)
    print("accepted" if good else f"not accepted: tolerance {tolerance:g}, cosine at least {LEAST_COSINE}")
    return good


def judge(
    results: Iterable[tuple[int, HeadOutputs[FloatArray]]],
    expected: HeadOutputs[FloatArray],
    heat: FloatArray | None,
    model: ModelInfo,
    tolerance: float,
    threshold: float,
) -> bool:
    """Print the deviation of the results of each batch size from the reference, and from the first batch size.

    Args:
        results: batch sizes and the outputs for all images.
        expected: outputs of the reference.
        heat: its heatmap before peak suppression; None for raw heads.
        model: the model of the plan.
        tolerance: largest relative error, also for `tied_peaks`.
        threshold: detections score above it.

    Returns:
        Whether every batch size agrees with the reference and with the first batch size.

    Raises:
        ModelError: if the reference is not finite, so that nothing can be compared with it.
        SourceError: if the reference has no detection to compare.
    """
    good = True
    first: tuple[int, HeadOutputs[FloatArray]] | None = None
    _require_finite(expected, heat)
    for batch, found in results:
        strange = not_finite(found)
        if strange:
            print(f"batch {batch}: not finite in {', '.join(strange)}")
            good = False
            continue
        tied = tied_peaks(found.heatmap, expected.heatmap, heat, tolerance)
        outputs = compare_outputs(found, expected, tied)
        detections = compare_detections(
            found, expected, tied, model.stride, model.raw_heads, threshold, model.max_detections
        )
        if not any(each.expected or each.tied for each in detections):
            raise SourceError(
                f"Nothing in the frame scores above {threshold:g}: give an image with objects of the model's classes."
            )
        print(f"batch {batch}, {len(found.heatmap)} images:")
        good &= _report(outputs, detections, tolerance, threshold)
        if first is None:
            first = batch, found
            continue
        tied = tied_peaks(found.heatmap, first[1].heatmap, heat, tolerance)
        for difference in compare_outputs(found, first[1], tied):
            print(f"  against batch {first[0]}: {difference}")
            good &= difference.relative <= tolerance
    return good


def not_finite(heads: HeadOutputs[FloatArray]) -> list[str]:
    """Return the names of the outputs with values that are not finite."""
    return [name for name, values in heads.named() if not np.isfinite(values).all()]


def _require_finite(expected: HeadOutputs[FloatArray], heat: FloatArray | None) -> None:
    """Raise `ModelError` unless a reference is finite; its heatmap is looked at before peaks alone were kept."""
    strange = not_finite(expected if heat is None else replace(expected, heatmap=heat))
    if strange:
        raise ModelError(
            f"The outputs {', '.join(strange)} of the model itself are not finite: export another checkpoint with "
            "`fairmot export`."
        )


def variants(image: ByteArray, count: int) -> list[ByteArray]:
    """Return the image and cyclically shifted copies, every other one mirrored."""
    width = image.shape[1]
    moved = [np.roll(image, width * number // count, axis=1) for number in range(count)]
    return [np.ascontiguousarray(each[:, ::-1] if number % 2 else each) for number, each in enumerate(moved)]


def onnx_reference(model: ModelInfo) -> Reference:
    """Return the model in ONNX Runtime.

    Raises:
        ModelError: if ONNX Runtime cannot run it.
    """
    graph = onnx.load(model.path)
    heat = None if model.raw_heads else keep_scores_of_all_cells(graph)
    names = [*model.output_names, *([heat] if heat else [])]
    session = open_session(model.path, usable_cores(), graph)

    def run(images: FloatArray) -> tuple[HeadOutputs[FloatArray], FloatArray | None]:
        results = session.run(names, {INPUT: images})
        return HeadOutputs(**dict(zip(model.output_names, results, strict=False))), results[-1] if heat else None

    return run


def torch_reference(checkpoint: Path, model: ModelInfo) -> Reference:
    """Return the checkpoint's network in PyTorch, float32 on the CPU.

    Raises:
        ModelError: if the checkpoint cannot be read.
    """
    import torch

    from fairmot.export.checkpoint import load_network
    from fairmot.export.onnx_model import ExportedNetwork

    # Four channels of a model of two classes are one box or two.
    _, network = load_network(checkpoint, model.architecture, class_boxes=model.class_boxes)
    finished = ExportedNetwork(network.eval(), model.raw_heads)

    def run(images: FloatArray) -> tuple[HeadOutputs[FloatArray], FloatArray | None]:
        with torch.no_grad():
            results = finished(torch.from_numpy(images))
            heat = None if model.raw_heads else network(torch.from_numpy(images))["hm"].sigmoid().numpy()
        named = zip(finished.output_names, results, strict=True)
        return HeadOutputs(**{name: result.numpy() for name, result in named}), heat

    return run


def _in_parts(images: FloatArray, reference: Reference) -> tuple[HeadOutputs[FloatArray], FloatArray | None]:
    """Run the reference image by image, which takes the least memory."""
    results = [reference(images[number : number + 1]) for number in range(len(images))]
    heads = _joined_heads([heads for heads, _ in results])
    return heads, _joined([heat for _, heat in results])


def _joined(parts: Sequence[FloatArray | None]) -> FloatArray | None:
    present = [part for part in parts if part is not None]
    return np.concatenate(present) if present else None


def _run(network: TensorRTNetwork, images: FloatArray, batch: int) -> HeadOutputs[FloatArray]:
    """Run a plan on all images, `batch` at a time; the last time some of the images may be old ones."""
    import torch

    parts: list[HeadOutputs[FloatArray]] = []
    for start in range(0, len(images), batch):
        some = torch.from_numpy(images[start : start + batch])
        network.set_images(some.to(network.images.device))
        network.enqueue(batch)
        torch.cuda.synchronize()
        heads = network.heads(len(some))
        parts.append(HeadOutputs(**{name: tensor.cpu().numpy() for name, tensor in heads.named()}))
    return _joined_heads(parts)


def _joined_heads(parts: Sequence[HeadOutputs[FloatArray]]) -> HeadOutputs[FloatArray]:
    named = [dict(part.named()) for part in parts]
    return HeadOutputs(**{name: np.concatenate([part[name] for part in named]) for name in named[0]})


def _report(
    outputs: Sequence[OutputDifference], detections: Sequence[DetectionDifference], tolerance: float, threshold: float
) -> bool:
    """Print the comparison of one batch size; return whether it is accepted."""
    for output in outputs:
        print(f"  {output}")
    for number, each in enumerate(detections, 1):
        print(f"  image {number}: {each}")
    cosines = np.concatenate([each.cosines for each in detections])
    if cosines.size:
        print(f"  embeddings: cosine at least {cosines.min():.6f}, mean {cosines.mean():.6f}, {len(cosines)} pairs")
    # Rounding may move a score across the threshold.
    alone = [score for each in detections for score in each.unmatched if score > threshold + _BORDER]
    return (
        all(output.relative <= tolerance for output in outputs)
        and not alone
        and (not cosines.size or float(cosines.min()) >= LEAST_COSINE)
    )
