"""Layers of a built engine: their number formats, and the check that they are as the graph states them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from fairmot.engine.graph.prepare import PLUGINS, Precision

# Formats as TensorRT's inspector describes them, and their usual names.
_FORMATS = (
    ("channel % 8 == 0", "HWC8"),
    ("channel % 16 == 0", "HWC16"),
    ("channel % 4 == 0", "HWC4"),
    ("Two wide", "CHW2"),
    ("Four wide", "CHW4"),
    ("Sixteen wide", "CHW16"),
    ("Thirty-two wide", "CHW32"),
    ("linear", "linear"),
)
_NVIDIAS = "ModulatedDeformConv2d"
_TYPES = (("FP16", "half"), ("Half", "half"), ("FP32", "float"), ("Float", "float"))


@dataclass(frozen=True)
class Layer:
    """One layer of an engine.

    Attributes:
        name: TensorRT's name; fused layers list the names of their parts.
        kind: kind of layer, `CaskConvolution` for example.
        inputs: format of each input, `half HWC8` for example.
        outputs: format of each output.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def is_convolution(self) -> bool:
        """Return whether the layer multiplies with weights as a (transposed) convolution does."""
        return "convolution" in self.kind.lower()


def read_layers(report: str) -> tuple[Layer, ...]:
    """Read the report of TensorRT's engine inspector (JSON, profiling verbosity detailed)."""
    layers = []
    for entry in json.loads(report, strict=False).get("Layers", []):
        if isinstance(entry, str):  # an engine without details lists only names
            layers.append(Layer(entry, "", (), ()))
            continue
        kind = entry.get("LayerType", "")
        if "onvolution" in entry.get("ParameterType", "") and "onvolution" not in kind:
            kind = f"{kind} ({entry['ParameterType']})"
        layers.append(
            Layer(
                entry.get("Name", ""),
                kind,
                tuple(_format(tensor) for tensor in entry.get("Inputs", [])),
                tuple(_format(tensor) for tensor in entry.get("Outputs", [])),
            )
        )
    return tuple(layers)


def _format(tensor: dict[str, Any]) -> str:
    text = tensor.get("Format/Datatype") or f"{tensor.get('Datatype', '')} {tensor.get('Format', '')}"
    kind = next((name for sign, name in _TYPES if sign in text), None)
    layout = next((name for sign, name in _FORMATS if sign in text), None)
    return " ".join(filter(None, (kind, layout))) if kind else text.strip()


def differences(layers: Sequence[Layer], graph: onnx.ModelProto, precision: Precision) -> list[str]:
    """Compare an engine's layers with the graph that it was built from.

    Returns:
        Descriptions of what is not as the graph states it: plugins that are missing; convolutions or plugins in
        float32 in an FP16 engine, but for NVIDIA's, which has nothing else; half precision in an FP32 engine.
    """
    nodes = [node for node in graph.graph.node if node.op_type in PLUGINS | {_NVIDIAS}]
    plugins = {node.name: _layer_of(node.name, layers) for node in nodes}
    missing = [name for name, layer in plugins.items() if layer is None]
    if precision == "fp32":
        half = [layer.name for layer in layers if any(f.startswith("half") for f in (*layer.inputs, *layer.outputs))]
        return [*_difference(missing, "plugin layers are missing"), *_difference(half, "layers run in half precision")]
    single = [layer.name for layer in layers if layer.is_convolution and any(map(_is_single, layer.inputs))]
    for node in nodes:
        plugin = plugins[node.name]
        if plugin is not None and node.op_type != _NVIDIAS and any(map(_is_single, plugin.inputs[:1])):
            single.append(node.name)  # its bias, a later input, may be in float32
    return [*_difference(missing, "plugin layers are missing"), *_difference(single, "layers run in float32")]


def _layer_of(node: str, layers: Sequence[Layer]) -> Layer | None:
    """Return the layer that a node became; layers that were fused, or belong to one profile, have longer names."""
    name = re.compile(rf"(?<![\w.]){re.escape(node)}(?![\w.])")
    return next((layer for layer in layers if name.search(layer.name) and not layer.name.startswith("Reformat")), None)


def _is_single(tensor: str) -> bool:
    return tensor.startswith("float")


def _difference(names: Sequence[str], what: str) -> list[str]:
    return [f"{len(names)} {what} ({names[0]})"] if names else []
