"""What TensorRT made of a graph: its layers, their number formats, and whether they are what was asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from engine.trt_graph import PLUGINS, Precision

# How TensorRT's inspector describes formats, and how people write them.
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
_TYPES = (("FP16", "half"), ("Half", "half"), ("FP32", "float"), ("Float", "float"))


@dataclass(frozen=True)
class Layer:
    """One layer of an engine.

    Attributes:
        name: as TensorRT calls it; fused layers list the names of their parts.
        kind: kind of layer, `CaskConvolution` for example.
        inputs: format of each input, `half HWC8` for example.
        outputs: format of each output.
        tactic: name of the kernel, where TensorRT gives one.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tactic: str = ""

    @classmethod
    def from_header(cls, entry: dict[str, Any]) -> Layer:
        """Read a layer back from JSON made of its attributes."""
        return cls(**(entry | {"inputs": tuple(entry["inputs"]), "outputs": tuple(entry["outputs"])}))

    @property
    def is_convolution(self) -> bool:
        """Whether the layer multiplies with weights as a (transposed) convolution does."""
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
                entry.get("TacticName", ""),
            )
        )
    return tuple(layers)


def _format(tensor: dict[str, Any]) -> str:
    text = tensor.get("Format/Datatype") or f"{tensor.get('Datatype', '')} {tensor.get('Format', '')}"
    kind = next((name for sign, name in _TYPES if sign in text), None)
    layout = next((name for sign, name in _FORMATS if sign in text), None)
    return " ".join(filter(None, (kind, layout))) if kind else text.strip()


def faults(layers: Sequence[Layer], graph: onnx.ModelProto, precision: Precision) -> list[str]:
    """Compare an engine's layers with the graph that it was built from.

    Returns:
        What is not as it was asked for: plugins that are missing, convolutions in float32 in an FP16 engine.
    """
    found = []
    names = {layer.name.partition(" [profile")[0] for layer in layers}
    missing = [
        node.name
        for node in graph.graph.node
        if node.op_type in PLUGINS | {"ModulatedDeformConv2d"} and not any(node.name in name for name in names)
    ]
    if missing:
        found.append(f"{len(missing)} plugin layers are missing ({missing[0]})")
    if precision == "fp16":
        slow = [
            layer.name for layer in layers if layer.is_convolution and any(f.startswith("float") for f in layer.inputs)
        ]
        if slow:
            found.append(f"{len(slow)} convolutions run in float32 ({slow[0]})")
    return found
