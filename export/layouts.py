"""ONNX files for runtimes of other projects: their outputs, and their operator of deformable convolutions.

`separate`: raw heads `hm`, `wh`, `reg` and `id_feature` as outputs of these names, those that the network has.
`concat` (shouxieai/tensorRT_Pro, tutorial/2.0CenterNet_from_torch_trt/resnet_dcn.py): one `output` of the shape
`(n, rows * columns, channels)`: reg 2, wh 2, hm C, and hm after 3x3 max-pooling C, all raw; 164 channels for COCO.

The files have a fixed height and width, as those runtimes expect, and no metadata of this project; `fairmot adopt`
reads them.
"""

from __future__ import annotations

import onnx
import torch.nn.functional as F  # noqa: N812
from onnx import TensorProto, helper
from torch import Tensor, cat, nn

from fairmot.core.errors import ConfigError
from fairmot.engine.graph.dialects.names import Dialect
from fairmot.engine.graph.dialects.write import write_dialect
from fairmot.engine.graph.graph import Graph
from fairmot.engine.graph.shapes import anchor_reshapes, fix_input, fold, lower_opset
from fairmot.export.architectures import OutputLayout
from fairmot.export.networks import HeadSizes, Network
from fairmot.export.onnx_model import fold_batch_norm, trace

_NAMES = {"hm": "hm", "wh": "wh", "reg": "reg", "id": "id_feature"}


class OldNetwork(nn.Module):
    """A network with the outputs of older exporters.

    Args:
        network: with its weights.
        layout: of the outputs.
    """

    def __init__(self, network: Network, layout: OutputLayout) -> None:
        super().__init__()
        self.network = network
        self.layout = layout

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs, in the order `forward` returns them."""
        sizes = self.network.head_sizes
        has = {"hm": True, "wh": True, "reg": sizes.offset, "id": bool(sizes.embedding)}
        return ["output"] if self.layout == "concat" else [name for head, name in _NAMES.items() if has[head]]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map images `(n, 3, h, w)` to the outputs at stride 4."""
        heads = self.network(images)
        if self.layout == "separate":
            return tuple(heads[head] for head in _NAMES if head in heads)
        pooled = F.max_pool2d(heads["hm"], 3, stride=1, padding=1)
        return (cat([heads["reg"], heads["wh"], heads["hm"], pooled], 1).flatten(2).transpose(1, 2),)


def check_layout(sizes: HeadSizes, layout: OutputLayout) -> None:
    """Check that a layout can hold the heads of a network.

    Raises:
        ConfigError: if it cannot.
    """
    if sizes.class_boxes and not sizes.box_is_size:
        raise ConfigError("Other runtimes know no boxes as four distances of each class: export without --layout.")
    if layout == "concat" and (sizes.box != 2 or sizes.embedding or not sizes.offset):
        raise ConfigError(
            "The layout concat holds reg, a wh of 2 channels and hm alone, but this network has other heads: export "
            "with --layout separate."
        )


def trace_layout(network: Network, layout: OutputLayout) -> onnx.ModelProto:
    """Convert a network to ONNX with the outputs of a layout, of any size, with the standard operator.

    Args:
        network: with its trained weights.
        layout: of the outputs.

    Raises:
        ConfigError: if the layout cannot hold the heads.
    """
    check_layout(network.head_sizes, layout)
    module = OldNetwork(fold_batch_norm(network), layout)
    return trace(module, module.output_names)


def write_old(model: onnx.ModelProto, size: tuple[int, int], dialect: Dialect) -> onnx.ModelProto:
    """Return the file for another runtime, with dynamic batch.

    Args:
        model: from `trace_layout`; left as it is.
        size: input `(width, height)` in pixels.
        dialect: of deformable convolutions; opset 17 except for `deformconv`, which is an operator of opset 19.

    Raises:
        ModelError: if the dialect cannot state a layer.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = Graph(copy)
    fix_input(graph, 1, size)
    fold(graph)
    write_dialect(graph, dialect)
    if dialect != "deformconv":
        lower_opset(graph)
    graph.infer()
    anchor_reshapes(graph)
    graph.prune()
    graph.outputs = [
        helper.make_tensor_value_info(value.name, TensorProto.FLOAT, ["batch", *graph.shapes[value.name][1:]])
        for value in graph.outputs
    ]
    graph.inputs[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    graph.name_nodes()
    return graph.to_model()
