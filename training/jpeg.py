"""The loss of JPEG compression, in torch: quantization of the image's DCT coefficients as in an encoder."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

# ITU-T T.81 (JPEG), tables K.1 and K.2: quantization steps of luminance and chrominance at quality 50.
_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_COLOR = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *[(99,) * 8] * 4,
)
# JFIF 1.02: R, G, B to Y, Cb, Cr (ITU-R BT.601, full range).
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def _cosines(device: torch.device) -> Tensor:
    """Return the orthonormal 8x8 matrix of the discrete cosine transform (T.81, A.3.3)."""
    k, x = torch.arange(8, device=device)[:, None], torch.arange(8, device=device)
    rows = torch.cos((2 * x + 1) * k * (math.pi / 16)) / 2
    rows[0] /= math.sqrt(2)
    return rows


def _round_frequencies(plane: Tensor, steps: Tensor) -> Tensor:
    """Round the 8x8 frequencies of planes `(n, c, h, w)` to multiples of `steps` `(n, 8, 8)`."""
    count, channels, height, width = plane.shape
    cosines = _cosines(plane.device)
    blocks = plane.reshape(count, channels, height // 8, 8, width // 8, 8).transpose(3, 4)
    steps = steps[:, None, None, None]
    rounded = (cosines @ blocks @ cosines.T / steps).round() * steps
    return (cosines.T @ rounded @ cosines).transpose(3, 4).reshape(plane.shape)


def jpeg_loss(images: Tensor, quality: Tensor) -> Tensor:
    """Return images as they look after JPEG with 4:2:0 colors.

    Args:
        images: `(n, 3, h, w)` float32, RGB in [0, 1]; height and width are multiples of 16.
        quality: `(n,)` 1 to 100, on libjpeg's scale (`jpeg_quality_scaling`, `jcparam.c`).
    """
    scale = torch.where(quality < 50, 50 / quality, 2 - quality / 50)[:, None, None]
    device = images.device
    tables = (torch.tensor(table, device=device) * scale for table in (_LUMINANCE, _COLOR))
    luminance, color = ((table + 0.5).floor().clamp(1, 255) for table in tables)
    to_ycc = torch.tensor(_TO_YCC)
    matrix, inverse = to_ycc.to(device), to_ycc.inverse().to(device)
    ycc = torch.einsum("ij,njhw->nihw", matrix, images * 255)
    y = _round_frequencies(ycc[:, :1] - 128, luminance) + 128
    cbcr = _round_frequencies(F.avg_pool2d(ycc[:, 1:], 2), color)
    cbcr = F.interpolate(cbcr, scale_factor=2, mode="bilinear", align_corners=False)
    rgb = torch.einsum("ij,njhw->nihw", inverse, torch.cat((y, cbcr), 1))
    return (rgb / 255).clamp(0, 1)
