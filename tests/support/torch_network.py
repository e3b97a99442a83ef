"""The smallest network with heads that the exporter takes, for tests of what is behind its features."""

from __future__ import annotations

from torch import Tensor, nn

from fairmot.export.networks import HeadSizes, Network

CHANNELS = 8


class OneLayerNetwork(Network):
    """One convolution of stride 4 and the heads, whose answers are lively."""

    def __init__(self, heads: HeadSizes) -> None:
        super().__init__(heads)
        self.body = nn.Conv2d(3, CHANNELS, 7, 4, 3)
        self._add_heads(CHANNELS)
        for head, _ in self.named_children():
            if head != "body":
                nn.init.normal_(self.output_layer(head).weight)

    def features(self, images: Tensor) -> Tensor:
        """Map images `(n, 3, h, w)` to features `(n, 8, h / 4, w / 4)`."""
        features: Tensor = self.body(images).relu()
        return features
