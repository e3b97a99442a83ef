"""Compare a TensorRT plan with its model in float32: `fairmot verify MODEL.onnx --engine PLAN --frame IMAGE`.

Both get the same normalised images: the frame and shifted and mirrored copies of it. The reference is ONNX Runtime, or
PyTorch if a checkpoint is given. A plan is accepted if every output's relative error, ||out - ref|| / ||ref||, is at
most 1e-4 in float32 and 5e-3 in half precision, all detections match, embeddings have a cosine of at least 0.999, and
the outputs of its batch sizes are as near to each other. Build with `--batch 1,8` to see how batches differ.
Where rounding decides which of neighbouring cells is a peak of the heatmap, these cells are left out and counted.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import onnx

from fairmot.core.console import ArgumentParser
from fairmot.core.errors import ConfigError, ModelError, SourceError
from fairmot.core.records import ByteArray, FloatArray
from fairmot.core.text import printable
from fairmot.engine.decode import HeadOutputs
from fairmot.engine.factory import BACKENDS, choose_backend
from fairmot.engine.letterbox import Preprocessor
from fairmot.engine.model import INPUT, ModelInfo
from fairmot.engine.onnxruntime import open_session, usable_cores
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


def parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    made = ArgumentParser(prog="fairmot verify", description=__doc__)
    made.add_argument("model", type=Path, help="the ONNX file")
    made.add_argument("--engine", type=Path, required=True, help="the plan of `fairmot build`")
    made.add_argument("--frame", type=Path, required=True, help="an image with people")
    made.add_argument("--checkpoint", type=Path, help="compare with PyTorch on this .pth file, not with ONNX Runtime")
    made.add_argument("--threshold", type=float, default=0.4, help="detections score above it (0.4)")
    return made


def verify_engine(options: argparse.Namespace) -> bool:
    """Do what the command line asks for, print the comparison and return whether the plan is accepted.

    Raises:
        UserError: if an option, a file or the GPU is at fault.
    """
    if not 0 <= options.threshold < 1:
        raise ConfigError(f"--threshold must be at least 0 and below 1, not {options.threshold}.")
    model, plan = ModelInfo.read(options.model), Plan.read(options.engine)
    choose_backend("tensorrt", BACKENDS)
    from fairmot.engine.cuda.gpu import Gpu
    from fairmot.engine.trt.cache import file_sha256  # these need Linux and the packages of a GPU
    from fairmot.engine.trt.network import TensorRTNetwork

    if plan.model_sha256 != file_sha256(model.path):
        raise ConfigError(f"{options.engine} was built from another model than {model.path}: build it from this one.")
    image = cv2.imread(str(options.frame))
    if image is None:
        raise SourceError(f"{options.frame} is not an image that OpenCV can read.")
    reference = torch_reference(options.checkpoint, model) if options.checkpoint else onnx_reference(model)
    network = TensorRTNetwork(plan, Gpu.open())
    tolerance = TOLERANCES[plan.settings.precision]
    batches = ", ".join(map(str, network.batches))
    print(f"{printable(options.engine)}: {plan.settings.precision}, {plan.size[0]}x{plan.size[1]}, batches {batches};")
    print(f"against {'PyTorch' if options.checkpoint else 'ONNX Runtime'} in float32")
    most = max(*_BATCHES, network.batches[-1])
    images, _ = Preprocessor(model, plan.size)(variants(np.asarray(image, np.uint8), most))
    expected, heat = _in_parts(images, reference)
    results = ((batch, _run(network, images, batch)) for batch in network.batches)
    good = judge(results, expected, heat, model, tolerance, options.threshold)
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
    """Print how far the results of each batch size are from the reference, and from those of the first batch size.

    Args:
        results: batch sizes and the outputs for all images.
        expected: outputs of the reference.
        heat: its heatmap before peaks were kept alone; None for raw heads.
        model: what was run.
        tolerance: largest relative error, and what `tied_peaks` takes.
        threshold: detections score above it.

    Returns:
        Whether every batch size is as near to the reference, and to the first batch size, as it must be.

    Raises:
        ModelError: if the reference is not finite, so that nothing can be compared with it.
        SourceError: if the reference has no detection, so that there is nothing to match.
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
        detections = compare_detections(found, expected, tied, model.stride, model.raw_heads, threshold)
        if not any(each.expected or each.tied for each in detections):
            raise SourceError(f"Nobody in the frame scores above {threshold:g}: give an image with people.")
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
    """Return the image and copies that are shifted around and, every other one, mirrored."""
    width = image.shape[1]
    moved = [np.roll(image, width * number // count, axis=1) for number in range(count)]
    return [np.ascontiguousarray(each[:, ::-1] if number % 2 else each) for number, each in enumerate(moved)]


def onnx_reference(model: ModelInfo) -> Reference:
    """Return the model in ONNX Runtime.

    Raises:
        ModelError: if ONNX Runtime cannot run it.
    """
    graph = onnx.load(model.path)
    heat = None if model.raw_heads else _before_suppression(graph)
    names = [*model.output_names, *([heat] if heat else [])]
    session = open_session(model.path, usable_cores(), graph)

    def run(images: FloatArray) -> tuple[HeadOutputs[FloatArray], FloatArray | None]:
        results = session.run(names, {INPUT: images})
        return HeadOutputs(*results[: len(model.output_names)]), results[-1] if heat else None

    return run


def _before_suppression(graph: onnx.ModelProto) -> str:
    """Make the heatmap before peaks are kept alone an output too, and return its name.

    Raises:
        ModelError: if it is not found.
    """
    producers = {name: node for node in graph.graph.node for name in node.output}
    keep = producers["heatmap"]
    if keep.op_type != "Where":
        raise ModelError('The output "heatmap" does not keep peaks by a Where: export it with `fairmot export`.')
    name = str(keep.input[1])
    graph.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return name


def torch_reference(checkpoint: Path, model: ModelInfo) -> Reference:
    """Return the checkpoint's network in PyTorch, float32 on the CPU.

    Raises:
        ModelError: if the checkpoint cannot be read.
    """
    import torch

    from fairmot.export.checkpoint import load_network
    from fairmot.export.onnx_model import ExportedNetwork

    _, network = load_network(checkpoint, model.architecture)
    finished = ExportedNetwork(network.eval(), model.raw_heads)

    def run(images: FloatArray) -> tuple[HeadOutputs[FloatArray], FloatArray | None]:
        with torch.no_grad():
            results = finished(torch.from_numpy(images))
            heat = None if model.raw_heads else network(torch.from_numpy(images))["hm"].sigmoid().numpy()
        return HeadOutputs(*(result.numpy() for result in results)), heat

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
        print(f"  embeddings: cosine at least {cosines.min():.6f}, mean {cosines.mean():.6f}, {len(cosines)} people")
    # Rounding may move a score across the threshold.
    alone = [score for each in detections for score in each.unmatched if score > threshold + _BORDER]
    return (
        all(output.relative <= tolerance for output in outputs)
        and not alone
        and (not cosines.size or float(cosines.min()) >= LEAST_COSINE)
    )
