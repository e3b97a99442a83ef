"""The base class of all networks: features at stride 4 and the output heads."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

STRIDE = 4
_HEATMAP_PRIOR = -2.19  # logit of 0.1: Lin et al., "Focal Loss", section 4.1; CenterNet's `hm` bias


@dataclass(frozen=True)
class HeadSizes:
    """Channels of the output heads; the defaults are FairMOT's.

    Attributes:
        classes: channels of the heatmap `hm`.
        box: channels of `wh`: 4 for left, top, right, bottom.
        embedding: channels of `id`; 0 leaves the head out.
        hidden: channels between the two convolutions of every head.
        box_hidden: the same for `wh` and `reg`; 0 means as in `hidden`.
    """

    classes: int = 1
    box: int = 4
    embedding: int = 128
    hidden: int = 256
    box_hidden: int = 0


def _head(in_channels: int, hidden_channels: int, out_channels: int) -> nn.Sequential:
    """Return 3x3 convolution, ReLU, 1x1 convolution (FairMOT, section 3.2)."""
    hidden = nn.Conv2d(in_channels, hidden_channels, 3, padding=1)
    output = nn.Conv2d(hidden_channels, out_channels, 1)
    nn.init.normal_(hidden.weight, std=math.sqrt(2 / (9 * in_channels)))
    nn.init.normal_(output.weight, std=0.001)
    nn.init.zeros_(hidden.bias)  # type: ignore[arg-type]
    nn.init.zeros_(output.bias)  # type: ignore[arg-type]
    return nn.Sequential(hidden, nn.ReLU(inplace=True), output)


class Network(nn.Module, ABC):
    """A feature extractor at stride 4 with the heads `hm`, `wh`, `id` and `reg`.

    The state-dict keys are those of the official checkpoints.
    """

    def __init__(self, head_sizes: HeadSizes) -> None:
        super().__init__()
        self.head_sizes = head_sizes

    def _add_heads(self, channels: int) -> None:
        sizes = self.head_sizes
        self.hm = _head(channels, sizes.hidden, sizes.classes)
        nn.init.constant_(self.hm[2].bias, _HEATMAP_PRIOR)  # type: ignore[arg-type]
        self.wh = _head(channels, sizes.box_hidden or sizes.hidden, sizes.box)
        if sizes.embedding:
            self.id = _head(channels, sizes.hidden, sizes.embedding)
        self.reg = _head(channels, sizes.box_hidden or sizes.hidden, 2)

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """Map images `(n, 3, h, w)` to features `(n, c, h / 4, w / 4)`."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Map images `(n, 3, h, w)` to raw head outputs by name, each `(n, c, h / 4, w / 4)`."""
        features = self.features(images)
        outputs = {"hm": self.hm(features), "wh": self.wh(features), "reg": self.reg(features)}
        if self.head_sizes.embedding:
            outputs["id"] = self.id(features)
        return outputs
