"""ResNets (He et al., CVPR 2016) with the three necks of CenterNet and FairMOT.

`ResDCN`: a deformable convolution before each of three upsamplings (`resnet_dcn.py`); `ResFPNDCN`:
the same with lateral connections (`resnet_fpn_dcn.py`); `ResPlain`: upsampling only (Xiao et al.,
"Simple Baselines", ECCV 2018; `msra_resnet.py`).
"""

from __future__ import annotations

from torch import Tensor, nn

from fairmot.export.networks.deform_conv import DeformConv2d
from fairmot.export.networks.layers import BasicBlock, Bottleneck, DeformBlock
from fairmot.export.networks.network import HeadSizes, Network

_STAGES: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
}
_NECK_CHANNELS = (256, 128, 64)


class ResNet(Network):
    """The backbone; `stages` returns the maps at strides 4, 8, 16 and 32."""

    def __init__(self, heads: HeadSizes, depth: int) -> None:
        super().__init__(heads)
        block, counts = _STAGES[depth]
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.deep_channels = 64
        for i, count in enumerate(counts):
            self.add_module(f"layer{i + 1}", self._stage(block, 64 * 2**i, count, 1 if i == 0 else 2))

    def _stage(
        self, block: type[BasicBlock] | type[Bottleneck], channels: int, count: int, stride: int
    ) -> nn.Sequential:
        out_channels = channels * block.expansion
        shortcut = None
        if stride != 1 or self.deep_channels != out_channels:
            shortcut = nn.Sequential(
                nn.Conv2d(self.deep_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )
        blocks: list[nn.Module] = [block(self.deep_channels, channels, stride, shortcut)]
        blocks += [block(out_channels, channels) for _ in range(count - 1)]
        self.deep_channels = out_channels
        return nn.Sequential(*blocks)

    def stages(self, images: Tensor) -> list[Tensor]:
        """Map images `(n, 3, h, w)` to four maps at strides 4, 8, 16 and 32."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        maps = []
        for i in range(4):
            x = self.get_submodule(f"layer{i + 1}")(x)
            maps.append(x)
        return maps


def _upsample(in_channels: int, out_channels: int) -> list[nn.Module]:
    return [
        nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    ]


def _deform_upsample(in_channels: int, out_channels: int) -> list[nn.Module]:
    return [
        DeformConv2d(in_channels, out_channels),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
        *_upsample(out_channels, out_channels),
    ]


class ResDCN(ResNet):
    """ResNet with deformable upsampling."""

    def __init__(self, heads: HeadSizes, depth: int) -> None:
        super().__init__(heads, depth)
        layers: list[nn.Module] = []
        channels = self.deep_channels
        for out_channels in _NECK_CHANNELS:
            layers += _deform_upsample(channels, out_channels)
            channels = out_channels
        self.deconv_layers = nn.Sequential(*layers)
        self._add_heads(channels)

    def features(self, images: Tensor) -> Tensor:
        """Map images `(n, 3, h, w)` to features `(n, c, h / 4, w / 4)`."""
        result: Tensor = self.deconv_layers(self.stages(images)[-1])
        return result


class ResPlain(ResNet):
    """ResNet with plain upsampling, without DCNv2."""

    def __init__(self, heads: HeadSizes, depth: int) -> None:
        super().__init__(heads, depth)
        layers: list[nn.Module] = []
        channels = self.deep_channels
        for _ in range(3):
            layers += _upsample(channels, 256)
            channels = 256
        self.deconv_layers = nn.Sequential(*layers)
        self._add_heads(channels)

    def features(self, images: Tensor) -> Tensor:
        """Map images `(n, 3, h, w)` to features `(n, c, h / 4, w / 4)`."""
        result: Tensor = self.deconv_layers(self.stages(images)[-1])
        return result


class ResFPNDCN(ResNet):
    """ResNet with a deformable feature pyramid."""

    def __init__(self, heads: HeadSizes, depth: int) -> None:
        super().__init__(heads, depth)
        channels = self.deep_channels
        for i, out_channels in enumerate(_NECK_CHANNELS, start=1):
            lateral = self.deep_channels // 2**i
            self.add_module(f"deconv_layer{i}", nn.Sequential(*_deform_upsample(channels, out_channels)))
            self.add_module(f"smooth_layer{i}", DeformBlock(out_channels, out_channels))
            self.add_module(f"project_layer{i}", DeformBlock(lateral, out_channels))
            channels = out_channels
        self._add_heads(channels)

    def features(self, images: Tensor) -> Tensor:
        """Map images `(n, 3, h, w)` to features `(n, c, h / 4, w / 4)`."""
        maps = self.stages(images)
        x = maps[3]
        for i in (1, 2, 3):
            raised = self.get_submodule(f"deconv_layer{i}")(x)
            x = self.get_submodule(f"smooth_layer{i}")(raised + self.get_submodule(f"project_layer{i}")(maps[3 - i]))
        return x
