"""The occluders of the rendered scene: trees, lamps, benches and planters that people walk behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from fairmot.core.records import ByteArray
from fairmot.video.synthetic.figure import Light
from fairmot.video.synthetic.pinhole import Camera

Array = npt.NDArray[np.floating[Any]]

_SUPERSAMPLING = 3


@dataclass(frozen=True, eq=False)
class Occluder:
    """Something that stands in the scene and hides who is behind it.

    Attributes:
        pixels: `(h, w, 4)` uint8, colors multiplied by alpha, cropped to the image.
        left, top: its place in the image.
        depth: meters along the optical axis.
    """

    pixels: ByteArray
    left: int
    top: int
    depth: float


def add_occluders(image: Array, camera: Camera, rng: np.random.Generator, light: Light) -> list[Occluder]:
    """Make trees, lamps, benches and planters and lay their shadows on the image, in place."""
    near, far = camera.nearest, camera.farthest
    occluders = []
    columns: list[float] = []
    for kind in rng.permutation(["tree", "lamp", "bench", "planter", "tree", "lamp", "bollards"])[: rng.integers(4, 7)]:
        y = near + (far - near) * rng.uniform(0.15, 0.8)
        x = rng.choice([-1.0, 1.0]) * rng.uniform(0.15, 0.9) * camera.half_width(y)
        column = camera.project(x, y)[0] / camera.size[0]
        if any(abs(column - other) < 0.09 for other in columns):
            continue  # things in a row hide each other and too much of what is behind
        columns.append(column)
        for offset in (-1.6, 0.0, 1.6) if kind == "bollards" else (0.0,):
            column, row, depth = camera.project(float(x + offset), y)
            scale = camera.focal / depth
            drawn, anchor = _draw_occluder(str(kind), scale, y, camera, rng)
            _ground_shadow(image, camera, float(x + offset), y, str(kind), light)
            left, top = round(column - anchor[0]), round(row - anchor[1])
            right, bottom = min(left + drawn.shape[1], camera.size[0]), min(top + drawn.shape[0], camera.size[1])
            x0, y0 = max(left, 0), max(top, 0)
            if x0 < right and y0 < bottom:
                cropped = np.ascontiguousarray(drawn[y0 - top : bottom - top, x0 - left : right - left])
                occluders.append(Occluder(cropped, x0, y0, depth))
    return sorted(occluders, key=lambda occluder: -occluder.depth)


def _draw_occluder(
    kind: str, scale: float, y: float, camera: Camera, rng: np.random.Generator
) -> tuple[ByteArray, tuple[float, float]]:
    """Draw one occluder at `scale` pixels per meter; return it and its ground point."""
    k = scale * _SUPERSAMPLING
    elevation = float(np.arctan2(camera.height, y))
    flat, tall = float(np.sin(elevation)), float(np.cos(elevation))
    wide, high = {"tree": (4.4, 6.4), "lamp": (1.0, 5.2), "bench": (2.2, 1.3), "planter": (2.0, 1.6)}.get(
        kind, (0.5, 1.2)
    )
    # Widths are multiples of the supersampling, so that shrinking keeps the scale.
    width = _SUPERSAMPLING * int(np.ceil(wide * scale))
    height = _SUPERSAMPLING * int(np.ceil((high * tall + 0.8 * flat) * scale))
    canvas = np.zeros((height, width, 4), np.uint8)
    cx, cy = width / 2, height - 0.45 * flat * k - 2

    def box(x0: float, z0: float, x1: float, z1: float, color: tuple[int, int, int], deep: float = 0.0) -> None:
        """Fill an upright rectangle standing `deep` meters further back."""
        p = (round(cx + x0 * k), round(cy - z1 * tall * k - deep * flat * k))
        q = (round(cx + x1 * k), round(cy - z0 * tall * k - deep * flat * k))
        cv2.rectangle(canvas, p, q, (*color, 255), -1)

    def tube(x: float, z0: float, z1: float, r0: float, r1: float, color: tuple[float, float, float]) -> None:
        for share in np.linspace(-1.0, 0.75, 8):
            light = 0.62 + 0.5 * np.sqrt(1.0 - (share * 0.9 + 0.3) ** 2) if abs(share * 0.9 + 0.3) < 1 else 0.62
            corners = [(x + share * r0, z0), (x + r0, z0), (x + r1, z1), (x + share * r1, z1)]
            points = [(round(cx + a * k), round(cy - b * tall * k)) for a, b in corners]
            cv2.fillConvexPoly(canvas, np.array(points), (*(light * np.array(color)).tolist(), 255.0))

    if kind == "tree":
        tube(0.0, 0.0, 3.4, 0.16, 0.1, (62, 80, 98))
        green = np.array([44.0, 92.0, 70.0]) * rng.uniform(0.85, 1.2) + rng.normal(0, 6, 3)
        for layer in range(3):
            for _ in range(160):
                angle, reach = rng.uniform(0, 2 * np.pi), np.sqrt(rng.random())
                a, b = 1.75 * reach * np.cos(angle), 4.4 + 1.6 * reach * np.sin(angle)
                light = 0.62 + 0.22 * layer + 0.16 * (b - 4.4) - 0.09 * a + rng.normal(0, 0.08)
                point = (round(cx + a * k), round(cy - b * tall * k))
                radius = max(1, round((0.30 - 0.07 * layer) * k * rng.uniform(0.5, 1.1)))
                cv2.circle(canvas, point, radius, (*np.clip(green * light, 0, 255).tolist(), 255.0), -1)
    elif kind == "lamp":
        tube(0.0, 0.0, 0.6, 0.1, 0.09, (70, 72, 70))
        tube(0.0, 0.6, 4.6, 0.06, 0.045, (80, 82, 80))
        box(-0.3, 4.6, 0.3, 4.66, (60, 62, 60))
        box(-0.2, 4.66, 0.2, 4.95, (214, 226, 232))
        box(-0.26, 4.95, 0.26, 5.05, (60, 62, 60))
    elif kind == "bench":
        for side in (-0.8, 0.74):
            box(side, 0.0, side + 0.06, 0.42, (52, 52, 54))
            box(side, 0.0, side + 0.06, 0.8, (44, 44, 46), 0.4)
        for i, deep in enumerate((0.4, 0.3, 0.2, 0.1, 0.0)):
            box(-0.95, 0.40, 0.95, 0.45, (70 + 4 * i, 104 + 6 * i, 140 + 8 * i), deep)
        for z in (0.52, 0.64, 0.76):
            box(-0.95, z, 0.95, z + 0.09, (66, 100, 138), 0.42)
    elif kind == "planter":
        box(-0.8, 0.0, 0.8, 0.55, (120, 126, 130))
        box(-0.8, 0.5, 0.8, 0.58, (150, 156, 160))
        for i in range(150):
            a, b = rng.uniform(-0.78, 0.78), rng.uniform(0.55, 1.0) + 0.2 * rng.random()
            light = 0.6 + 0.5 * (b - 0.5) + 0.3 * i / 150 + rng.normal(0, 0.1)
            leaf = np.clip(np.array([46.0, 104.0, 74.0]) * light, 0, 255)
            point = (round(cx + a * k), round(cy - b * tall * k))
            cv2.circle(canvas, point, max(1, round(0.07 * k)), (*leaf.tolist(), 255.0), -1)
    else:
        tube(0.0, 0.0, 0.85, 0.09, 0.09, (64, 64, 66))
        tube(0.0, 0.85, 0.95, 0.1, 0.08, (150, 156, 160))
    size = width // _SUPERSAMPLING, height // _SUPERSAMPLING
    small = np.asarray(cv2.resize(canvas, size, interpolation=cv2.INTER_AREA), np.uint8)
    return small, (cx / _SUPERSAMPLING, cy / _SUPERSAMPLING)


def _ground_shadow(image: Array, camera: Camera, x: float, y: float, kind: str, light: Light) -> None:
    """Darken the ground where the sun does not reach behind a occluder, in place."""
    shapes = {
        "tree": [(1.7, 4.4), (0.14, 0.0)],
        "lamp": [(0.07, 0.0)],
        "bench": [(0.9, 0.3)],
        "planter": [(0.8, 0.4)],
    }
    tall = {"tree": 3.4, "lamp": 5.0}.get(kind, 0.9)
    mask = np.zeros(image.shape[:2], np.uint8)
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    for radius, z in shapes.get(kind, [(0.09, 0.0)]):
        rings = [0.0, tall] if z == 0.0 else [z]
        points = []
        for level in rings:
            for angle in angles:
                gx = x + radius * np.cos(angle) - level * light.direction[0] / light.direction[2]
                gy = y + 0.6 * radius * np.sin(angle) - level * light.direction[1] / light.direction[2]
                points.append(camera.project(float(gx), max(float(gy), 0.5))[:2])
        hull = cv2.convexHull(np.rint(np.array(points) * 16).astype(np.int32))
        cv2.fillConvexPoly(mask, hull, 255.0, cv2.LINE_AA, 4)
    sigma = max(0.08 * camera.focal / camera.project(x, y)[2], 0.8)
    soft = cv2.GaussianBlur(mask, (0, 0), sigma).astype(float) / 255.0
    image *= 1.0 - light.shadow * soft[:, :, None]
