"""Images in half precision without rounding: levels of 256ths, which float16 holds exactly.

A level divided by 255 is not a float16. Rounded it is off by up to 0.06 levels, each level always by the same, so the
colors of a whole image change a little. In frame 41 of PETS-S3-MF1, where two cells of a person score 0.4874 and
0.4871, that alone made the other cell the peak; its box ends 16 px lower, and three identities changed.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from fairmot.engine.graph.graph import Constant, Graph

IMAGE_SCALE = 255 / 256
"""Factor of half-precision images: levels / 255 become levels / 256."""


def expect_scaled_images(graph: Graph) -> None:
    """Let a graph take images that were multiplied by `IMAGE_SCALE`; what it computes stays the same.

    The layers that read the images get larger weights, which adds no operation. Where one of them is no convolution
    whose weights can be changed, the images are multiplied back instead, with the rounding that this costs.
    """
    (images,) = (value.name for value in graph.inputs)
    readers = graph.consumers().get(images, [])
    if all(_can_scale(graph, node, images) for node in readers):
        for node in readers:
            weight = round_keeping_sums(graph.constants[node.input[1]].astype(np.float64) / IMAGE_SCALE)
            base = node.input[1].removesuffix(".weight").removesuffix(".half")
            node.input[1] = graph.constant(f"{base}.scaled.weight", weight, np.float32)
    else:
        restored = f"{images}/restored"
        graph.rename(images, restored)
        factor = graph.constant(f"{images}/factor", 1 / IMAGE_SCALE, np.float32)
        graph.nodes.insert(0, helper.make_node("Mul", [images, factor], [restored]))
    graph.prune()


def _can_scale(graph: Graph, node: onnx.NodeProto, images: str) -> bool:
    if node.op_type != "Conv" or node.input[0] != images or node.input[1] not in graph.constants:
        return False
    return float(np.abs(graph.constants[node.input[1]]).max(initial=0)) / IMAGE_SCALE <= float(np.finfo(np.float16).max)


def round_keeping_sums(weight: Constant) -> Constant:
    """Round a weight to values of float16 so that each kernel keeps its sum.

    The rounding error of one tap is added to the next, back and forth through the rows, and the last one to the
    smallest tap. The result for a uniform area then stays as it was, and images are uniform for the most part.

    Args:
        weight: `(o, c, kernel height, kernel width)`.

    Returns:
        float32 of the same shape.
    """
    exact = np.array(weight, np.float64)
    exact[..., 1::2, :] = exact[..., 1::2, ::-1].copy()
    kernels = exact.reshape(*weight.shape[:2], -1)
    rounded = np.zeros_like(kernels)
    left = np.zeros(weight.shape[:2])
    for tap in range(kernels.shape[2]):
        wanted = kernels[..., tap] + left
        rounded[..., tap] = wanted.astype(np.float16)
        left = wanted - rounded[..., tap]
    smallest = np.abs(rounded).argmin(axis=2)[..., None]
    last = np.take_along_axis(rounded, smallest, 2) + left[..., None]
    np.put_along_axis(rounded, smallest, last.astype(np.float16), 2)
    result = rounded.reshape(weight.shape)
    result[..., 1::2, :] = result[..., 1::2, ::-1].copy()
    return result.astype(np.float32)
