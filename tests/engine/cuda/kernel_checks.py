"""The kernels against `engine`, on whatever runs them: a GPU or `cuda_on_cpu.CudaOnCpu`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from fairmot.core.records import Frame
from fairmot.engine.cuda.kernels import DecodeKernel, LetterboxKernel
from fairmot.engine.decode import BoxMapping, HeadOutputs, decode, map_boxes, map_landmarks
from fairmot.engine.letterbox import Letterbox, Preprocessor
from fairmot.engine.model import ModelInfo

# Levels that a YUV frame may lie from swscale's conversion. On x86 swscale rounds three terms down, which makes up
# to 2.9 levels (measured over both matrices and ranges); the kernel rounds to the nearest, and the resize rounds both.
YUV_LEVELS = 4


def model_facts(channel_order: str = "rgb", border: int = 128, scaled: bool = False) -> ModelInfo:
    mean, std = ((0.408, 0.447, 0.47), (0.289, 0.274, 0.278)) if scaled else ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return ModelInfo(
        path=Path("none.onnx"),
        architecture="none",
        stride=4,
        size=(96, 64),
        size_multiple=32,
        channel_order=channel_order,  # type: ignore[arg-type]
        mean=mean,
        std=std,
        border=border,
        class_names=("person",),
        raw_heads=False,
        embedding_size=0,
    )


def letterbox_kernel(gpu: Any, size: tuple[int, int], model: ModelInfo, layout: str) -> LetterboxKernel:
    return LetterboxKernel(gpu, size, model.mean, model.std, model.channel_order, model.border, layout)  # type: ignore[arg-type]


def run_letterbox(gpu: Any, frames: list[Frame], size: tuple[int, int], model: ModelInfo, layout: str) -> np.ndarray:
    """The network's input for a batch, as float32 `(n, 3, height, width)`; checks what lies beside the channels."""
    kernel = letterbox_kernel(gpu, size, model, layout)
    kind = torch.float32 if layout == "chw_float32" else torch.float16
    out = gpu.upload(np.full(kernel.input_shape(len(frames)), 77, str(kind).removeprefix("torch.")))
    for image, frame in enumerate(frames):
        source = gpu.upload(np.ascontiguousarray(frame.pixels).reshape(-1))
        kernel.launch(
            source,
            frame.pixel_format,
            frame.color_space,
            frame.full_range,
            Letterbox.fit(frame.size, size),
            out,
            image,
        )
    gpu.synchronize()
    found = out.cpu().numpy().astype(np.float32)
    if layout != "chw_float32":
        assert not found[..., 3:].any()
        found = found[..., :3].transpose(0, 3, 1, 2)
    return found


def check_bgr_letterbox(
    gpu: Any, sources: list[tuple[int, int]], size: tuple[int, int], model: ModelInfo, layout: str, seed: int = 0
) -> None:
    """Within one level of OpenCV everywhere, and the same level nearly everywhere."""
    random = np.random.default_rng(seed)
    frames = [Frame(1, 0, random.integers(0, 256, (height, width, 3), np.uint8)) for width, height in sources]
    found = run_letterbox(gpu, frames, size, model, layout)
    expected, _ = Preprocessor(model, size)([frame.pixels for frame in frames])
    level = 1 / 255 / np.array(model.std)[:, None, None]
    rounding = 1e-6 if layout == "chw_float32" else 2e-3
    assert np.all(np.abs(found - expected) <= level * 1.001 + rounding)
    # OpenCV rounds the halves of a 2x2 average up (an eighth of noise), and enlarges in fixed point.
    assert np.mean(np.abs(found - expected) > level / 2) < 0.2
    if layout == "chw_float32":
        close = np.abs(found - expected) < level / 2
        assert np.array_equal(found[close], expected[close])


