"""DLA-34 (Yu et al., "Deep Layer Aggregation", CVPR 2018) with FairMOT's two necks.

`DLASeg` is FairMOT's default: deformable convolutions in the neck and sums at its nodes
(reference: `pose_dla_dcn.py`). `DLASegV0` has plain convolutions and concatenates (`dlav0.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fairmot.export.networks.layers import BasicBlock, DeformBlock, Upsampling, conv_block
from fairmot.export.networks.network import HeadSizes, Network

DLA34_CHANNELS = (16, 32, 64, 128, 256, 512)
_FIRST_LEVEL = 2  # stride 4, the resolution of the outputs
_LAST_LEVEL = 5  # levels 2 to 4 are merged once more by the final aggregation


class Root(nn.Module):
    """1x1 convolution over the concatenated children of an aggregation node."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, children: Sequence[Tensor]) -> Tensor:
        """Merge tensors `(n, c_i, h, w)` into `(n, c', h, w)`."""
        result: Tensor = self.relu(self.bn(self.conv(torch.cat(list(children), 1))))
        return result


class Tree(nn.Module):
    """Hierarchical aggregation of `2 ** levels` residual blocks.

    The projection of a tree with two levels is unused (its subtree has its own) but stands in every
    official checkpoint, so it is kept as parameters.
    """

    def __init__(
        self,
        levels: int,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        level_root: bool = False,
        root_channels: int = 0,
    ) -> None:
        super().__init__()
        root_channels = root_channels or 2 * out_channels
        if level_root:
            root_channels += in_channels
        self.levels = levels
        self.level_root = level_root
        self.tree1: nn.Module
        self.tree2: nn.Module
        if levels == 1:
            self.tree1 = BasicBlock(in_channels, out_channels, stride)
            self.tree2 = BasicBlock(out_channels, out_channels)
            self.root = Root(root_channels, out_channels)
        else:
            self.tree1 = Tree(levels - 1, in_channels, out_channels, stride)
            self.tree2 = Tree(levels - 1, out_channels, out_channels, root_channels=root_channels + out_channels)
        self.downsample = nn.MaxPool2d(stride, stride) if stride > 1 else nn.Identity()
        self.project: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.project = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor, children: tuple[Tensor, ...] = ()) -> Tensor:
        """Map `(n, c, h, w)` to `(n, c', h / stride, w / stride)`; `children` join at the root."""
        bottom = self.downsample(x)
        if self.level_root:
            children = (*children, bottom)
        result: Tensor
        if self.levels == 1:
            first = self.tree1(x, self.project(bottom))
            result = self.root((self.tree2(first), first, *children))
        else:
            first = self.tree1(x)
            result = self.tree2(first, (*children, first))
        return result


