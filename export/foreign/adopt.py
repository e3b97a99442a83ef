"""Adopting an ONNX file that another exporter wrote, for the command `fairmot adopt`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper

from fairmot.core.class_names import default_class_names
from fairmot.core.cores import usable_cores
from fairmot.core.errors import ConfigError, ModelError, UserError
from fairmot.core.files import check_writable, write_whole
from fairmot.core.records import FloatArray
from fairmot.core.text import one_line, printable, reason_of
from fairmot.engine.graph.dialects.read import to_deform_convs
from fairmot.engine.graph.graph import Graph
from fairmot.engine.graph.shapes import fix_input, fold, raise_opset
from fairmot.engine.model import INPUT, PREFIX, ModelInfo, check_class_names, check_largest, image_input
from fairmot.engine.onnx_file import load_onnx, require_finite
from fairmot.engine.onnxruntime import open_session, runtime_errors
from fairmot.engine.preprocessing import PREPROCESSING, Preprocessing, Resize, metadata_of
from fairmot.export.compare import tied_peaks
from fairmot.export.foreign.finish import finish
from fairmot.export.foreign.heads import Role
from fairmot.export.foreign.recognize import Layout, recognize
from fairmot.export.foreign.reference import finished
from fairmot.export.foreign.sizes import free_sizes, size_multiple, to_single
from fairmot.export.foreign.trace import Tracer

OPSET = 19  # the first with DeformConv
TOLERANCE = 1e-4
_IR_VERSION = 9  # of opset 19
_LARGEST_CONSTANT = 1 << 26  # elements of what folding may compute
_CENTERFACE_TRACED = (32, 32)  # the size of its published file, which is not meant to be used

Kind = Literal["fairmot", "centernet", "centerface"]

# CenterFace, `prj-python/centerface.py`: levels 0 to 255 (scalefactor 1, mean 0), channels swapped to RGB, bilinear;
# `prj-tensorrt/demo.py`: 640x480, threshold 0.35.
CENTERFACE = Preprocessing((640, 480), "rgb", (0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255), 0, "linear", 0.35, 500)


@dataclass(frozen=True)
class Choices:
    """What the user states about a file; empty or None where it is recognized.

    Attributes:
        outputs: head by name of the output.
        preprocess: kind of the model.
        resize: how frames are resized and placed; that of the kind if None.
        classes: names.
        size: default input `(width, height)` in pixels.
    """

    outputs: Mapping[str, Role] = field(default_factory=dict)
    preprocess: Kind | None = None
    resize: Resize | None = None
    classes: Sequence[str] = ()
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class _File:
    """A foreign file and how it was recognized."""

    path: Path
    model: onnx.ModelProto
    batch: int
    size: tuple[int, int]
    is_fixed: bool
    fixed: Graph
    replaced: Mapping[str, int]
    layout: Layout
    kind: Kind


def adopt(path: Path, output: Path, choices: Choices) -> bool:
    """Rewrite a file, print what was recognized and how its results compare, and return whether they agree.

    Args:
        path: the ONNX file.
        output: the file to write.
        choices: what the user states about it.

    Raises:
        UserError: if the file or a choice is invalid, or the network cannot be rewritten.
    """
    check_writable(output)
    file = _read(path, choices)
    for line in _recognized(file):
        print(printable(line), flush=True)
    adopted = _checked(path, lambda: _rewritten(file, choices))
    for line in _stated(adopted):
        print(printable(line), flush=True)
    agrees = _compare(file, adopted)
    _write(adopted, output)
    ModelInfo.read(output)
    print(printable(f"{output}: {output.stat().st_size / 1e6:.1f} MB"), flush=True)
    return agrees


def _read(path: Path, choices: Choices) -> _File:
    model = load_onnx(path)
    if any(entry.key == f"{PREFIX}format" for entry in model.metadata_props):
        raise ModelError(f"{path} carries FairMOT metadata already: use it as it is.")
    require_finite(model, path)
    batch, height, width = image_input(model.graph, path, (TensorProto.FLOAT, TensorProto.FLOAT16))
    is_fixed = bool(width and height)
    preset = CENTERFACE if choices.preprocess == "centerface" else PREPROCESSING[choices.preprocess or "centernet"]
    size = (width, height) if is_fixed else choices.size or preset.size
    if (width or size[0], height or size[1]) != size:
        raise ConfigError(f"The input of {path} is {width or '?'}x{height or '?'}: pass --size with its sides.")
    check_largest(size)
    model = _checked(path, lambda: raise_opset(model, OPSET))
    fixed = _graph(model)
    replaced = _checked(path, lambda: _fix(fixed, batch or 1, size))
    names = [value.name for value in fixed.outputs]
    layout = _checked(path, lambda: recognize(Tracer(fixed), names, size, choices.outputs))
    kind = choices.preprocess or _kind(layout)
    if kind == "centerface" and layout.heads["wh"].channels != 2:
        raise ModelError(f"{path}: CenterFace's wh has 2 channels, not {layout.heads['wh'].channels}: pass --outputs.")
    return _File(path, model, batch or 1, size, is_fixed, fixed, replaced, layout, kind)


def _checked(path: Path, work: Any) -> Any:
    """Return the result of work on a graph; what libraries raise for a damaged one becomes a `ModelError`."""
    try:
        return work()
    except UserError as error:
        text = str(error)
        raise type(error)(text if str(path) in text else f"{path}: {text}") from error
    except Exception as error:  # of onnx, protobuf and NumPy, on graphs that nobody's exporter wrote
        reason = reason_of(error) or type(error).__name__
        raise ModelError(f"{path} cannot be read as a network ({reason}): export it again.") from error


def _graph(model: onnx.ModelProto) -> Graph:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = Graph(copy)
    to_single(graph)
    return graph


def _fix(graph: Graph, batch: int, size: tuple[int, int]) -> dict[str, int]:
    """Fix the input, and turn the operators of other exporters into standard ones."""
    for node in graph.nodes:
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise ModelError(
                f'The model branches by the operator "{one_line(node.op_type)}": simplify it with onnxsim.'
            )
    fix_input(graph, batch, size)
    for value in graph.outputs:
        value.type.tensor_type.ClearField("shape")
    fold(graph, _LARGEST_CONSTANT)
    replaced = to_deform_convs(graph)
    for node in graph.nodes:
        if not graph.knows(node):
            raise ModelError(
                f'The model uses the operator "{one_line(node.op_type)}" (for "{one_line(node.output[0])}"), which is '
                "neither ONNX's nor a known deformable convolution: export the model without it."
            )
    return replaced


def _kind(layout: Layout) -> Kind:
    if "landmarks" in layout.heads:
        return "centerface"
    return "fairmot" if "id" in layout.heads else "centernet"


def _rewritten(file: _File, choices: Choices) -> onnx.ModelProto:
    """Return the rewritten model with its metadata."""
    graph = _graph(file.model)
    (images,) = graph.inputs
    for axis, name in ((0, "batch"), (2, "height"), (3, "width")):
        images.type.tensor_type.shape.dim[axis].dim_param = name
    for value in graph.outputs:
        value.type.tensor_type.ClearField("shape")
    fold(graph, _LARGEST_CONSTANT)
    free_sizes(graph, file.fixed)
    graph.infer()
    to_deform_convs(graph)
    finish(graph, file.layout, file.kind == "centerface")
    graph.infer()
    graph.name_nodes()
    model = graph.to_model()
    model.ir_version = max(model.ir_version, _IR_VERSION)
    kept = [entry for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    del model.metadata_props[:]
    helper.set_model_props(model, _metadata(file, choices))
    onnx.checker.check_model(model, full_check=True)
    return model


def _metadata(file: _File, choices: Choices) -> dict[str, str]:
    preset = CENTERFACE if file.kind == "centerface" else PREPROCESSING[file.kind]
    if choices.resize is not None:
        border = preset.border if choices.resize == "area" else 0
        preset = replace(preset, resize=choices.resize, border=border)
    names = list(choices.classes) or list(("face",) if file.kind == "centerface" else ())
    names = names or list(default_class_names(file.layout.classes))
    wrong = check_class_names(names)
    if wrong is not None:
        raise ConfigError(f"classes should be {wrong}.")
    if len(names) != file.layout.classes:
        raise ConfigError(f"The file has {file.layout.classes} classes but --classes names {len(names)}.")
    step = size_multiple(file.fixed, file.size, file.layout.stride)
    size = choices.size
    if size is None:
        is_usable = file.is_fixed and (file.kind, file.size) != ("centerface", _CENTERFACE_TRACED)
        size = file.size if is_usable else preset.size
    if any(side % step for side in size):
        raise ConfigError(
            f"The input size {size[0]}x{size[1]} does not suit the file: pass --size in multiples of {step}."
        )
    return metadata_of(
        preset,
        architecture=one_line(file.path.stem, 60),
        size=size,
        stride=file.layout.stride,
        size_multiple=step,
        class_names=names,
    )


def _recognized(file: _File) -> list[str]:
    width, height = file.size
    lines = [f"{file.path}: input {file.batch}x3x{height}x{width}{'' if file.is_fixed else ' (left open by the file)'}"]
    lines += [f"  {count} {operator} to DeformConv" for operator, count in file.replaced.items()]
    lines += [
        f'  {role}: output "{one_line(head.output)}", {head.channels} channels, {head.reason}'
        for role, head in file.layout.heads.items()
    ]
    if "reg" not in file.layout.heads:
        lines.append("  reg: absent, 0.5 cells instead")
    return lines


def _stated(model: onnx.ModelProto) -> list[str]:
    stated = {entry.key.removeprefix(PREFIX): entry.value for entry in model.metadata_props}
    shown = ("size", "stride", "size_multiple", "channel_order", "mean", "std", "border", "resize", "class_names")
    return ["Metadata:", *(f"  {key}: {one_line(stated[key])}" for key in shown)]


def _compare(file: _File, adopted: onnx.ModelProto) -> bool:
    """Run both, print the largest error of every head, and run the rewritten one at another size and batch.

    Raises:
        ModelError: if the rewritten network works at the size of the file alone.
    """
    width, height = file.size
    scale = 255.0 if file.kind == "centerface" else 1.0
    images = (np.random.default_rng(0).random((file.batch, 3, height, width)) * scale).astype(np.float32)
    threads = usable_cores()
    names = [value.name for value in file.fixed.outputs]
    original = file.fixed.to_model()
    original.ir_version = max(original.ir_version, _IR_VERSION)
    before = _run(file.path, original, threads, names, file.fixed.inputs[0].name, images)
    wanted, scores = finished(before, file.layout, file.kind == "centerface")
    results = [value.name for value in adopted.graph.output]
    session = open_session(file.path, threads, adopted)
    with runtime_errors():
        after: dict[str, FloatArray] = dict(zip(results, session.run(results, {INPUT: images}), strict=True))
    print(f"Before and after in ONNX Runtime at {width}x{height}, relative to max(1, |value|):")
    agrees = True
    for name, value in wanted.named():
        error = np.abs(after[name] - value) / np.maximum(1, np.abs(value))
        if name == "heatmap":
            error[tied_peaks(after[name], value, scores, TOLERANCE)] = 0
        largest = float(error.max(initial=0))
        agrees &= largest <= TOLERANCE
        print(f"  {name:<10} maximum error {largest:.2e}")
    stated = {entry.key.removeprefix(PREFIX): entry.value for entry in adopted.metadata_props}
    step, batch = int(stated["size_multiple"]), 2 if file.batch == 1 else 1
    other = np.zeros((batch, 3, 2 * step, 3 * step), np.float32)
    try:
        shapes = {each.shape[::2] for each in session.run(results, {INPUT: other})}
    except Exception:  # ONNX Runtime's errors share no base class
        shapes = set()
    if shapes != {(batch, 2 * step // file.layout.stride)}:
        raise ModelError(
            f"{file.path} works at {file.batch}x3x{height}x{width} alone: export it again with dynamic axes for batch, "
            "height and width."
        )
    return agrees


def _run(
    path: Path, model: onnx.ModelProto, threads: int, names: list[str], input_name: str, images: FloatArray
) -> dict[str, FloatArray]:
    session = open_session(path, threads, model)
    with runtime_errors():
        return dict(zip(names, session.run(names, {input_name: images}), strict=True))


def _write(model: onnx.ModelProto, output: Path) -> None:
    try:
        content = model.SerializeToString()
    except Exception as error:  # protobuf's error for messages above 2 GB depends on its version
        raise ModelError(f"The rewritten model cannot be stored as one file ({reason_of(error)}).") from error
    write_whole(output, content)
