"""Decoding of the network's heads to a fixed number of detections per image on the GPU."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fairmot.core.records import ByteArray, Detections
from fairmot.engine.cuda.gpu import Gpu
from fairmot.engine.cuda.kernels.tensors import TensorDetections, check_tensor

if TYPE_CHECKING:
    import torch

    from fairmot.engine.decode import HeadOutputs

_SOURCE = Path(__file__).with_suffix(".cu")
_SHARED_KEYS = 4096  # kSharedKeys of decode.cu
_MOST_ELEMENTS = 2**31 - 2**24  # of an image's heatmap: int32 indices, which step beyond the last by a whole grid
_THREADS = 256
_RANK_THREADS = 1024  # kRankThreads of decode.cu


class DecodeKernel:
    """Head tensors to a fixed number of detections per image; three launches per batch.

    Equal to `fairmot.engine.decode.decode`, `map_boxes` and `map_landmarks`, ties included, for any number of
    candidates. Beyond 4096 candidates in an image the heatmap is read a few times more.

    Args:
        gpu: where it runs.
        batch: the most images of a launch.
        classes: channels of the heatmap.
        rows: cells of the heads.
        columns: cells of the heads.
        embedding_size: channels of the embedding, 0 without.
        max_detections: slots per image.
        score_threshold: keep scores strictly above this, compared in float32; at least 0.
        raw_heads: the heatmap is logits without peak suppression, the embedding has any length.
        class_boxes: the box has 4 channels for each class.
        landmark_count: points of a detection, 0 without.

    Attributes:
        detections: results of the latest launch.
        packed: the same as bytes of one tensor, for a single copy to the host.
    """

    def __init__(
        self,
        gpu: Gpu,
        *,
        batch: int,
        classes: int,
        rows: int,
        columns: int,
        embedding_size: int,
        max_detections: int,
        score_threshold: float,
        raw_heads: bool = False,
        class_boxes: bool = False,
        landmark_count: int = 0,
    ) -> None:
        import torch

        size = classes * rows * columns
        if not score_threshold >= 0:
            raise ValueError(f"score_threshold must be at least 0, not {score_threshold}")
        if size > _MOST_ELEMENTS:
            raise ValueError(f"A heatmap of {classes}x{rows}x{columns} is too large: at most {_MOST_ELEMENTS} elements")
        self._gpu = gpu
        self._batch, self._slots, self._embedding_size = batch, max_detections, embedding_size
        self._cells = (rows, columns)
        self._classes = classes
        self._boxes, self._points = classes if class_boxes else 1, landmark_count
        self._raw = int(raw_heads)
        self._heatmap = (classes, rows, columns, float(np.float32(score_threshold)), self._raw)
        self._limit = min(max_detections, size)
        # Candidates that are kept before sorting; a power of two for the bitonic network.
        self._capacity = max(_SHARED_KEYS, 1 << (self._limit - 1).bit_length())
        self._blocks = min(math.ceil(size / (4 * _THREADS)), 8 * gpu.multiprocessors)

        self._collect = gpu.kernel(_SOURCE, "decode_collect", "PPP3ifii")
        self._rank = gpu.kernel(_SOURCE, "decode_rank", "PPPPP3ifiii")
        self._gather = gpu.kernel(_SOURCE, "decode_gather", "PP5P5P9i")

        self._candidates = gpu.zeros((batch, self._capacity), torch.int64)
        self._found = gpu.zeros((batch,), torch.int32)
        self._ranked = gpu.zeros((batch, self._limit), torch.int64)
        self._layout = _packed_layout(batch, max_detections, embedding_size, landmark_count)
        self.packed = gpu.zeros((self._layout[-1][1],), torch.uint8)
        views = [
            self.packed[start:stop].view(getattr(torch, np.dtype(kind).name)).reshape(shape)
            for start, stop, kind, shape in self._layout
        ]
        self.detections = TensorDetections(*views)

    def launch(self, heads: HeadOutputs[torch.Tensor], transforms: torch.Tensor) -> None:
        """Fill `detections` for as many images as the heads have.

        Args:
            heads: outputs of the network for at most `batch` images.
            transforms: `(n, 4)` float64: scale x, scale y, shift x, shift y, which take a box in cells to source
                pixels.

        Raises:
            ValueError: if a tensor does not have the size, the type or the memory layout that it should.
        """
        images = len(heads.heatmap)
        cells = self._cells[0] * self._cells[1]
        if not 1 <= images <= self._batch:
            raise ValueError(f"{images} images are not between 1 and {self._batch}")
        if (heads.embedding is None) != (self._embedding_size == 0):
            raise ValueError(f"The embedding does not have {self._embedding_size} channels")
        if (heads.landmarks is None) != (self._points == 0):
            raise ValueError(f"The landmarks do not have {2 * self._points} channels")
        check_tensor("heatmap", heads.heatmap, "float32", images * self._classes * cells)
        check_tensor("box", heads.box, "float32", images * 4 * self._boxes * cells)
        check_tensor("offset", heads.offset, "float32", images * 2 * cells)
        check_tensor("transforms", transforms, "float64", images * 4)
        if heads.embedding is not None:
            check_tensor("embedding", heads.embedding, "float32", images * self._embedding_size * cells)
        if heads.landmarks is not None:
            check_tensor("landmarks", heads.landmarks, "float32", images * 2 * self._points * cells)

        out = self.detections
        heatmap = heads.heatmap.data_ptr()
        candidates, found, ranked = (tensor.data_ptr() for tensor in (self._candidates, self._found, self._ranked))
        counts = out.counts.data_ptr()
        self._collect(
            (self._blocks, images), (_THREADS, 1, 1), heatmap, candidates, found, *self._heatmap, self._capacity
        )
        self._rank(
            (images, 1),
            (_RANK_THREADS, 1, 1),
            heatmap,
            candidates,
            found,
            ranked,
            counts,
            *self._heatmap,
            self._capacity,
            self._limit,
        )
        self._gather(
            (math.ceil(self._slots / (_THREADS // 32)), images),
            (_THREADS, 1, 1),
            ranked,
            counts,
            heads.box.data_ptr(),
            heads.offset.data_ptr(),
            0 if heads.embedding is None else heads.embedding.data_ptr(),
            0 if heads.landmarks is None else heads.landmarks.data_ptr(),
            transforms.data_ptr(),
            out.tlbr.data_ptr(),
            out.scores.data_ptr(),
            out.class_ids.data_ptr(),
            out.embeddings.data_ptr(),
            out.landmarks.data_ptr(),
            self._classes,
            *self._cells,
            self._boxes,
            self._embedding_size,
            self._points,
            self._raw,
            self._limit,
            self._slots,
        )

    def unpack(self, host: ByteArray, images: int) -> list[Detections]:
        """Turn a copy of `packed` on the host into one record per image, which owns its memory.

        Args:
            host: uint8, as long as `packed`.
            images: how many the launch had.
        """
        counts, tlbr, scores, class_ids, embeddings, landmarks = (
            host[start:stop].view(kind).reshape(shape) for start, stop, kind, shape in self._layout
        )
        return [
            Detections(
                tlbr[image, :count].copy(),
                scores[image, :count].copy(),
                class_ids[image, :count].astype(np.int64),
                embeddings[image, :count].copy(),
                landmarks[image, :count].copy(),
            )
            for image, count in enumerate(counts[:images].tolist())
        ]


def _packed_layout(
    batch: int, slots: int, embedding_size: int, landmark_count: int
) -> list[tuple[int, int, Any, tuple[int, ...]]]:
    """Return start, stop, type and shape of each array within the packed bytes, each from a multiple of 16."""
    arrays: list[tuple[Any, tuple[int, ...]]] = [
        (np.int32, (batch,)),
        (np.float32, (batch, slots, 4)),
        (np.float32, (batch, slots)),
        (np.int32, (batch, slots)),
        (np.float32, (batch, slots, embedding_size)),
        (np.float32, (batch, slots, landmark_count, 2)),
    ]
    layout = []
    start = 0
    for kind, shape in arrays:
        stop = start + np.dtype(kind).itemsize * math.prod(shape)
        layout.append((start, stop, kind, shape))
        start = math.ceil(stop / 16) * 16
    return layout
