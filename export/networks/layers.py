"""Building blocks shared by the networks."""

from __future__ import annotations

from contextlib import suppress

import torch
from torch import Tensor, nn

from fairmot.export.networks.deform_conv import DeformConv2d, takes_triton

with suppress(ImportError):  # then `takes_triton` is always false
    from fairmot.export.networks.upsampling_triton import enlarge_triton


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut (He et al., CVPR 2016; also DLA's block)."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int = 1, downsample: nn.Module | None = None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = downsample
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Map `(n, c, h, w)` to `(n, c', h / stride, w / stride)`; `residual` replaces the shortcut."""
        if residual is None:
            residual = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        result: Tensor = self.relu(self.bn2(self.conv2(out)) + residual)
        return result


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions with a shortcut (He et al., CVPR 2016), stride in the 3x3."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int = 1, downsample: nn.Module | None = None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, channels * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels * self.expansion)
        self.downsample = downsample
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, c, h, w)` to `(n, 4 c', h / stride, w / stride)`."""
        residual = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        result: Tensor = self.relu(self.bn3(self.conv3(out)) + residual)
        return result


class DeformBlock(nn.Module):
    """DCNv2, BatchNorm, ReLU (CenterNet's `DeformConv`)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.actf = nn.Sequential(nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))
        self.conv = DeformConv2d(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, c, h, w)` to `(n, c', h, w)`."""
        result: Tensor = self.actf(self.conv(x))
        return result


def conv_block(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Sequential:
    """Return convolution, BatchNorm, ReLU with padding that keeps `size / stride`."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class Upsampling(nn.ConvTranspose2d):
    """A depthwise transposed convolution that enlarges maps by an even factor, at first bilinearly."""

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__(
            channels, channels, 2 * factor, stride=factor, padding=factor // 2, groups=channels, bias=False
        )
        center = (2 * factor - 1) / 2
        ramp = 1 - (torch.arange(2 * factor) - center).abs() / factor
        with torch.no_grad():
            self.weight.copy_((ramp[:, None] * ramp).expand_as(self.weight))

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map `(n, c, h, w)` to `(n, c, f h, f w)`."""
        if takes_triton(x):
            return enlarge_triton(x, self.weight)
        return super().forward(x, output_size)
