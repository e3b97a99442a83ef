"""Detections as torch tensors on the GPU, and the check of tensors that kernels take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class TensorDetections:
    """Detections of `n` images on the GPU, `slots` for each; sorted by falling score, 0 beyond the counted ones.

    Attributes:
        counts: `(n,)` int32.
        tlbr: `(n, slots, 4)` float32, boxes in source pixels.
        scores: `(n, slots)` float32.
        class_ids: `(n, slots)` int32.
        embeddings: `(n, slots, d)` float32; `d` is 0 for a model without embeddings.
        landmarks: `(n, slots, k, 2)` float32, points in source pixels; `k` is 0 for a model without landmarks.
    """

    counts: torch.Tensor
    tlbr: torch.Tensor
    scores: torch.Tensor
    class_ids: torch.Tensor
    embeddings: torch.Tensor
    landmarks: torch.Tensor


def check_tensor(name: str, tensor: torch.Tensor, kind: str, values: int) -> None:
    """Raise `ValueError` unless a tensor is contiguous, of the type `kind` (`float32`) and has that many values."""
    if str(tensor.dtype) != f"torch.{kind}" or tensor.numel() != values or not tensor.is_contiguous():
        raise ValueError(
            f"{name} must be contiguous, {kind}, {values} values, not {tuple(tensor.shape)} of {tensor.dtype} "
            f"with the strides {tensor.stride()}"
        )
