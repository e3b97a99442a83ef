"""Random changes of light, color, sharpness, motion and compression, different for each image."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from fairmot.training.augment_settings import PhotometricSettings
from fairmot.training.jpeg import jpeg_loss


def uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    """Return random numbers on the generator's device."""
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)


def photometric(images: Tensor, settings: PhotometricSettings, generator: torch.Generator) -> Tensor:
    """Change images `(n, 3, h, w)`, RGB in [0, 1], in the order of a camera: lens, motion, light, noise, file."""
    count = images.shape[0]
    one = (count, 1, 1, 1)

    def some(share: float) -> Tensor:
        return uniform(one, 0, 1, generator) < share

    blurred = F.interpolate(F.avg_pool2d(images, 2), scale_factor=2, mode="bilinear", align_corners=False)
    images = torch.where(some(0.15), blurred, images)
    soft = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
    amount = uniform(one, -0.6, 0.8, generator) * some(0.5)  # below zero sharpens
    images = images + amount * (soft - images)
    chosen, most = _chosen(count, settings.motion, generator), settings.motion_length[1]
    length = uniform((count,), *settings.motion_length, generator)
    angle = uniform((count,), 0, torch.pi, generator)
    images = images.index_copy(0, chosen, motion_blur(images[chosen], length[chosen], angle[chosen], most))
    gray = images.mean(1, keepdim=True)
    saturation = torch.exp(uniform(one, -0.6, 0.4, generator)) * ~some(0.08)
    images = gray + saturation * (images - gray)
    tint = torch.exp(uniform((count, 3, 1, 1), -0.12, 0.12, generator))
    gain = torch.exp(uniform(one, -0.5, 0.4, generator))
    middle = images.mean((1, 2, 3), keepdim=True)
    contrast = torch.exp(uniform(one, -0.5, 0.35, generator))
    images = ((images - middle) * contrast + middle) * gain * tint
    gamma = torch.exp(uniform(one, -0.3, 0.3, generator))
    images = images.clamp(1e-4, 1) ** gamma
    noise = torch.randn(images.shape, generator=generator, device=images.device)
    images = (images + noise * uniform(one, 0, 0.04, generator) * some(0.5)).clamp(0, 1)
    chosen = _chosen(count, settings.jpeg, generator)
    quality = uniform((count,), *settings.jpeg_quality, generator)
    return images.index_copy(0, chosen, jpeg_loss(images[chosen], quality[chosen]))


def _chosen(count: int, share: float, generator: torch.Generator) -> Tensor:
    """Return the indices of the images to change; their number is fixed, so the host need not wait for a GPU."""
    return torch.randperm(count, generator=generator, device=generator.device)[: round(share * count)]


def motion_blur(images: Tensor, length: Tensor, angle: Tensor, longest: float) -> Tensor:
    """Average images `(n, c, h, w)` along a line.

    Args:
        images: the images.
        length: `(n,)` of the line in pixels, at most `longest`.
        angle: `(n,)` in radians from the rows.
        longest: decides the size of the kernel.
    """
    count, channels, height, width = images.shape
    if not count:
        return images
    reach = int(longest / 2 + 1)
    x = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    y = x[:, None]
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    along, across = (x * cos + y * sin).abs(), (y * cos - x * sin).abs()
    kernel = (length[:, None, None] / 2 + 0.5 - along).clamp(0, 1) * (1 - across).clamp(min=0)
    kernel = kernel / kernel.sum((1, 2), keepdim=True)
    padded = F.pad(images, (reach,) * 4, mode="replicate")
    padded = padded.reshape(1, count * channels, height + 2 * reach, width + 2 * reach)
    kernels = kernel.repeat_interleave(channels, 0)[:, None]
    return F.conv2d(padded, kernels, groups=count * channels).reshape(images.shape)
