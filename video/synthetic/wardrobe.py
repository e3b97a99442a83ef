"""The appearance of a rendered person: body, hair, clothes and bags, all drawn from one seed."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import Literal

import numpy as np

Color = tuple[float, float, float]  # blue, green, red, 0 to 255

_SKIN: tuple[Color, ...] = (
    (172, 198, 232),
    (150, 182, 222),
    (128, 164, 208),
    (104, 140, 188),
    (78, 112, 160),
    (58, 84, 124),
    (44, 62, 94),
)
_HAIR: tuple[Color, ...] = (
    (26, 24, 24),
    (30, 32, 40),
    (34, 46, 66),
    (46, 66, 96),
    (78, 118, 158),
    (112, 164, 202),
    (40, 58, 122),
    (150, 152, 156),
    (208, 210, 212),
)
_HAIR_WEIGHTS = (0.24, 0.18, 0.18, 0.12, 0.08, 0.06, 0.04, 0.06, 0.04)
_DENIM: tuple[Color, ...] = ((96, 62, 42), (124, 88, 62), (70, 46, 36), (158, 126, 100), (52, 44, 40))

Pattern = Literal["plain", "stripes", "blocks", "checks", "print"]


@dataclass(frozen=True)
class Appearance:
    """One person's looks; lengths in meters, colors in BGR.

    Attributes:
        height: body height.
        build: width of the body relative to its height, 1 is average.
        feminine: narrower shoulders and wider hips.
        hair: how the hair is worn.
        hat: what covers the head.
        sleeves: length of the sleeves of the top.
        outer: garment over the top; `jacket` ends at the hips, `coat` and `dress` reach the thighs or knees.
        hem: height of the lower edge of a skirt, coat or dress as a fraction of the body height.
        bottom: garment on the legs.
        bag: what is carried.
        bag_side: -1 left, 1 right.
        phone: one forearm is raised, as when reading a phone.
        texture: seed of the fine variation of brightness on the cloth.
    """

    height: float
    build: float
    feminine: bool
    skin: Color
    hair: Literal["bald", "short", "bob", "long", "bun"]
    hair_color: Color
    hat: Literal["none", "cap", "beanie", "brim", "hood"]
    hat_color: Color
    sleeves: Literal["short", "long"]
    outer: Literal["none", "jacket", "coat", "dress"]
    hem: float
    top_color: Color
    second_color: Color
    pattern: Pattern
    outer_color: Color
    bottom: Literal["trousers", "shorts", "skirt", "leggings"]
    bottom_color: Color
    shoe_color: Color
    sole_color: Color
    bag: Literal["none", "backpack", "shoulder", "handbag"]
    bag_color: Color
    bag_side: int
    phone: bool
    swing: float
    texture: int

    @classmethod
    def random(cls, seed: int) -> Appearance:
        """Return the person that belongs to `seed`."""
        rng = np.random.default_rng([seed, 0x5EED])
        feminine = bool(rng.random() < 0.5)
        child = rng.random() < 0.05
        height = rng.normal(1.66 if feminine else 1.78, 0.06)
        skirt = feminine and rng.random() < 0.25
        outer = str(rng.choice(["none", "jacket", "coat"], p=[0.55, 0.33, 0.12]))
        if feminine and rng.random() < 0.12:
            outer = "dress"
        bottom = "skirt" if skirt else str(rng.choice(["trousers", "shorts", "leggings"], p=[0.74, 0.14, 0.12]))
        if feminine:
            hair = str(rng.choice(["short", "bob", "long", "bun"], p=[0.14, 0.26, 0.42, 0.18]))
        else:
            hair = str(rng.choice(["bald", "short", "bob"], p=[0.12, 0.82, 0.06]))
        hair_color = _HAIR[rng.choice(len(_HAIR), p=_HAIR_WEIGHTS)]
        jeans = bottom == "trousers" and rng.random() < 0.5
        shade = rng.normal(0.0, 5.0, 3)
        skin = _SKIN[rng.integers(len(_SKIN))]
        return cls(
            height=float(np.clip(height, 1.5, 1.98) * (rng.uniform(0.66, 0.85) if child else 1.0)),
            build=float(np.clip(rng.normal(1.0, 0.09), 0.84, 1.28)),
            feminine=feminine,
            skin=(skin[0] + shade[0], skin[1] + shade[0], skin[2] + shade[0]),
            hair=hair,  # type: ignore[arg-type]
            hair_color=hair_color,
            hat=str(rng.choice(["none", "cap", "beanie", "brim", "hood"], p=[0.76, 0.08, 0.06, 0.04, 0.06])),  # type: ignore[arg-type]
            hat_color=_cloth(rng),
            sleeves="short" if rng.random() < 0.4 else "long",
            outer=outer,  # type: ignore[arg-type]
            hem=float(rng.uniform(0.26, 0.42)),
            top_color=_cloth(rng, vivid=0.5),
            second_color=_cloth(rng, vivid=0.4),
            pattern=str(rng.choice(["plain", "stripes", "blocks", "checks", "print"], p=[0.5, 0.16, 0.1, 0.1, 0.14])),  # type: ignore[arg-type]
            outer_color=_cloth(rng, vivid=0.3),
            bottom=bottom,  # type: ignore[arg-type]
            bottom_color=_DENIM[rng.integers(len(_DENIM))] if jeans else _cloth(rng, vivid=0.15),
            shoe_color=_cloth(rng, vivid=0.15),
            sole_color=(215.0, 218.0, 220.0) if rng.random() < 0.4 else (36.0, 36.0, 38.0),
            bag=str(rng.choice(["none", "backpack", "shoulder", "handbag"], p=[0.5, 0.22, 0.16, 0.12])),  # type: ignore[arg-type]
            bag_color=_cloth(rng, vivid=0.35),
            bag_side=1 if rng.random() < 0.5 else -1,
            phone=bool(rng.random() < 0.12),
            swing=float(rng.uniform(0.75, 1.1)),
            texture=int(rng.integers(1 << 30)),
        )


def _cloth(rng: np.random.Generator, vivid: float = 0.3) -> Color:
    """Return a color of cloth: vivid with probability `vivid`, else dark, gray, white or an earth tone."""
    if rng.random() < vivid:
        red, green, blue = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.35, 0.8), rng.uniform(0.3, 0.78))
    else:
        # Most clothes in a street are black, navy, gray, white or brown.
        hue, saturation, value = [
            (0.0, 0.03, rng.uniform(0.10, 0.2)),
            (0.62, rng.uniform(0.3, 0.6), rng.uniform(0.15, 0.32)),
            (0.6, 0.05, rng.uniform(0.3, 0.65)),
            (0.12, 0.04, rng.uniform(0.78, 0.93)),
            (rng.uniform(0.05, 0.12), rng.uniform(0.25, 0.5), rng.uniform(0.3, 0.7)),
        ][rng.choice(5, p=[0.3, 0.2, 0.2, 0.15, 0.15])]
        red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return (255.0 * blue, 255.0 * green, 255.0 * red)