def yuv_frame(
    random: np.random.Generator, size: tuple[int, int], pixel_format: str, color_space: str, full_range: bool
) -> Frame:
    """Noise; the chroma of NV12 rises gently, as swscale interpolates it between rows there but not for YUV420P."""
    width, height = size
    low, high = (0, 256) if full_range else (16, 236)
    luma = random.integers(low, high, (height, width))
    if pixel_format == "yuv420p":
        u, v = random.integers(low, high, (2, height // 2, width // 2))
    else:
        y, x = np.mgrid[: height // 2, : width // 2]
        u, v = 90 + 30 * (x + y) // (width + height), 170 - 60 * y // height
    planes = [luma, u, v] if pixel_format == "yuv420p" else [luma, np.stack([u, v], axis=-1)]
    pixels = np.concatenate([plane.astype(np.uint8).reshape(-1) for plane in planes]).reshape(height * 3 // 2, width)
    return Frame(1, 0, pixels, pixel_format, color_space, full_range)  # type: ignore[arg-type]


def check_yuv_letterbox(
    gpu: Any,
    source: tuple[int, int],
    size: tuple[int, int],
    pixel_format: str,
    color_space: str,
    full_range: bool,
    layout: str,
) -> None:
    model = model_facts()
    frame = yuv_frame(np.random.default_rng(1), source, pixel_format, color_space, full_range)
    found = run_letterbox(gpu, [frame], size, model, layout)
    expected, _ = Preprocessor(model, size)([frame.bgr])
    difference = 255 * (found - expected)
    assert np.abs(difference).max() <= YUV_LEVELS + 0.1
    assert -0.2 < difference.mean() < 1.6  # swscale's rounding down, no other tint
    # A level for the rounding of the conversion, one for OpenCV's fixed point when enlarging.
    difference = 255 * (found - plain_yuv_letterbox(frame, size, model))
    assert np.abs(difference).max() <= 2.1
    assert np.abs(difference).mean() < 0.2


def plain_yuv_letterbox(frame: Frame, size: tuple[int, int], model: ModelInfo) -> np.ndarray:
    """The standard's formula in float64, then the letterbox of `engine`."""
    width, height = frame.size
    flat = frame.pixels.reshape(-1)
    luma = flat[: width * height].reshape(height, width).astype(float)
    chroma = flat[width * height :]
    pair = chroma.reshape(2, -1) if frame.pixel_format == "yuv420p" else chroma.reshape(-1, 2).T
    u, v = (plane.reshape(height // 2, width // 2).repeat(2, 0).repeat(2, 1) - 128.0 for plane in pair)
    red, blue = (0.299, 0.114) if frame.color_space == "ITU601" else (0.2126, 0.0722)
    if not frame.full_range:
        luma, u, v = (luma - 16) * 255 / 219, u * 255 / 224, v * 255 / 224
    r, b = luma + 2 * (1 - red) * v, luma + 2 * (1 - blue) * u
    g = (luma - red * r - blue * b) / (1 - red - blue)
    bgr = np.rint(np.stack([b, g, r], axis=-1)).clip(0, 255).astype(np.uint8)
    return Preprocessor(model, size)([bgr])[0].copy()


def random_heads(
    seed: int,
    shape: tuple[int, int, int, int],
    embedding_size: int,
    levels: int,
    raw: bool,
    share: float = 1.0,
    class_boxes: bool = False,
    points: int = 0,
) -> HeadOutputs:
    """Heads whose scores take few values, so that many are equal; `share` of the cells are not 0."""
    random = np.random.default_rng(seed)
    n, classes, rows, columns = shape
    if raw:
        levels = min(levels, 1000)  # logits nearer to each other have equal scores here or there, as exp rounds
    heatmap = random.integers(0, levels + 1, shape).astype(np.float32) / np.float32(levels)
    if share < 1:
        heatmap *= random.random(shape) < share
    if raw:
        heatmap = 12 * heatmap - 6
    embedding = random.normal(size=(n, embedding_size, rows, columns)).astype(np.float32) if embedding_size else None
    box = random.normal(4, 3, (n, 4 * classes if class_boxes else 4, rows, columns)).astype(np.float32)
    offset = random.random((n, 2, rows, columns)).astype(np.float32)
    landmarks = random.normal(0, 3, (n, 2 * points, rows, columns)).astype(np.float32) if points else None
    return HeadOutputs(heatmap, box, offset, embedding, landmarks)


def cell_transforms(geometries: list[Letterbox], stride: int, mode: BoxMapping) -> np.ndarray:
    """`(n, 4)`: what `fairmot.engine.decode.map_boxes` multiplies by and adds."""
    rows = []
    for geometry in geometries:
        source, target, resized = (
            np.array(value, np.float64) for value in (geometry.source, geometry.target, geometry.resized)
        )
        if mode == "exact":
            scale = source / resized
            shift = -scale * (geometry.left, geometry.top)
        else:
            scale = np.full(2, max(target[0] / target[1] * source[1], source[0]) / target[0])
            shift = source / 2 - scale * target / 2
        rows.append([*(scale * stride), *shift])
    return np.array(rows)


def decode_kernel(
    gpu: Any,
    shape: tuple[int, int, int, int],
    embedding_size: int,
    limit: int,
    threshold: float,
    raw: bool,
    class_boxes: bool = False,
    points: int = 0,
) -> DecodeKernel:
    n, classes, rows, columns = shape
    return DecodeKernel(
        gpu,
        batch=n,
        classes=classes,
        rows=rows,
        columns=columns,
        embedding_size=embedding_size,
        max_detections=limit,
        score_threshold=threshold,
        raw_heads=raw,
        class_boxes=class_boxes,
        landmark_count=points,
    )


def tensor_heads(gpu: Any, heads: HeadOutputs) -> HeadOutputs:
    return HeadOutputs(**{name: gpu.upload(head) for name, head in heads.named()})


SOURCES = [(1920, 1080), (640, 480), (333, 777)]


def check_decode(
    gpu: Any,
    kernel: DecodeKernel,
    heads: HeadOutputs,
    limit: int,
    threshold: float,
    raw: bool,
    mode: BoxMapping = "exact",
) -> None:
    """Two runs, as the kernels leave their counters ready for the next; then all arrays against `engine`."""
    n, _, rows, columns = heads.heatmap.shape
    geometries = [Letterbox.fit(SOURCES[image % 3], (4 * columns, 4 * rows)) for image in range(n)]
    transforms = gpu.upload(cell_transforms(geometries, 4, mode))
    tensors = tensor_heads(gpu, heads)
    for _ in range(2):
        kernel.packed.fill_(255)
        if hasattr(gpu, "stream"):
            torch.cuda.synchronize()
        kernel.launch(tensors, transforms)
        gpu.synchronize()
        host = kernel.packed.cpu().numpy()
        found = kernel.unpack(host, n)
        expected = decode(heads, threshold, limit, raw)
        for image, (record, wanted) in enumerate(zip(found, expected, strict=True)):
            count = len(wanted)
            assert len(record) == count
            assert record.class_ids.dtype == np.int64
            assert not np.shares_memory(record.tlbr, host)
            np.testing.assert_array_equal(record.class_ids, wanted.class_ids)
            np.testing.assert_array_equal(record.tlbr, map_boxes(wanted.tlbr, geometries[image], 4, mode))
            in_pixels = map_landmarks(wanted.landmarks, geometries[image], 4, mode)
            assert record.landmarks.shape == in_pixels.shape
            np.testing.assert_array_equal(record.landmarks, in_pixels)
            if raw:
                np.testing.assert_allclose(record.scores, wanted.scores, rtol=1e-6)
                np.testing.assert_allclose(record.embeddings, wanted.embeddings, rtol=1e-5, atol=1e-6)
            else:
                np.testing.assert_array_equal(record.scores, wanted.scores)
                np.testing.assert_array_equal(record.embeddings, wanted.embeddings)
            on_gpu = kernel.detections
            assert int(on_gpu.counts[image]) == count
            for tensor in (on_gpu.tlbr, on_gpu.scores, on_gpu.class_ids, on_gpu.embeddings, on_gpu.landmarks):
                assert not tensor[image, count:].any()
