"""Conversion of a network to one ONNX file: decoded outputs, folded BatchNorm, metadata, half-precision storage."""

from __future__ import annotations

import copy
import itertools
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F  # noqa: N812
from onnx import helper, numpy_helper
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from fairmot.core.errors import ModelError
from fairmot.core.files import write_whole
from fairmot.engine.preprocessing import FAIRMOT, Preprocessing, metadata_of
from fairmot.export.architectures import SIZE_MULTIPLE
from fairmot.export.networks import STRIDE, Network
from fairmot.export.networks.deform_conv import DeformConv2d

OPSET = 19  # the first with DeformConv
INPUT = "images"
_NO_OFFSET = 0.5  # CenterNet, `ctdet_decode`: without `reg` an object is in the middle of its cell
_HALF_STORAGE_MINIMUM = 64  # smaller tensors (biases, scalars) stay float32


class ExportedNetwork(nn.Module):
    """The network with the post-processing inside the ONNX graph.

    The heatmap passes the sigmoid and keeps only cells that equal their 3x3 maximum (CenterNet,
    "Objects as Points", section 4; one tensor is pooled and compared, so that ties stay ties). The
    embedding is divided by its length over the channels (FairMOT, section 3.3). With `raw`, both are
    left as they are.

    The box is left, top, right, bottom whatever the network predicts: width and height w, h around the center
    (CenterNet) become w/2, h/2, w/2, h/2 of each box. Where there is no head `reg`, the offset is 0.5.
    """

    def __init__(self, network: Network, raw: bool = False) -> None:
        super().__init__()
        self.network = network
        self.raw = raw
        sizes = network.head_sizes
        order = [2 * box + side % 2 for box in range(sizes.boxes) for side in range(4)]
        self.register_buffer("sides", torch.tensor(order) if sizes.box_is_size else None, persistent=False)

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs, in the order `forward` returns them."""
        return ["heatmap", "box", "offset", *(["embedding"] if self.network.head_sizes.embedding else [])]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map images `(n, 3, h, w)` to heatmap, box, offset and embedding at stride 4."""
        heads = self.network(images)
        heat, embedding = heads["hm"], heads.get("id")
        if not self.raw:
            heat = heat.sigmoid()
            peaks = F.max_pool2d(heat, 3, stride=1, padding=1)
            heat = torch.where(heat == peaks, heat, torch.zeros_like(heat))
            embedding = None if embedding is None else F.normalize(embedding, dim=1)
        outputs = (heat, self._box(heads["wh"]), self._offset(heads))
        return outputs if embedding is None else (*outputs, embedding)

    def _box(self, wh: Tensor) -> Tensor:
        """Return left, top, right, bottom of every box, `(n, 4 boxes, h, w)`."""
        return wh if self.sides is None else (0.5 * wh).index_select(1, self.sides)  # type: ignore[arg-type]

    def _offset(self, heads: dict[str, Tensor]) -> Tensor:
        if "reg" in heads:
            return heads["reg"]
        # A map of the right size for any batch and input: outputs of ONNX files cannot be constants, and TensorRT is
        # poor at them. Infinite values, which half precision may have here, become 0.5 as well.
        return heads["wh"][:, :2].clamp(_NO_OFFSET, _NO_OFFSET)


def fold_batch_norm(network: Network) -> Network:
    """Return a copy for inference with every BatchNorm folded into the convolution before it.

    Covers plain, transposed and deformable convolutions; the result is equal up to rounding.
    """
    folded = copy.deepcopy(network).eval()
    for layer_name, norm_name in batch_norm_pairs(folded):
        _fold_pair(folded, layer_name, norm_name)
    return folded


def batch_norm_pairs(network: Network) -> list[tuple[str, str]]:
    """Return the names of every convolution that a BatchNorm follows, and of that BatchNorm."""
    pairs = []
    for prefix, module in network.named_modules():
        names = [name for name, _ in module.named_children()]
        candidates = list(itertools.pairwise(names))
        if {"actf", "conv"} <= set(names):  # a deformable block keeps its BatchNorm in `actf`, after `conv`
            candidates.append(("conv", "actf.0"))
        pairs += [
            (f"{prefix}.{layer}".removeprefix("."), f"{prefix}.{norm}".removeprefix("."))
            for layer, norm in candidates
            if isinstance(module.get_submodule(norm), nn.BatchNorm2d)
            and isinstance(module.get_submodule(layer), nn.Conv2d | nn.ConvTranspose2d | DeformConv2d)
        ]
    return pairs


