"""One decode, step by step: in NumPy, in plain Python as the kernels count, by the kernels on the CPU and on a GPU.

`python -m benchmarks.decode_walkthrough` in a checkout; docs/guides/from-python-to-cuda.md explains what it prints.
The kernels are compiled by g++ for the CPU, with the harness of the tests, and run on a GPU where there is one.
"""

from __future__ import annotations

import struct
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fairmot.engine.cuda.gpu import gpu_unavailable_reason
from fairmot.engine.cuda.kernels import decode as kernels
from fairmot.engine.decode import HeadOutputs, cell_transform, decode, map_boxes, peaks
from fairmot.engine.letterbox import Letterbox

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "engine" / "cuda"))
from cuda_on_cpu import COMPILER, CudaOnCpu  # the harness of the tests is no package

SOURCE = Path(kernels.__file__).with_suffix(".cu")
CLASSES, ROWS, COLUMNS, STRIDE = 2, 4, 6, 4
THRESHOLD, LIMIT = 0.4, 5
GEOMETRY = Letterbox.fit((240, 160), (COLUMNS * STRIDE, ROWS * STRIDE))


@dataclass(frozen=True)
class Steps:
    """What one way of decoding finds, best first.

    Attributes:
        keys: of the ranked candidates, where there are any: score, cell and class in 64 bits.
        scores: `(n,)` float32.
        cells: `(n,)`, row times `COLUMNS` plus column; empty where they are not shown.
        class_ids: `(n,)`.
        tlbr: `(n, 4)` float32 in pixels of the frame.
    """

    keys: list[int]
    scores: np.ndarray
    cells: list[int]
    class_ids: list[int]
    tlbr: np.ndarray


def example_heads() -> HeadOutputs[np.ndarray]:
    """Return raw heads of one image with three objects; two have equal scores, one has a neighbor almost as high."""
    logits = np.full((1, CLASSES, ROWS, COLUMNS), -5, np.float32)
    logits[0, 0, 1, 1], logits[0, 0, 1, 2] = 2.0, 1.9  # an object and its slope
    logits[0, 1, 1, 1] = 1.0  # one of the other class in the same cell
    logits[0, 1, 3, 4] = 1.0  # its equal in a later cell
    random = np.random.default_rng(1)
    box = random.uniform(0.5, 2, (1, 4 * CLASSES, ROWS, COLUMNS)).astype(np.float32)
    return HeadOutputs(logits, box, random.random((1, 2, ROWS, COLUMNS)).astype(np.float32))


def in_numpy(heads: HeadOutputs[np.ndarray]) -> Steps:
    """Decode by `fairmot.engine.decode`, the reference."""
    (found,) = decode(heads, THRESHOLD, LIMIT, raw_heads=True)
    scores = peaks(1 / (1 + np.exp(-heads.heatmap[0])))
    class_ids, rows, columns = np.nonzero(scores > np.float32(THRESHOLD))
    order = np.lexsort((class_ids, columns, rows, -scores[class_ids, rows, columns]))[:LIMIT]
    cells = (rows * COLUMNS + columns)[order].tolist()
    return Steps([], found.scores, cells, found.class_ids.tolist(), map_boxes(found.tlbr, GEOMETRY, STRIDE))


def key_of(score: np.float32, cell: int, class_id: int) -> int:
    """Return the 64 bits by which candidates are ordered: rising keys are falling scores, then rising cells."""
    (bits,) = struct.unpack("<I", struct.pack("<f", score))  # a float above 0 is ordered as its bits are
    return (~bits & 0xFFFFFFFF) << 32 | (cell * CLASSES + class_id)