class DLA(nn.Module):
    """The backbone: `forward` returns the feature maps of all six levels.

    Args:
        channels: of the six levels.
        stem_stride: 2 lets the first convolution halve the resolution instead of level 1, so that nothing is
            computed at full resolution; FairMOT's is 1.
    """

    def __init__(self, channels: Sequence[int] = DLA34_CHANNELS, stem_stride: int = 1) -> None:
        super().__init__()
        self.base_layer = conv_block(3, channels[0], 7, stem_stride)
        self.level0 = conv_block(channels[0], channels[0], 3)
        self.level1 = conv_block(channels[0], channels[1], 3, 2 // stem_stride)
        self.level2 = Tree(1, channels[1], channels[2], 2)
        self.level3 = Tree(2, channels[2], channels[3], 2, level_root=True)
        self.level4 = Tree(2, channels[3], channels[4], 2, level_root=True)
        self.level5 = Tree(1, channels[4], channels[5], 2, level_root=True)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map images `(n, 3, h, w)` to six maps `(n, channels[i], h / 2**i, w / 2**i)`, the first like the stem's."""
        x = self.base_layer(x)
        maps = []
        for level in (self.level0, self.level1, self.level2, self.level3, self.level4, self.level5):
            x = level(x)
            maps.append(x)
        return maps


class Aggregation(nn.Module):
    """Iterative aggregation of maps of falling resolution into one channel count (`IDAUp`)."""

    def __init__(self, out_channels: int, channels: Sequence[int], factors: Sequence[int]) -> None:
        super().__init__()
        for i in range(1, len(channels)):
            self.add_module(f"proj_{i}", DeformBlock(channels[i], out_channels))
            self.add_module(f"up_{i}", Upsampling(out_channels, factors[i]))
            self.add_module(f"node_{i}", DeformBlock(out_channels, out_channels))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return the maps after merging, all at the resolution and channel count of the first."""
        merged = [maps[0]]
        for i, features in enumerate(maps[1:], start=1):
            raised = self.get_submodule(f"up_{i}")(self.get_submodule(f"proj_{i}")(features))
            merged.append(self.get_submodule(f"node_{i}")(raised + merged[-1]))
        return merged


class AggregationV0(nn.Module):
    """`dlav0.py`'s aggregation: plain convolutions, concatenation at the nodes."""

    def __init__(self, out_channels: int, channels: Sequence[int], factors: Sequence[int]) -> None:
        super().__init__()
        for i, (count, factor) in enumerate(zip(channels, factors, strict=True)):
            self.add_module(f"proj_{i}", nn.Identity() if count == out_channels else conv_block(count, out_channels, 1))
            self.add_module(f"up_{i}", nn.Identity() if factor == 1 else Upsampling(out_channels, factor))
            if i:
                self.add_module(f"node_{i}", conv_block(2 * out_channels, out_channels, 3))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return the maps after merging, all at the resolution and channel count of the first."""
        raised = [
            self.get_submodule(f"up_{i}")(self.get_submodule(f"proj_{i}")(features)) for i, features in enumerate(maps)
        ]
        merged = [raised[0]]
        for i in range(1, len(raised)):
            merged.append(self.get_submodule(f"node_{i}")(torch.cat((merged[-1], raised[i]), 1)))
        return merged


class Pyramid(nn.Module):
    """Repeats an aggregation from the deepest level up (`DLAUp`)."""

    def __init__(self, channels: Sequence[int], aggregation: type[Aggregation] | type[AggregationV0]) -> None:
        super().__init__()
        channels = list(channels)
        factors = [2**i for i in range(len(channels))]
        self.steps = len(channels) - 1
        inputs = channels.copy()
        for i in range(self.steps):
            j = len(channels) - 2 - i
            relative = [factor // factors[j] for factor in factors[j:]]
            self.add_module(f"ida_{i}", aggregation(channels[j], inputs[j:], relative))
            factors[j + 1 :] = [factors[j]] * (len(channels) - j - 1)
            inputs[j + 1 :] = [channels[j]] * (len(channels) - j - 1)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return the most aggregated map of each level, the highest resolution first."""
        layers = list(maps)
        outputs = [layers[-1]]
        for i in range(self.steps):
            start = len(layers) - 2 - i
            layers[start:] = self.get_submodule(f"ida_{i}")(layers[start:])
            outputs.insert(0, layers[-1])
        return outputs


class DLASeg(Network):
    """DLA with the deformable neck.

    Args:
        heads: sizes of the heads.
        channels: of the six levels of the backbone.
        stem_stride: of the backbone's first convolution.
        plain: layers of the neck that are plain 3x3 convolutions, by their names or the beginnings of these.
        skip: whether level 1, at stride 2, joins what the final aggregation starts from.
    """

    def __init__(
        self,
        heads: HeadSizes,
        channels: Sequence[int] = DLA34_CHANNELS,
        *,
        stem_stride: int = 1,
        plain: Sequence[str] = (),
        skip: bool = False,
    ) -> None:
        super().__init__(heads)
        self.base = DLA(channels, stem_stride)
        self.dla_up = Pyramid(channels[_FIRST_LEVEL:], Aggregation)
        merged = channels[_FIRST_LEVEL:_LAST_LEVEL]
        self.ida_up = Aggregation(merged[0], merged, [2**i for i in range(len(merged))])
        self.skip = conv_block(channels[_FIRST_LEVEL - 1], merged[0], 3, 2) if skip else None
        self._make_plain(plain)
        self._add_heads(merged[0])

    def _make_plain(self, names: Sequence[str]) -> None:
        for name, layer in list(self.named_modules()):
            if isinstance(layer, DeformBlock) and name.startswith(tuple(names)):
                out_channels, in_channels = layer.conv.weight.shape[:2]
                owner, _, child = name.rpartition(".")
                setattr(self.get_submodule(owner), child, conv_block(in_channels, out_channels, 3))

    def features(self, images: Tensor) -> Tensor:
        """Map images `(n, 3, h, w)` to features `(n, c, h / 4, w / 4)`."""
        maps = self.base(images)
        levels = self.dla_up(maps[_FIRST_LEVEL:])[: _LAST_LEVEL - _FIRST_LEVEL]
        if self.skip is not None:
            levels[0] = levels[0] + self.skip(maps[_FIRST_LEVEL - 1])
        result: Tensor = self.ida_up(levels)[-1]
        return result


class DLASegV0(Network):
    """DLA with the plain neck."""

    def __init__(self, heads: HeadSizes, channels: Sequence[int] = DLA34_CHANNELS) -> None:
        super().__init__(heads)
        self.base = DLA(channels)
        self.dla_up = Pyramid(channels[_FIRST_LEVEL:], AggregationV0)
        self._add_heads(channels[_FIRST_LEVEL])

    def features(self, images: Tensor) -> Tensor:
        """Map images `(n, 3, h, w)` to features `(n, c, h / 4, w / 4)`."""
        result: Tensor = self.dla_up(self.base(images)[_FIRST_LEVEL:])[0]
        return result