def _fold_pair(network: Network, layer_name: str, norm_name: str) -> None:
    layer: Any = network.get_submodule(layer_name)
    norm: Any = network.get_submodule(norm_name)
    weight, bias = fuse_conv_bn_weights(
        layer.weight,
        layer.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
        transpose=isinstance(layer, nn.ConvTranspose2d),
    )
    layer.weight, layer.bias = weight, bias
    owner, _, name = norm_name.rpartition(".")
    setattr(network.get_submodule(owner), name, nn.Identity())


def to_onnx(
    network: Network,
    architecture: str,
    size: tuple[int, int],
    class_names: Sequence[str],
    *,
    preprocessing: Preprocessing = FAIRMOT,
    raw: bool = False,
    half_storage: bool = False,
) -> onnx.ModelProto:
    """Convert a network to ONNX with dynamic batch, height and width.

    Args:
        network: the network with its trained weights.
        architecture: its name, for the metadata.
        size: default input `(width, height)` in pixels, for the metadata.
        class_names: one name per heatmap channel.
        preprocessing: what the network expects, for the metadata.
        raw: leave out sigmoid, peak suppression and embedding normalization.
        half_storage: store weights as float16, cast to float32 when the file is loaded.

    Returns:
        The checked model with the metadata that `engine` reads.
    """
    module = ExportedNetwork(fold_batch_norm(network), raw)
    model = trace(module, module.output_names)
    if half_storage:
        store_half(model)
    metadata = metadata_of(
        preprocessing,
        architecture=architecture,
        size=size,
        stride=STRIDE,
        size_multiple=SIZE_MULTIPLE,
        class_names=class_names,
        raw_heads=raw,
    )
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    return model


def trace(module: nn.Module, output_names: Sequence[str]) -> onnx.ModelProto:
    """Return a module that maps images `(n, 3, h, w)` to maps as ONNX, with dynamic batch, height and width."""
    # Any valid size will do for tracing; unequal sides, so that height and width cannot be confused.
    example = torch.zeros(2, 3, 2 * SIZE_MULTIPLE, 3 * SIZE_MULTIPLE)
    rows, columns = torch.export.Dim("h32", min=1), torch.export.Dim("w32", min=1)
    shapes = {"images": {0: torch.export.Dim("n"), 2: SIZE_MULTIPLE * rows, 3: SIZE_MULTIPLE * columns}}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        for name in ("torch.onnx", "onnxscript", "onnx_ir"):
            logging.getLogger(name).setLevel(logging.ERROR)
        program = torch.onnx.export(
            module,
            (example,),
            input_names=[INPUT],
            output_names=list(output_names),
            opset_version=OPSET,
            dynamic_shapes=shapes,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _name_dimensions(model)
    _strip_trace(model)
    return model


def round_to_half(network: Network) -> Network:
    """Round the large weights to float16 in place, the values that `store_half` writes, and return the network.

    Raises:
        ModelError: if a weight is too large for float16.
    """
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.numel() >= _HALF_STORAGE_MINIMUM:
                rounded = parameter.half()
                if not rounded.isfinite().all():
                    raise ModelError(
                        f"The weights in {name} reach {float(parameter.abs().max()):g}, but float16 ends at 65504: "
                        "export without --half-storage."
                    )
                parameter.copy_(rounded)
    return network


def _name_dimensions(model: onnx.ModelProto) -> None:
    """Name the dynamic dimensions readably."""
    for value, names in [(model.graph.input[0], ("batch", "", "height", "width"))] + [
        (output, ("batch", "", "rows", "columns")) for output in model.graph.output
    ]:
        for dimension, name in zip(value.type.tensor_type.shape.dim, names, strict=False):
            if name:
                dimension.dim_param = name
    del model.graph.value_info[:]


def _strip_trace(model: onnx.ModelProto) -> None:
    """Drop the exporter's stack traces, which hold paths of the exporting machine."""
    model.doc_string = ""
    del model.metadata_props[:]
    model.graph.doc_string = ""
    del model.graph.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        value.doc_string = ""
        del value.metadata_props[:]


def store_half(model: onnx.ModelProto) -> None:
    """Store large float32 initializers as float16, each followed by a Cast back to float32, in place."""
    casts = []
    for tensor in list(model.graph.initializer):
        if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < _HALF_STORAGE_MINIMUM:
            continue
        name = tensor.name
        half = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), f"{name}.half")
        model.graph.initializer.remove(tensor)
        model.graph.initializer.append(half)
        casts.append(helper.make_node("Cast", [half.name], [name], name=f"{name}.cast", to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def save(model: onnx.ModelProto, path: Path) -> None:
    """Write the model.

    Raises:
        OutputError: if the file cannot be written.
    """
    write_whole(path, model.SerializeToString())