def in_plain_python(heads: HeadOutputs[np.ndarray]) -> Steps:
    """Decode with the arithmetic of the kernels, one loop for what their threads do at once."""
    one = np.float32(1)
    scores = one / (one + np.exp(-heads.heatmap[0]))
    keys = []
    for index in range(CLASSES * ROWS * COLUMNS):  # decode_collect: a thread for each
        class_id, cell = divmod(index, ROWS * COLUMNS)
        row, column = divmod(cell, COLUMNS)
        score = scores[class_id, row, column]
        around = scores[class_id, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        if score > np.float32(THRESHOLD) and not (around > score).any():
            keys.append(key_of(score, cell, class_id))
    keys = sorted(keys)[:LIMIT]  # decode_rank

    (scale_x, scale_y), (shift_x, shift_y) = cell_transform(GEOMETRY, STRIDE, "exact")
    boxes, found, cells, class_ids = [], [], [], []
    for key in keys:  # decode_gather: a warp for each, a lane for each side
        cell, class_id = divmod(key & 0xFFFFFFFF, CLASSES)
        row, column = divmod(cell, COLUMNS)
        sides = []
        for lane in range(4):
            axis = lane % 2
            center = np.float32((column, row)[axis]) + heads.offset[0, axis, row, column]
            distance = heads.box[0, class_id * 4 + lane, row, column]
            edge = float(center - distance if lane < 2 else center + distance)
            sides.append(np.float32(edge * (scale_x, scale_y)[axis] + (shift_x, shift_y)[axis]))
        boxes.append(sides)
        found.append(struct.unpack("<f", struct.pack("<I", ~(key >> 32) & 0xFFFFFFFF))[0])
        cells.append(cell)
        class_ids.append(class_id)
    return Steps(keys, np.float32(found), cells, class_ids, np.array(boxes, np.float32))


def by_kernels_on_the_cpu(heads: HeadOutputs[np.ndarray], folder: Path) -> Steps:
    """Decode by the three kernels of decode.cu, compiled by g++ into `folder`."""
    cpu = CudaOnCpu(folder)
    capacity = 4096
    candidates, ranked = np.zeros(capacity, np.uint64), np.zeros(LIMIT, np.uint64)
    counts, kept = np.zeros(1, np.uint32), np.zeros(1, np.int32)
    tlbr, scores, class_ids = np.zeros((LIMIT, 4), np.float32), np.zeros(LIMIT, np.float32), np.zeros(LIMIT, np.int32)
    transforms = np.concatenate(cell_transform(GEOMETRY, STRIDE, "exact"))
    heatmap = (CLASSES, ROWS, COLUMNS, float(np.float32(THRESHOLD)), 1)

    def at(array: np.ndarray) -> int:
        return int(array.ctypes.data)

    logits, box, offset = (np.ascontiguousarray(head) for _, head in heads.named())
    first = (at(logits), at(candidates), at(counts))
    cpu.kernel(SOURCE, "decode_collect", "PPP3ifii")((1, 1), (256, 1, 1), *first, *heatmap, capacity)
    cpu.kernel(SOURCE, "decode_rank", "PPPPP3ifiii")(
        (1, 1), (1024, 1, 1), *first, at(ranked), at(kept), *heatmap, capacity, LIMIT
    )
    cpu.kernel(SOURCE, "decode_gather", "PP5P5P9i")(
        (1, 1), (256, 1, 1), at(ranked), at(kept), at(box), at(offset), 0, 0, at(transforms),
        at(tlbr), at(scores), at(class_ids), 0, 0, CLASSES, ROWS, COLUMNS, CLASSES, 0, 0, 1, LIMIT, LIMIT,
    )  # fmt: skip
    keys = ranked[: kept[0]].tolist()
    cells = [(key & 0xFFFFFFFF) // CLASSES for key in keys]
    return Steps(keys, scores[: kept[0]], cells, class_ids[: kept[0]].tolist(), tlbr[: kept[0]])


def on_the_gpu(heads: HeadOutputs[np.ndarray]) -> Steps:
    """Decode by `DecodeKernel`, as the engine does."""
    from fairmot.engine.cuda.gpu import Gpu

    gpu = Gpu.open()
    kernel = kernels.DecodeKernel(
        gpu,
        batch=1,
        classes=CLASSES,
        rows=ROWS,
        columns=COLUMNS,
        embedding_size=0,
        max_detections=LIMIT,
        score_threshold=THRESHOLD,
        raw_heads=True,
        class_boxes=True,
    )
    transforms = np.concatenate(cell_transform(GEOMETRY, STRIDE, "exact"))[None]
    kernel.launch(HeadOutputs(**{name: gpu.upload(head) for name, head in heads.named()}), gpu.upload(transforms))
    gpu.synchronize()
    (found,) = kernel.unpack(kernel.packed.cpu().numpy(), 1)
    return Steps([], found.scores, [], found.class_ids.tolist(), found.tlbr)


def main() -> int:
    """Print what each way finds."""
    heads = example_heads()
    print("scores of class 0, then with the peaks alone:")
    scores = np.float32(1) / (np.float32(1) + np.exp(-heads.heatmap[0]))
    with np.printoptions(precision=3, suppress=True, floatmode="fixed"):
        print(scores[0], peaks(scores)[0], sep="\n")
    _print("NumPy (engine/decode.py)", in_numpy(heads))
    _print("plain Python, as the kernels count", in_plain_python(heads))
    if COMPILER is None:
        print("\nThe kernels on the CPU need g++, which is not installed.")
    else:
        with tempfile.TemporaryDirectory() as folder:
            _print("decode.cu on the CPU", by_kernels_on_the_cpu(heads, Path(folder)))
    reason = gpu_unavailable_reason()
    if reason is None:
        _print("decode.cu on the GPU", on_the_gpu(heads))
    else:
        print(f"\nNot on a GPU: {reason}")
    return 0


def _print(title: str, steps: Steps) -> None:
    print(f"\n{title}:")
    for number, (score, class_id, box) in enumerate(zip(steps.scores, steps.class_ids, steps.tlbr, strict=True)):
        cell = f"cell {steps.cells[number]:2}, " if steps.cells else ""
        key = f"key {steps.keys[number]:016x}, " if steps.keys else ""
        sides = " ".join(f"{side:.3f}" for side in box.tolist())
        print(f"  {number + 1}. {key}{cell}class {class_id}, score {score:.6f}, box {sides}")


if __name__ == "__main__":
    raise SystemExit(main())
