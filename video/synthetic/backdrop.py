"""The static image behind the rendered people: ground, buildings and sky, and what stands in front of them."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from fairmot.core.records import ByteArray
from fairmot.video.synthetic.figure import Light
from fairmot.video.synthetic.occluders import Occluder, add_occluders
from fairmot.video.synthetic.pinhole import Camera

Array = npt.NDArray[np.floating[Any]]

_FACADE_SCALE = 40  # texture pixels per meter


def draw_backdrop(camera: Camera, seed: int, light: Light) -> tuple[ByteArray, list[Occluder]]:
    """Draw a street for this camera.

    Args:
        camera: the view.
        seed: chooses paving, road, buildings and what stands around.
        light: for shadows.

    Returns:
        The image `(h, w, 3)` in BGR with the occluders in it, and these again as sprites to cover people with.
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
    occluders = add_occluders(canvas, camera, rng, light)
    canvas += rng.normal(0.0, 2.0, canvas.shape[:2])[:, :, None]
    width, height = camera.size
    u = (np.arange(width) / width - 0.5)[None, :, None]
    v = (np.arange(height) / height - 0.5)[:, None, None]
    image: ByteArray = np.clip(canvas * (1.03 - 0.35 * (u * u + v * v)), 0, 255).astype(np.uint8)
    for occluder in occluders:
        cover(image, occluder.pixels, occluder.left, occluder.top)
    return image, occluders


def cover(image: ByteArray, pixels: ByteArray, left: int, top: int) -> None:
    """Lay premultiplied BGRA `pixels` over the image, in place; they may reach outside."""
    height, width = image.shape[:2]
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + pixels.shape[1], width), min(top + pixels.shape[0], height)
    if x0 >= x1 or y0 >= y1:
        return
    part = pixels[y0 - top : y1 - top, x0 - left : x1 - left]
    under = image[y0:y1, x0:x1]
    through = cv2.bitwise_not(part[:, :, 3])
    cv2.multiply(under, cv2.merge([through] * 3), under, 1.0 / 255.0)
    cv2.add(under, part[:, :, :3], under)


def cover_within(image: ByteArray, pixels: ByteArray, left: int, top: int, box: tuple[int, int, int, int]) -> None:
    """Lay the part of `pixels` inside `box` (left, top, right, bottom) over the image, see `cover`."""
    x0, y0 = max(left, box[0]), max(top, box[1])
    x1, y1 = min(left + pixels.shape[1], box[2]), min(top + pixels.shape[0], box[3])
    if x0 < x1 and y0 < y1:
        cover(image, pixels[y0 - top : y1 - top, x0 - left : x1 - left], x0, y0)


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
    pixel = np.broadcast_to((depth / camera.focal)[:, None], x.shape)  # meters across a pixel
    deep = pixel * np.broadcast_to((depth / camera.height)[:, None], x.shape)  # meters along y

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
        """Coverage of a pixel by lines `wide` meters across every `period` meters."""
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


def _facades(image: Array, camera: Camera, wall: float, rng: np.random.Generator) -> None:
    """Put a row of houses and the sky at distance `wall` into the image, in place."""
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
        stories = int(rng.integers(3, 5))
        _house(texture[lines - int((3.4 + 3.0 * (stories - 1) + 0.7) * _FACADE_SCALE) :, left:right], stories, rng)
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
    image[:foot] = warped[:foot]
    shade = np.linspace(0.72, 1.0, max(int(0.012 * height), 2))[:, None, None]
    strip = image[foot : foot + len(shade)]
    strip *= shade[: len(strip)]


def _house(wall: Array, stories: int, rng: np.random.Generator) -> None:
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
    for story in range(1, stories):
        bottom = lines - int((3.4 + 3.0 * (story - 1) + 0.8) * m)
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
