"""Images in half precision without rounding: levels of 256ths, which float16 holds exactly.

A level divided by 255 is not a float16. Rounded it is off by up to 0.06 levels, each level always by the same, so the
colors of a whole image change a little. In frame 41 of PETS-S3-MF1, where two cells of a person score 0.4874 and
0.4871, that alone made the other cell the peak; its box ends 16 px lower, and three identities changed.

The same holds after mean and std (up to 0.07 levels with CenterNet's), so these move into the layers that read the
images too. What remains in the images is a whole number of eighths of a level below the mean, because the layers pad
with 0, which stands for the mean color: (level - black) / 256 with both in eighths has 11 bits, as many as a float16.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from fairmot.engine.graph.graph import Constant, Graph

IMAGE_SCALE = 255 / 256
"""Factor of half-precision images: levels / 255 become levels / 256."""

_STEPS = 8 * 255  # eighths of a level


@dataclass(frozen=True)
class HalfImages:
    """Values of half-precision images: `(level / 255 - black) * IMAGE_SCALE`, each a float16.

    Attributes:
        mean: of the model, per channel in its order, subtracted from level / 255.
        std: of the model, the divisor of the difference.
    """

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @property
    def black(self) -> npt.NDArray[np.float64]:
        """The color `(3,)`, 0 to 1, that becomes 0: the mean, rounded to eighths of a level."""
        return np.asarray(np.rint(np.clip(self.mean, 0, 1) * _STEPS) / _STEPS, np.float64)

    @property
    def scale(self) -> npt.NDArray[np.float64]:
        """Factors `(3,)`: value = normalized * scale + shift."""
        return np.array(self.std) * IMAGE_SCALE

    @property
    def shift(self) -> npt.NDArray[np.float64]:
        """Terms `(3,)`, see `scale`: what the rounding of the mean left, times `IMAGE_SCALE`."""
        return (np.array(self.mean) - self.black) * IMAGE_SCALE

    @property
    def is_centered(self) -> bool:
        """Whether 0 is the mean within the rounding, and so may pad the images of a convolution."""
        return bool(np.all(np.abs(self.shift) <= 1 / _STEPS))


def expect_half_images(graph: Graph, images: HalfImages) -> None:
    """Let a graph take the values of half-precision images; what it computes stays the same.

    The layers that read the images get other weights and biases, which adds no operation. Where one of them is no
    convolution whose weights can be changed, the images are normalized again instead, with the rounding that this
    costs.
    """
    (name,) = (value.name for value in graph.inputs)
    readers = graph.consumers().get(name, [])
    if images.is_centered and all(_can_scale(graph, node, name, images) for node in readers):
        for node in readers:
            _scale(graph, node, images)
    else:
        restored = f"{name}/restored"
        graph.rename(name, restored)
        scaled = f"{name}/scaled" if images.shift.any() else restored
        factor = graph.constant(f"{name}/factor", _for_pixels(1 / images.scale), np.float32)
        nodes = [helper.make_node("Mul", [name, factor], [scaled])]
        if images.shift.any():
            term = graph.constant(f"{name}/term", _for_pixels(-images.shift / images.scale), np.float32)
            nodes.append(helper.make_node("Add", [scaled, term], [restored]))
        graph.nodes[:0] = nodes
    graph.prune()


def _for_pixels(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return values per channel as they are broadcast over images."""
    return values[0] if np.all(values == values[0]) else values.reshape(1, 3, 1, 1)


def _can_scale(graph: Graph, node: onnx.NodeProto, name: str, images: HalfImages) -> bool:
    if node.op_type != "Conv" or node.input[0] != name or node.input[1] not in graph.constants:
        return False
    if len(node.input) > 2 and node.input[2] and node.input[2] not in graph.constants:
        return False
    largest = np.abs(graph.constants[node.input[1]]).max(initial=0) / images.scale.min()
    return float(largest) <= float(np.finfo(np.float16).max)


def _scale(graph: Graph, node: onnx.NodeProto, images: HalfImages) -> None:
    """Give a convolution the weights, and the bias where needed, with which it takes `images`."""
    exact = graph.constants[node.input[1]].astype(np.float64)
    # The channel of the images that each kernel `(o, c)` reads.
    groups = 3 // exact.shape[1]
    first = np.arange(len(exact)) * groups // len(exact) * exact.shape[1]
    channels = first[:, None] + np.arange(exact.shape[1])
    scaled = exact / images.scale[channels][..., None, None]
    base = node.input[1].removesuffix(".weight").removesuffix(".half")
    node.input[1] = graph.constant(f"{base}.scaled.weight", round_keeping_sums(scaled), np.float32)
    if images.shift.any():
        bias = -(scaled.sum((2, 3)) * images.shift[channels]).sum(1)
        if len(node.input) > 2 and node.input[2]:
            bias += graph.constants[node.input[2]]
        node.input[:] = [*node.input[:2], graph.constant(f"{base}.scaled.bias", bias, np.float32)]


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
