"""Times the letterbox and decode kernels, as the engine runs them."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import numpy as np
import torch

from fairmot.core.records import PixelFormat
from fairmot.engine import ModelInfo
from fairmot.engine.cuda.gpu import Gpu
from fairmot.engine.cuda.kernels import DecodeKernel, LetterboxKernel
from fairmot.engine.decode import HeadOutputs, cell_transform
from fairmot.engine.letterbox import Letterbox

PEOPLE = 200
_SOURCE = (1920, 1080)
_HEAD_START = 200_000  # clock cycles


def time_kernels(model: ModelInfo, batch: int, pixel_format: PixelFormat, runs: int) -> tuple[float, float, float]:
    """Return the median GPU milliseconds of letterbox, of decoding, and of both in one CUDA graph.

    Args:
        model: whose input and heads they work on.
        batch: number of frames.
        pixel_format: of the frames, 1920x1080, noise.
        runs: how many the medians are of.
    """
    gpu = Gpu.open()
    geometry = Letterbox.fit(_SOURCE, model.size)
    letterbox = LetterboxKernel(
        gpu, model.size, model.mean, model.std, model.channel_order, model.border, "hwc4_float16"
    )
    values = _SOURCE[0] * _SOURCE[1] * 3 // (1 if pixel_format == "bgr24" else 2)
    frames = [torch.randint(0, 256, (values,), dtype=torch.uint8, device=gpu.device) for _ in range(batch)]
    images = gpu.zeros(letterbox.input_shape(batch), torch.float16)
    columns, rows = (side // model.stride for side in model.size)
    decode = DecodeKernel(
        gpu,
        batch=batch,
        classes=len(model.class_names),
        rows=rows,
        columns=columns,
        embedding_size=model.embedding_size,
        max_detections=500,
        score_threshold=0.4,
    )
    heads = _heads(model, batch, rows, columns)
    scale, shift = cell_transform(geometry, model.stride, "exact")
    transforms = torch.tensor([[*scale, *shift]] * batch, dtype=torch.float64, device=gpu.device)

    def run_letterbox() -> None:
        for image, each in enumerate(frames):
            letterbox.launch(each, pixel_format, "ITU709", False, geometry, images, image)

    def run_decode() -> None:
        decode.launch(heads, transforms)

    def run_both() -> None:
        run_letterbox()
        run_decode()

    torch.cuda.synchronize()
    times = [_time(gpu, run, runs) for run in (run_letterbox, run_decode, run_both)]
    assert decode.detections.counts.tolist() == [PEOPLE] * batch
    return times[0], times[1], times[2]


def _heads(model: ModelInfo, batch: int, rows: int, columns: int) -> HeadOutputs[torch.Tensor]:
    """Return heads with `PEOPLE` peaks at random cells of each image."""
    random = np.random.default_rng(1)
    heatmap = np.zeros((batch, len(model.class_names), rows, columns), np.float32)
    for image in heatmap:
        image.reshape(-1)[random.choice(image.size, PEOPLE, replace=False)] = random.uniform(0.5, 1, PEOPLE)
    others = [
        torch.rand(batch, channels, rows, columns, device="cuda")
        for channels in (4, 2, model.embedding_size)
        if channels
    ]
    return HeadOutputs(torch.from_numpy(heatmap).cuda(), *others)


def _time(gpu: Gpu, run: Callable[[], None], runs: int) -> float:
    """Capture a graph, replay it and return the median milliseconds between events around it."""
    run()
    gpu.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=gpu.stream, capture_error_mode="thread_local"):
        run()
    times = []
    with torch.cuda.stream(gpu.stream):
        for number in range(10 + runs):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda._sleep(_HEAD_START)
            start.record(gpu.stream)
            graph.replay()
            end.record(gpu.stream)
            end.synchronize()
            if number >= 10:
                times.append(start.elapsed_time(end))
    return median(times)
