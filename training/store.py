"""All training images, decoded once, as one tensor on the training device."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from fairmot.core.errors import ConfigError
from fairmot.training.samples import Kind, Sample, scene_of

log = logging.getLogger(__name__)

Identity = tuple[str, int]  # space and name within it


def identities_of(samples: Iterable[Sample]) -> set[Identity]:
    """Return every known identity of the images."""
    return {
        (sample.space, identity)
        for sample in samples
        for identity in sample.identities[sample.kinds != Kind.IGNORE].tolist()
        if identity >= 0
    }


def require_memory(needed: int, free: int) -> None:
    """Check that images of `needed` bytes fit into `free` bytes of a GPU.

    Raises:
        ConfigError: if they do not.
    """
    if needed > free:
        raise ConfigError(
            f"The images take {needed / 2**30:.1f} GiB but the GPU has {free / 2**30:.1f} GiB free: "
            "lower side (pixels of an image's longest side) or crowds."
        )


class Store:
    """Images, boxes and sampling weights as tensors.

    Attributes:
        pixels: `(n, side, side)` int32; a pixel's B, G and R in its three lower bytes, so that one
            gather reads all channels. Images lie in the upper left corner.
        sizes: `(n, 2)` float32, width and height.
        tlbr: `(n, m, 4)` float32 in pixels, padded to the largest number of boxes.
        kinds: `(n, m)` int64 of `Kind`, `NONE` in the padding.
        classes: `(n, m)` int64, the heatmap's channel; -1 for ignore regions of all classes.
        identities: `(n, m)` int64, class of the identity classifier, -1 where unknown.
        spaces: `(s, 2)` int64, first and last + 1 class of every identity space.
        space_of: `(n,)` int64, row of `spaces`.
        scene_of: `(n,)` int64, the same for images of one scene.
        weights: `(n,)` float32, probability of an image to be drawn.
    """

    def __init__(
        self,
        samples: Iterable[Sample],
        group_weights: dict[str, float],
        side: int,
        known: set[Identity] | None = None,
    ) -> None:
        """Pack the images.

        Args:
            samples: the images.
            group_weights: share of the drawn images by `Sample.group`; 0 for groups not named.
            side: longest side of the images in pixels.
            known: identities of all processes, so that their classes agree; None means those of `samples`.
        """
        samples = list(samples)
        known = identities_of(samples) if known is None else known
        count, boxes = len(samples), max(len(sample.kinds) for sample in samples)
        packed = np.zeros((count, side, side, 4), np.uint8)
        self.sizes = torch.zeros(count, 2)
        self.tlbr = torch.zeros(count, boxes, 4)
        self.kinds = torch.full((count, boxes), int(Kind.NONE))
        self.classes = torch.zeros(count, boxes, dtype=torch.long)
        self.identities = torch.full((count, boxes), -1)
        names, spaces = self._classes(known, {sample.space for sample in samples})
        self.spaces = torch.tensor([spaces[space] for space in sorted(spaces)])
        self.space_of = torch.tensor([sorted(spaces).index(sample.space) for sample in samples])
        for i, sample in enumerate(samples):
            height, width = sample.image.shape[:2]
            packed[i, :height, :width, :3] = sample.image
            self.sizes[i] = torch.tensor([width, height])
            m = len(sample.kinds)
            self.tlbr[i, :m] = torch.from_numpy(sample.tlbr)
            self.kinds[i, :m] = torch.from_numpy(sample.kinds)
            self.classes[i, :m] = torch.from_numpy(sample.classes)
            identities = [names.get((sample.space, identity), -1) for identity in sample.identities.tolist()]
            self.identities[i, :m] = torch.tensor(identities, dtype=torch.long)
        self.pixels = torch.from_numpy(packed).view(torch.int32).squeeze(-1)
        log.info("%d images of at most %d px take %.2f GiB", count, side, packed.nbytes / 2**30)
        scenes = [scene_of(sample.name) for sample in samples]
        number_of = {scene: number for number, scene in enumerate(sorted(set(scenes)))}
        self.scene_of = torch.tensor([number_of[scene] for scene in scenes])
        counts = Counter(sample.group for sample in samples)
        shares = [group_weights.get(sample.group, 0.0) / counts[sample.group] for sample in samples]
        self.weights = torch.tensor(shares)

    @staticmethod
    def _classes(known: set[Identity], own_spaces: set[str]) -> tuple[dict[Identity, int], dict[str, tuple[int, int]]]:
        """Number the identities, those of one space in a row."""
        names = {key: number for number, key in enumerate(sorted(known))}
        spaces = {}
        for space in own_spaces | {name for name, _ in known}:
            numbers = [number for (name, _), number in names.items() if name == space]
            spaces[space] = (min(numbers), max(numbers) + 1) if numbers else (0, 0)
        return names, spaces

    @property
    def identity_count(self) -> int:
        """Number of identity classes over all spaces."""
        return int(self.spaces.max())

    def __len__(self) -> int:
        return len(self.pixels)

    def to(self, device: torch.device) -> Store:
        """Move every tensor to `device`, in place.

        Raises:
            ConfigError: if the images do not fit into a GPU's memory.
        """
        if device.type == "cuda":
            require_memory(self.pixels.nbytes, torch.cuda.mem_get_info(device)[0])
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value.to(device))
        return self
