"""The static part of the rendered scene: ground, buildings, sky, and things people walk behind."""

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

_FACADE_SCALE = 40  # texture pixels per metre
_THING_SUPERSAMPLING = 3


@dataclass(frozen=True, eq=False)
class Thing:
    """Something that stands in the scene and hides who is behind it.

    Attributes:
        pixels: `(h, w, 4)` uint8, colours multiplied by alpha, cropped to the picture.
        left, top: its place in the picture.
        depth: metres along the optical axis.
    """

    pixels: ByteArray
    left: int
    top: int
    depth: float


def draw_backdrop(camera: Camera, seed: int, light: Light) -> tuple[ByteArray, list[Thing]]:
    """Draw a street for this camera.

    Args:
        camera: the view.
        seed: chooses paving, road, buildings and what stands around.
        light: for shadows.

    Returns:
        The picture `(h, w, 3)` in BGR, and the things in it, also as sprites to cover people with.
    """
    rng = np.random.default_rng([seed, 7])
    far = camera.farthest
    # The ground needs many maps of its size at once, so it is drawn in strips, each from the same random numbers.
    strips = np.array_split(np.arange(camera.size[1]), max(camera.size[1] // 128, 1))
    canvas = np.concatenate([_ground(camera, np.random.default_rng([seed, 8]), rows) for rows in strips])
    wall = far + rng.uniform(2.0, 5.0)
    base = camera.project(0.0, wall)[1]
    if base > 0.0:
        _facades(canvas, camera, wall, rng)
    things = _things(canvas, camera, rng, light)
    canvas += rng.normal(0.0, 2.0, canvas.shape[:2])[:, :, None]
    width, height = camera.size
    u = (np.arange(width) / width - 0.5)[None, :, None]
    v = (np.arange(height) / height - 0.5)[:, None, None]
    picture: ByteArray = np.clip(canvas * (1.03 - 0.35 * (u * u + v * v)), 0, 255).astype(np.uint8)
    for thing in things:
        cover(picture, thing.pixels, thing.left, thing.top)
    return picture, things


def cover(picture: ByteArray, pixels: ByteArray, left: int, top: int) -> None:
    """Lay premultiplied BGRA `pixels` over the picture, in place; they may reach outside."""
    height, width = picture.shape[:2]
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + pixels.shape[1], width), min(top + pixels.shape[0], height)
    if x0 >= x1 or y0 >= y1:
        return
    part = pixels[y0 - top : y1 - top, x0 - left : x1 - left]
    under = picture[y0:y1, x0:x1]
    through = cv2.bitwise_not(part[:, :, 3])
    cv2.multiply(under, cv2.merge([through] * 3), under, 1.0 / 255.0)
    cv2.add(under, part[:, :, :3], under)


def _noise(rng: np.random.Generator, shape: tuple[int, int], cell: int) -> Array:
    """Return smooth noise of about unit variance with features of `cell` pixels."""
    height, width = shape
    small = rng.normal(0.0, 1.0, (height // cell + 3, width // cell + 3))
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.float64)


def _ground(camera: Camera, rng: np.random.Generator, rows: npt.NDArray[np.int64]) -> Array:
    """Draw paving, a road and grass in these pixel rows by looking up the world position of every pixel."""
    width, height = camera.size
    sin, cos = float(np.sin(camera.pitch)), float(np.cos(camera.pitch))
    v = (rows + 0.5 - height / 2) / camera.focal
    falling = np.maximum(v * cos + sin, 1e-3)
    depth = np.minimum(camera.height / falling, 400.0)
    y = depth * (cos - v * sin)
    x = (np.arange(width)[None, :] + 0.5 - width / 2) / camera.focal * depth[:, None]
    y = np.broadcast_to(y[:, None], x.shape)
    pixel = np.broadcast_to((depth / camera.focal)[:, None], x.shape)  # metres across a pixel
    deep = pixel * np.broadcast_to((depth / camera.height)[:, None], x.shape)  # metres along y

    # A turned grid reads as a place rather than as graph paper.
    turn = rng.uniform(-0.6, 0.6) * (rng.random() < 0.5)
    turned, kept = float(np.sin(turn)), float(np.cos(turn))
    gx = x * kept + y * turned
    gy = y * kept - x * turned
    texture = _noise(rng, (512, 512), 1)
    blotch = _noise(rng, (512, 512), 24)

    def sample(map_: Array, step: float) -> Array:
        u, w = (gx / step) % 512, (gy / step) % 512
        u, w = u.astype(np.float32), w.astype(np.float32)
        found = cv2.remap(map_.astype(np.float32), u, w, cv2.INTER_LINEAR, None, cv2.BORDER_WRAP)
        return np.asarray(found, np.float64)

    def line(coordinate: Array, period: float, wide: float, footprint: Array) -> Array:
        """Coverage of a pixel by lines `wide` metres across every `period` metres."""
        off = np.abs((coordinate / period + 0.5) % 1.0 - 0.5) * period
        covered: Array = np.clip((wide / 2 + footprint / 2 - off) / footprint, 0.0, 1.0)
        covered *= np.minimum(1.0, wide / footprint)
        return covered

    base = np.array([150.0, 158.0, 163.0]) * rng.uniform(0.72, 1.08) + rng.normal(0.0, 5.0, 3)
    tile = float(rng.choice([0.4, 0.6, 0.9, 1.5]))
    across, along = tile, tile * float(rng.choice([1.0, 1.0, 2.0]))
    shift = np.where(np.floor(gy / along) % 2 > 0, across / 2, 0.0) if rng.random() < 0.4 else 0.0
    table = rng.normal(0.0, 1.0, (64, 64))
    cell = table[np.floor(gy / along).astype(int) & 63, np.floor((gx + shift) / across).astype(int) & 63]
    sharp = np.clip(across / (3.0 * deep), 0.0, 1.0)
    grout = np.maximum(line(gx + shift, across, 0.018, pixel), line(gy, along, 0.018, deep))
    tone = 1.0 + 0.035 * cell * sharp + 0.035 * sample(blotch, 0.06) - 0.22 * grout
    tone += 0.02 * sample(texture, 0.03) * np.clip(0.06 / deep, 0.0, 1.0)
    ground: Array = base * tone[:, :, None]

    def paint(mask: Array, color: Array) -> None:
        ground[:] = ground * (1.0 - mask[:, :, None]) + color * mask[:, :, None]

    def band(begin: float, end: float) -> Array:
        covered: Array = np.clip((y - begin) / deep + 0.5, 0.0, 1.0) * np.clip((end - y) / deep + 0.5, 0.0, 1.0)
        return covered

    near, far = camera.nearest, camera.farthest
    if rng.random() < 0.8:
        begin = near + (far - near) * rng.uniform(0.45, 0.65)
        end = begin + rng.uniform(5.0, 7.0)
        asphalt = 92.0 + 5.0 * sample(texture, 0.02) * np.clip(0.05 / deep, 0, 1) + 5.0 * sample(blotch, 0.1)
        color = asphalt[:, :, None] * np.array([1.0, 0.99, 0.97]) * rng.uniform(0.75, 1.1)
        paint(band(begin - 0.22, end + 0.22), base * 1.12)
        paint(band(begin, end), color)
        middle = 0.5 * (begin + end)
        dash = ((x + 100.0) % 4.0 < 2.2).astype(float)
        worn = 0.75 + 0.1 * sample(blotch, 0.03)
        paint(band(middle - 0.07, middle + 0.07) * dash * worn, np.array([205.0, 208.0, 208.0]))
        zebra = rng.uniform(-0.7, 0.4) * camera.half_width(begin)
        stripes = ((y - begin) % 1.0 < 0.5) & (x > zebra) & (x < zebra + 3.2)
        paint(band(begin + 0.2, end - 0.2) * stripes * np.clip(worn, 0, 1), np.array([205.0, 208.0, 208.0]))
    if rng.random() < 0.6:
        x0 = rng.choice([-1.0, 1.0]) * rng.uniform(0.35, 0.8) * camera.half_width(0.5 * (near + far))
        y0, radius = near + (far - near) * rng.uniform(0.12, 0.3), rng.uniform(1.2, 2.6)
        ring = np.hypot(x - x0, (y - y0)) - radius
        grass = (
            np.array([58.0, 108.0, 92.0])
            * (1.0 + 0.10 * sample(texture, 0.05) + 0.06 * sample(blotch, 0.04))[:, :, None]
        )
        paint(np.clip(0.18 / deep - ring / deep, 0.0, 1.0), base * 1.15)
        paint(np.clip(-ring / deep, 0.0, 1.0), grass)
    return ground.astype(np.float32)


def _facades(picture: Array, camera: Camera, wall: float, rng: np.random.Generator) -> None:
    """Put a row of houses and the sky at distance `wall` into the picture, in place."""
    width, height = camera.size
    half = camera.half_width(wall) + 2.0
    tall = 16.0
    columns, lines = int(2 * half * _FACADE_SCALE), int(tall * _FACADE_SCALE)
    grade = np.linspace(0.0, 1.0, lines)[:, None, None]
    sky = np.array([232.0, 214.0, 196.0]) * (1 - grade) + np.array([240.0, 236.0, 230.0]) * grade
    texture = np.array(np.broadcast_to(sky, (lines, columns, 3)), np.float32)
    left = 0
    while left < columns:
        right = min(columns, left + int(rng.uniform(5.0, 11.0) * _FACADE_SCALE))
        storeys = int(rng.integers(3, 5))
        _house(texture[lines - int((3.4 + 3.0 * (storeys - 1) + 0.7) * _FACADE_SCALE) :, left:right], storeys, rng)
        left = right
    corners = [camera.project(sx * half, wall, z)[:2] for z in (tall, 0.0) for sx in (-1.0, 1.0)]
    source = np.array([[0, 0], [columns, 0], [0, lines], [columns, lines]], np.float32)
    matrix = cv2.getPerspectiveTransform(source, np.array(corners, np.float32))
    shrink = camera.focal / camera.project(0.0, wall)[2] / _FACADE_SCALE
    smooth = cv2.GaussianBlur(texture, (0, 0), max(0.45 / shrink, 0.3))
    warped = cv2.warpPerspective(
        smooth, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    foot = int(np.clip(round(camera.project(0.0, wall)[1]), 0, height))
    picture[:foot] = warped[:foot]
    shade = np.linspace(0.72, 1.0, max(int(0.012 * height), 2))[:, None, None]
    strip = picture[foot : foot + len(shade)]
    strip *= shade[: len(strip)]


def _house(wall: Array, storeys: int, rng: np.random.Generator) -> None:
    """Draw one house front onto `wall`, in place; its lower edge is the ground."""
    m = _FACADE_SCALE
    lines, columns = wall.shape[:2]
    palette = [(128, 150, 176), (150, 176, 196), (176, 184, 190), (92, 110, 150), (140, 140, 140), (168, 170, 150)]
    color = np.array(palette[rng.integers(len(palette))], float) * rng.uniform(0.8, 1.05)
    wall[:] = (
        color * (1.0 + 0.025 * _noise(rng, (lines, columns), 3) + 0.02 * _noise(rng, (lines, columns), 60))[..., None]
    )
    wall[: int(0.3 * m)] = color * 0.62
    wall[int(0.3 * m) : int(0.36 * m)] = color * 1.15
    spacing = rng.uniform(1.7, 2.4)
    count = max(1, int(columns / m / spacing))
    glass = np.array([96.0, 84.0, 70.0]) * rng.uniform(0.6, 1.1)
    for storey in range(1, storeys):
        bottom = lines - int((3.4 + 3.0 * (storey - 1) + 0.8) * m)
        for k in range(count):
            x = int((k + 0.5) * columns / count)
            box = (x - int(0.5 * m), bottom - int(1.6 * m), x + int(0.5 * m), bottom)
            _pane(wall, box, glass * rng.uniform(0.6, 1.35), color * 1.22)
    ground = lines - int(3.2 * m)
    wall[ground:] = color * rng.uniform(0.55, 0.9)
    wall[ground - int(0.25 * m) : ground + int(0.3 * m)] = rng.uniform(40, 170, 3)
    shops = max(1, int(columns / m / 3.2))
    for k in range(shops):
        x0, x1 = int((k + 0.08) * columns / shops), int((k + 0.92) * columns / shops)
        door = x1 - int(0.95 * m)
        _pane(wall, (x0, ground + int(0.45 * m), door - int(0.2 * m), lines - int(0.5 * m)), glass * 0.9, color * 0.5)
        _pane(wall, (door, ground + int(0.6 * m), x1, lines), glass * rng.uniform(0.4, 0.9), color * 0.45)


def _pane(wall: Array, box: tuple[int, int, int, int], glass: Array, frame: Array) -> None:
    """Draw a window or door with a frame and a reflection."""
    x0, y0, x1, y1 = box
    y0 = max(y0, 0)
    if x1 <= x0 or y1 <= y0:
        return
    rim = max(2, int(0.07 * _FACADE_SCALE))
    wall[max(y0 - rim, 0) : y1 + rim, max(x0 - rim, 0) : x1 + rim] = frame
    fade = np.linspace(1.45, 0.8, y1 - y0)[:, None, None]
    wall[y0:y1, x0:x1] = glass * fade
    if x1 - x0 > rim:
        middle = (x0 + x1) // 2
        wall[y0:y1, middle - 1 : middle + 2] = frame * 0.8


def _things(picture: Array, camera: Camera, rng: np.random.Generator, light: Light) -> list[Thing]:
    """Make trees, lamps, benches and planters and lay their shadows on the picture, in place."""
    near, far = camera.nearest, camera.farthest
    things = []
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
            drawn, anchor = _draw_thing(str(kind), scale, y, camera, rng)
            _ground_shadow(picture, camera, float(x + offset), y, str(kind), light)
            left, top = round(column - anchor[0]), round(row - anchor[1])
            right, bottom = min(left + drawn.shape[1], camera.size[0]), min(top + drawn.shape[0], camera.size[1])
            x0, y0 = max(left, 0), max(top, 0)
            if x0 < right and y0 < bottom:
                cropped = np.ascontiguousarray(drawn[y0 - top : bottom - top, x0 - left : right - left])
                things.append(Thing(cropped, x0, y0, depth))
    return sorted(things, key=lambda thing: -thing.depth)


def _draw_thing(
    kind: str, scale: float, y: float, camera: Camera, rng: np.random.Generator
) -> tuple[ByteArray, tuple[float, float]]:
    """Draw one thing at `scale` pixels per metre; return it and its ground point."""
    k = scale * _THING_SUPERSAMPLING
    elevation = float(np.arctan2(camera.height, y))
    flat, tall = float(np.sin(elevation)), float(np.cos(elevation))
    wide, high = {"tree": (4.4, 6.4), "lamp": (1.0, 5.2), "bench": (2.2, 1.3), "planter": (2.0, 1.6)}.get(
        kind, (0.5, 1.2)
    )
    # Widths are multiples of the supersampling, so that shrinking keeps the scale.
    width = _THING_SUPERSAMPLING * int(np.ceil(wide * scale))
    height = _THING_SUPERSAMPLING * int(np.ceil((high * tall + 0.8 * flat) * scale))
    canvas = np.zeros((height, width, 4), np.uint8)
    cx, cy = width / 2, height - 0.45 * flat * k - 2

    def box(x0: float, z0: float, x1: float, z1: float, color: tuple[int, int, int], deep: float = 0.0) -> None:
        """Fill an upright rectangle standing `deep` metres further back."""
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
    size = width // _THING_SUPERSAMPLING, height // _THING_SUPERSAMPLING
    small = np.asarray(cv2.resize(canvas, size, interpolation=cv2.INTER_AREA), np.uint8)
    return small, (cx / _THING_SUPERSAMPLING, cy / _THING_SUPERSAMPLING)


def _ground_shadow(picture: Array, camera: Camera, x: float, y: float, kind: str, light: Light) -> None:
    """Darken the ground where the sun does not reach behind a thing, in place."""
    shapes = {
        "tree": [(1.7, 4.4), (0.14, 0.0)],
        "lamp": [(0.07, 0.0)],
        "bench": [(0.9, 0.3)],
        "planter": [(0.8, 0.4)],
    }
    tall = {"tree": 3.4, "lamp": 5.0}.get(kind, 0.9)
    mask = np.zeros(picture.shape[:2], np.uint8)
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
    picture *= 1.0 - light.shadow * soft[:, :, None]
