"""Batches drawn from a `Store` and augmented on its device: geometry and mosaic here, the rest in `photometric`."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from fairmot.export.networks.deform_conv import triton_builds
from fairmot.training.augment_settings import AugmentSettings
from fairmot.training.photometric import photometric, uniform
from fairmot.training.samples import Kind
from fairmot.training.store import Store

with suppress(ImportError):  # then `triton_builds` is false everywhere
    from fairmot.training.sampling_triton import sample_triton

_TILES = 4
_CHUNK = 16  # images sampled at once, for memory
_BORDER = 128 / 255  # the letterbox's gray


@dataclass(eq=False)
class Batch:
    """Augmented images and their boxes.

    Attributes:
        images: `(n, 3, h, w)` float32, RGB in [0, 1].
        tlbr: `(n, k, 4)` float32 in input pixels, not clipped.
        kinds: `(n, k)` of `Kind`.
        classes: `(n, k)` int64, the heatmap's channel; -1 for ignore regions of all classes.
        identities: `(n, k)` class or -1.
        class_range: `(n, k, 2)` classes of the identity's space.
    """

    images: Tensor
    tlbr: Tensor
    kinds: Tensor
    classes: Tensor
    identities: Tensor
    class_range: Tensor


def _inverse(matrices: Tensor) -> Tensor:
    """Invert affine maps `(..., 2, 3)`; `torch.linalg.inv` would synchronize the host with the GPU."""
    (a, b, c), (d, e, f) = (row.unbind(-1) for row in matrices.unbind(-2))
    rows = torch.stack((e, -b, b * f - c * e, -d, a, c * d - a * f), -1) / (a * e - b * d)[..., None]
    return rows.reshape(matrices.shape)


class Augmenter:
    """Draws batches; equal seeds and steps yield equal batches on one device."""

    def __init__(self, store: Store, size: tuple[int, int], settings: AugmentSettings, seed: int) -> None:
        self.store = store
        self.size = size
        self.settings = settings
        self.seed = seed
        self.generator = torch.Generator(store.pixels.device)
        # On a GPU cumulative sums of many floats differ from run to run, and torch.multinomial computes one.
        self._limits = store.weights.cpu().double().cumsum(0).to(store.weights.device)

    def batch(self, count: int, step: int) -> Batch:
        """Return the augmented batch of a training step."""
        self.generator.manual_seed(self.seed + 1_000_003 * step)
        device = self.store.pixels.device
        lots = torch.rand(count, _TILES, generator=self.generator, device=device, dtype=torch.float64)
        sources = torch.searchsorted(self._limits, lots * self._limits[-1], right=True).clamp(max=len(self._limits) - 1)
        corners = self._tiles(count, device)
        forward = self._affine(sources, corners)
        images = photometric(self._sample(sources, corners, forward), self.settings.photometric, self.generator)
        return self._boxes(images, sources, corners, forward)

    def whole_batch(self, indices: Tensor) -> Batch:
        """Return unaugmented images, scaled to fit and centered as the letterbox does."""
        width, height = self.size
        sizes = self.store.sizes[indices]
        scale = torch.minimum(width / sizes[:, 0], height / sizes[:, 1])
        forward = torch.zeros(len(indices), _TILES, 2, 3, device=sizes.device)
        forward[..., 0, 0] = forward[..., 1, 1] = scale[:, None]
        forward[:, :, :, 2] = ((torch.tensor(self.size, device=sizes.device) - sizes * scale[:, None]) / 2)[:, None]
        corners = torch.zeros(len(indices), _TILES, 4, device=sizes.device)
        corners[:, 0, 2:] = torch.tensor([width, height], device=sizes.device)
        sources = indices[:, None].expand(-1, _TILES)
        return self._boxes(self._sample(sources, corners, forward), sources, corners, forward)

    def _uniform(self, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0) -> Tensor:
        return uniform(shape, low, high, self.generator)

    def _tiles(self, count: int, device: torch.device) -> Tensor:
        """Return tile rectangles `(n, 4, 4)`: four quadrants, or one tile and three empty ones."""
        width, height = self.size
        mosaic = self._uniform((count,)) < self.settings.mosaic
        x = torch.where(mosaic, self._uniform((count,), 0.3, 0.7) * width, torch.full((count,), width, device=device))
        y = torch.where(mosaic, self._uniform((count,), 0.3, 0.7) * height, torch.full((count,), height, device=device))
        zero, right, bottom = torch.zeros_like(x), torch.full_like(x, width), torch.full_like(y, height)
        tiles = [(zero, zero, x, y), (x, zero, right, y), (zero, y, x, bottom), (x, y, right, bottom)]
        return torch.stack([torch.stack(tile, -1) for tile in tiles], 1)

    def _affine(self, sources: Tensor, corners: Tensor) -> Tensor:
        """Return matrices `(n, t, 2, 3)` from image to input pixels.

        A person of the image is chosen, scaled to a random height and put anywhere in the tile; then
        the image is moved so that as little gray as possible is visible.
        """
        settings, store = self.settings, self.store
        shape = (sources.shape[0], sources.shape[1])
        size, tile = store.sizes[sources], corners[..., 2:] - corners[..., :2]
        fit = (tile / size).clamp(min=1e-3).amin(-1)
        candidates = (store.kinds[sources] != Kind.NONE) & (store.kinds[sources] != Kind.IGNORE)
        lottery = self._uniform(tuple(candidates.shape)) * candidates
        chosen = lottery.argmax(-1)
        box = store.tlbr[sources].gather(2, chosen[..., None, None].expand(*shape, 1, 4)).squeeze(2)
        low, high = settings.height_range
        target = low * (high / low) ** self._uniform(shape)
        scale = (target / (box[..., 3] - box[..., 1]).clamp(min=1)).clamp(*settings.scale_range)
        scale = scale.maximum(settings.cover * fit)
        has_person = candidates.any(-1)
        whole = (self._uniform(shape) < settings.whole) | ~has_person
        jitter = torch.exp(self._uniform(shape, -0.35, 0.5))
        scale = torch.where(whole, fit * torch.where(has_person, torch.ones_like(jitter), jitter), scale)
        stretch = torch.exp(self._uniform(shape, -settings.stretch, settings.stretch) / 2)
        angle = self._uniform(shape, -settings.rotation, settings.rotation) * (self._uniform(shape) < 0.5)
        flip = torch.where(self._uniform(shape) < 0.5, -1.0, 1.0)
        cos, sin = angle.cos(), angle.sin()
        linear = torch.stack(
            (
                torch.stack((scale * stretch * cos * flip, -scale / stretch * sin), -1),
                torch.stack((scale * stretch * sin * flip, scale / stretch * cos), -1),
            ),
            -2,
        )
        person = (box[..., :2] + box[..., 2:]) / 2
        anchor = torch.where(whole[..., None], size / 2, person)
        spot = corners[..., :2] + tile * self._uniform((*shape, 2), 0.05, 0.95)
        spot = torch.where(whole[..., None], corners[..., :2] + tile / 2, spot)
        # Extent of the image around the anchor, ignoring the small rotation.
        reach = torch.stack((scale * stretch, scale / stretch), -1) * size
        start = anchor * reach / size
        start_x = torch.where(flip < 0, reach[..., 0] - start[..., 0], start[..., 0])
        start = torch.stack((start_x, start[..., 1]), -1)
        first = spot - start  # where the image begins
        least, most = corners[..., 2:] - reach, corners[..., :2]
        covers = reach >= tile
        low_bound, high_bound = torch.where(covers, least, most), torch.where(covers, most, least)
        spot = spot + (first.clamp(min=low_bound, max=high_bound) - first)
        offset = spot - (linear @ anchor[..., None]).squeeze(-1)
        return torch.cat((linear, offset[..., None]), -1)

    def _sample(self, sources: Tensor, corners: Tensor, forward: Tensor) -> Tensor:
        """Return images `(n, 3, h, w)` in [0, 1]: bilinear, at twice the resolution, then averaged."""
        inverse = _inverse(forward)
        pixels = self.store.pixels
        if triton_builds(pixels.device):
            return sample_triton(pixels, self.store.sizes, sources, corners, inverse, self.size, _BORDER)
        width, height = self.size
        device = pixels.device
        x = (torch.arange(2 * width, device=device) + 0.5) / 2
        y = ((torch.arange(2 * height, device=device) + 0.5) / 2)[:, None]
        images = []
        for chunk in torch.split(torch.arange(len(sources), device=device), _CHUNK):
            corner = corners[chunk]
            tile = (x >= corner[:, 0, 2, None, None]).long() + 2 * (y >= corner[:, 0, 3, None, None]).long()
            row = torch.arange(len(chunk), device=device)[:, None, None]
            matrix = inverse[chunk].flatten(2)[row, tile]
            u = matrix[..., 0] * x + matrix[..., 1] * y + matrix[..., 2]
            v = matrix[..., 3] * x + matrix[..., 4] * y + matrix[..., 5]
            sampled = self._bilinear(sources[chunk][row, tile], u, v)
            images.append(F.avg_pool2d(sampled, 2))
        return torch.cat(images)

    def _bilinear(self, image: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """Sample `pixels[image]` at `(u, v)` (pixel centers at halves); gray outside."""
        side = self.store.pixels.shape[1]
        size = self.store.sizes[image]
        inside = (u >= 0) & (v >= 0) & (u < size[..., 0]) & (v < size[..., 1])
        u, v = u - 0.5, v - 0.5
        left, top = u.floor(), v.floor()
        du, dv = u - left, v - top
        flat = self.store.pixels.view(-1)
        result = torch.zeros(len(u), 3, *u.shape[1:], device=u.device)
        limit = (size - 1).long()
        for step_y, weight_y in ((0, 1 - dv), (1, dv)):
            row = torch.minimum((top.long() + step_y).clamp(min=0), limit[..., 1])
            for step_x, weight_x in ((0, 1 - du), (1, du)):
                column = torch.minimum((left.long() + step_x).clamp(min=0), limit[..., 0])
                value = flat[(image * side + row) * side + column]
                weight = weight_x * weight_y / 255
                for channel, bits in enumerate((16, 8, 0)):  # R, G, B
                    result[:, channel] += weight * ((value >> bits) & 255)
        return torch.where(inside[:, None], result, result.new_tensor(_BORDER))

    def _boxes(self, images: Tensor, sources: Tensor, corners: Tensor, forward: Tensor) -> Batch:
        settings, store = self.settings, self.store
        tlbr, kinds = store.tlbr[sources], store.kinds[sources]
        center = (tlbr[..., :2] + tlbr[..., 2:]) / 2
        half = (tlbr[..., 2:] - tlbr[..., :2]) / 2
        linear = forward[..., :2]
        moved = center @ linear.transpose(-1, -2) + forward[..., 2][:, :, None]
        # Upright people stay upright under the small rotation: widths and heights only scale.
        half = half * linear.norm(dim=-2)[:, :, None]
        tlbr = torch.cat((moved - half, moved + half), -1)
        low, high = corners[:, :, None, :2], corners[:, :, None, 2:]
        clipped = torch.cat((tlbr[..., :2].maximum(low), tlbr[..., 2:].minimum(high)), -1)
        seen = (clipped[..., 2:] - clipped[..., :2]).clamp(min=0).prod(-1)
        share = seen / (4 * half.prod(-1)).clamp(min=1e-6)
        centered = ((moved >= low) & (moved < high)).all(-1)
        person = (kinds == Kind.PERSON) | (kinds == Kind.IDENTITY)
        fits = centered & (share >= settings.visible) & (2 * half[..., 1] >= settings.minimum_height)
        demoted = person & ~fits
        kinds = torch.where(demoted, Kind.IGNORE, kinds)
        kinds = torch.where((seen <= 0) | (demoted & (share < 0.05)), Kind.NONE, kinds)
        tlbr = torch.where((kinds == Kind.IGNORE)[..., None], clipped, tlbr)
        class_range = store.spaces[store.space_of[sources]][:, :, None].expand(*kinds.shape, 2)
        rank = torch.tensor([3, 0, 1, 2], device=kinds.device)[kinds].flatten(1)  # people first, padding last
        order = rank.argsort(dim=1, stable=True)[:, : settings.boxes]

        def pick(values: Tensor) -> Tensor:
            values = values.flatten(1, 2)
            return values.gather(
                1, order.reshape(*order.shape, *[1] * (values.ndim - 2)).expand(-1, -1, *values.shape[2:])
            )

        classes, identities = pick(store.classes[sources]), pick(store.identities[sources])
        return Batch(images, pick(tlbr), pick(kinds), classes, identities, pick(class_range))
