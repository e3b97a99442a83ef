"""The base class of all networks: features at stride 4 and the output heads."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

STRIDE = 4
_HEATMAP_PRIOR = -2.19  # logit of 0.1: Lin et al., "Focal Loss", section 4.1; CenterNet's `hm` bias


@dataclass(frozen=True)
class HeadSizes:
    """Channels of the output heads; the defaults are FairMOT's.

    Attributes:
        classes: channels of the heatmap `hm`.
        box: channels of `wh`: 4 for left, top, right, bottom (FairMOT's `ltrb`) or 2 for width, height (CenterNet);
            as many for each class with `class_boxes`.
        embedding: channels of `id`; 0 leaves the head out.
        hidden: channels between the two convolutions of every head; 0 means that every head is one 1x1 convolution
            (CenterNet's `head_conv` 0).
        box_hidden: the same for `wh` and `reg`; 0 means as in `hidden`.
        offset: whether there is a head `reg`.
        class_boxes: every class has a box of its own (CenterNet's `cat_spec_wh`).

    Raises:
        ValueError: if `box` is none of these.
    """

    classes: int = 1
    box: int = 4
    embedding: int = 128
    hidden: int = 256
    box_hidden: int = 0
    offset: bool = True
    class_boxes: bool = False

    def __post_init__(self) -> None:
        if self.box not in (2 * self.boxes, 4 * self.boxes):
            raise ValueError(f"{self.boxes} boxes cannot have {self.box} channels, only 2 or 4 each")

    @property
    def boxes(self) -> int:
        """Boxes of a cell."""
        return self.classes if self.class_boxes else 1

    @property
    def box_is_size(self) -> bool:
        """Whether boxes are given by width and height around the center."""
        return self.box == 2 * self.boxes


def _head(in_channels: int, hidden_channels: int, out_channels: int) -> nn.Sequential | nn.Conv2d:
    """Return 3x3 convolution, ReLU, 1x1 convolution (FairMOT, section 3.2), or the last alone if nothing is hidden."""
    if not hidden_channels:
        return _output_layer(nn.Conv2d(in_channels, out_channels, 1))
    hidden = nn.Conv2d(in_channels, hidden_channels, 3, padding=1)
    output = nn.Conv2d(hidden_channels, out_channels, 1)
    nn.init.normal_(hidden.weight, std=math.sqrt(2 / (9 * in_channels)))
    nn.init.zeros_(hidden.bias)  # type: ignore[arg-type]
    return nn.Sequential(hidden, nn.ReLU(inplace=True), _output_layer(output))


def _output_layer(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.normal_(layer.weight, std=0.001)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


class Network(nn.Module, ABC):
    """A feature extractor at stride 4 with the heads `hm` and `wh`, and `id` and `reg` if it has them.

    The state-dict keys are those of the official checkpoints.
    """

    def __init__(self, head_sizes: HeadSizes) -> None:
        super().__init__()
        self.head_sizes = head_sizes

    def _add_heads(self, channels: int) -> None:
        sizes = self.head_sizes
        self.hm = _head(channels, sizes.hidden, sizes.classes)
        nn.init.constant_(self.output_layer("hm").bias, _HEATMAP_PRIOR)  # type: ignore[arg-type]
        self.wh = _head(channels, sizes.box_hidden or sizes.hidden, sizes.box)
        if sizes.embedding:
            self.id = _head(channels, sizes.hidden, sizes.embedding)
        if sizes.offset:
            self.reg = _head(channels, sizes.box_hidden or sizes.hidden, 2)

    def output_layer(self, head: str) -> nn.Conv2d:
        """Return the 1x1 convolution that ends a head."""
        layers = self.get_submodule(head)
        layer = layers[-1] if isinstance(layers, nn.Sequential) else layers
        assert isinstance(layer, nn.Conv2d)
        return layer

    @torch.no_grad()
    def shift_scores(self, shift: float) -> None:
        """Add a number to the logits of the heatmap."""
        bias = self.output_layer("hm").bias
        assert bias is not None
        bias.add_(shift)

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """Map images `(n, 3, h, w)` to features `(n, c, h / 4, w / 4)`."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Map images `(n, 3, h, w)` to raw head outputs by name, each `(n, c, h / 4, w / 4)`."""
        features = self.features(images)
        outputs = {"hm": self.hm(features), "wh": self.wh(features)}
        if self.head_sizes.offset:
            outputs["reg"] = self.reg(features)
        if self.head_sizes.embedding:
            outputs["id"] = self.id(features)
        return outputs
