"""Faults of TensorRT while it reads a graph, builds an engine or runs one, as errors for the user."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import onnx

from fairmot.core.errors import EngineError, ModelError
from fairmot.engine.graph.prepare import PLUGINS
from fairmot.engine.messages import OUT_OF_MEMORY, one_line

_UNKNOWN_OPERATOR = re.compile(r"plugin not found|no importer", re.IGNORECASE)


def parse_failure(tensorrt: str, path: Path, graph: onnx.ModelProto, node: int, detail: str) -> ModelError:
    """Say why TensorRT's ONNX parser stopped.

    Args:
        tensorrt: its version.
        path: the model, as the user knows it.
        graph: what the parser got.
        node: index of the node where it stopped, -1 if at none.
        detail: what the parser says.
    """
    nodes = graph.graph.node
    where, operator = "", "an operator"
    if 0 <= node < len(nodes):
        operator = nodes[node].op_type
        where = f' at "{nodes[node].name}"'
    if _UNKNOWN_OPERATOR.search(detail):
        remedy = (
            "build the plugins again with `fairmot plugins`" if operator in PLUGINS else "export the model without it"
        )
        return ModelError(f'TensorRT {tensorrt} does not know the operator "{operator}" of {path}{where}: {remedy}.')
    return ModelError(
        f"TensorRT {tensorrt} cannot read {path}{where} ({operator}: {one_line(detail)}): export the checkpoint again "
        "with `fairmot export`, or use another version of TensorRT."
    )


def build_failure(tensorrt: str, path: Path, errors: Sequence[str]) -> ModelError:
    """Say why TensorRT built nothing; `errors` are what it logged."""
    if any(OUT_OF_MEMORY.search(text) for text in errors):
        return ModelError(
            f"The GPU ran out of memory while TensorRT built {path.name}: close other programs that use it, or lower "
            "--size or the largest --batch."
        )
    detail = one_line(errors[-1]) if errors else "it gives no reason"
    return ModelError(
        f"TensorRT {tensorrt} cannot build {path.name} ({detail}): try --precision fp32 or --dcn native, or another "
        "version of TensorRT."
    )


def run_failure(tensorrt: str, errors: Sequence[str]) -> EngineError:
    """Say why TensorRT could not run an engine; `errors` are what it logged."""
    if any(OUT_OF_MEMORY.search(text) for text in errors):
        return EngineError(
            f"The GPU ran out of memory while TensorRT {tensorrt} ran the model: lower --batch or --size, or close "
            "other programs that use the GPU."
        )
    detail = one_line(errors[-1]) if errors else "it gives no reason"
    return EngineError(
        f"TensorRT {tensorrt} could not run the model ({detail}): start again, and if it happens again run with "
        "--engine onnxruntime and report it."
    )
