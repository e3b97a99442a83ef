"""Files for other runtimes: every dialect and layout, adopted again and compared with PyTorch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper
from support.torch_network import CHANNELS, OneLayerNetwork
from torch import Tensor

from fairmot.core import ConfigError
from fairmot.export.command import export
from fairmot.export.foreign.adopt import Choices, adopt
from fairmot.export.layouts import check_layout, trace_layout, write_old
from fairmot.export.networks import HeadSizes
from fairmot.export.networks.layers import DeformBlock
from fairmot.export.onnx_model import save
from fairmot.export.verify import TOLERANCE, verify

SIZE = (96, 64)
CENTERNET = HeadSizes(classes=3, box=2, embedding=0, hidden=8)
FAIRMOT = HeadSizes(classes=1, box=4, embedding=6, hidden=8)


class DeformNetwork(OneLayerNetwork):
    """A convolution, a deformable block that moves by pixels, and the heads."""

    def __init__(self, heads: HeadSizes) -> None:
        super().__init__(heads)
        self.block = DeformBlock(CHANNELS, CHANNELS)
        torch.nn.init.normal_(self.block.conv.conv_offset_mask.weight, std=0.5)

    def features(self, images: Tensor) -> Tensor:
        features: Tensor = self.block(super().features(images))
        return features


def network(heads: HeadSizes) -> DeformNetwork:
    torch.manual_seed(2)
    return DeformNetwork(heads).eval()


IMAGE = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
OUTPUTS = {"separate": ["hm", "wh", "reg"], "concat": ["output"]}


@pytest.mark.parametrize(
    ("dialect", "layout"),
    [
        ("deformconv", "separate"),
        ("dcnv2", "separate"),
        ("plugin", "concat"),
        ("deformableconv2d", "concat"),
    ],
)
def test_round_trip(dialect: Any, layout: Any, tmp_path: Path) -> None:
    heads = FAIRMOT if dialect == "dcnv2" else CENTERNET
    model = write_old(trace_layout(network(heads), layout), SIZE, dialect)
    wanted = [*OUTPUTS[layout], *(["id_feature"] if heads.embedding else [])]
    assert [value.name for value in model.graph.output] == wanted
    assert model.graph.input[0].name == "images"
    assert [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim] == [0, 3, 64, 96]
    if layout == "concat":
        assert [dim.dim_value for dim in model.graph.output[0].type.tensor_type.shape.dim] == [0, 16 * 24, 10]
    assert not model.metadata_props
    (node,) = [node for node in model.graph.node if any(part.endswith("conv.weight") for part in node.input[1:])]
    operators = {"dcnv2": "DCNv2", "plugin": "Plugin", "deformableconv2d": "DeformableConv2D"}
    assert node.op_type == operators.get(dialect, "DeformConv")
    settings = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    if dialect == "plugin":
        assert settings["name"] == b"DCNv2"
        info = {"stride": [1, 1], "padding": [1, 1], "dilation": [1, 1], "deformable_groups": 1}
        assert json.loads(settings["info"]) == info
    save(model, tmp_path / "old.onnx")
    assert adopt(tmp_path / "old.onnx", tmp_path / "new.onnx", Choices())
    errors = verify(network(heads), tmp_path / "new.onnx", IMAGE)
    assert {error.name for error in errors} >= {"heatmap", "box", "offset"}
    assert max(error.maximum for error in errors) < TOLERANCE


@pytest.mark.parametrize(
    ("heads", "layout", "message"),
    [
        (FAIRMOT, "concat", "export with --layout separate"),
        (HeadSizes(classes=3, box=2, embedding=0, offset=False), "concat", "export with --layout separate"),
        (HeadSizes(classes=3, box=12, embedding=0, class_boxes=True), "separate", "export without --layout"),
    ],
)
def test_heads_that_a_layout_cannot_hold(heads: HeadSizes, layout: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_layout(heads, layout)


@pytest.mark.parametrize("options", [{"raw": True}, {"half_storage": True}])
def test_options_that_other_runtimes_do_not_take(options: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="omit --raw and --half-storage"):
        export(tmp_path / "any.pth", tmp_path / "any.onnx", dialect="plugin", **options)
