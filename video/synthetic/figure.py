"""The drawn person: the body of `fairmot.video.synthetic.body`, projected, shaded, filled into a sprite with a shadow.

The view is orthographic, turned by the heading and tilted by the camera's elevation above the person.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from fairmot.core.records import ByteArray
from fairmot.video.synthetic.body import Body, pose_body
from fairmot.video.synthetic.wardrobe import Appearance

Array = npt.NDArray[np.float64]

_SUPERSAMPLING = 2
_SUBPIXEL_BITS = 4
_SHADOW_SCALE = 0.5  # shadows are soft, so half the resolution is enough


@dataclass(frozen=True)
class Light:
    """The direction and strength of light, in the camera's ground axes (right, away from the camera, up).

    Attributes:
        direction: unit vector towards the light.
        ambient: share of light that reaches every side, 0 to 1.
        shadow: darkness of the cast shadow, 0 (overcast) to 1.
    """

    direction: tuple[float, float, float] = (-0.45, -0.45, 0.77)
    ambient: float = 0.5
    shadow: float = 0.45


@dataclass(frozen=True, eq=False)
class Sprite:
    """A person as pixels, cropped to what is visible.

    Attributes:
        pixels: `(h, w, 4)` uint8, blue, green, red, alpha; colors are multiplied by alpha.
        anchor: ground point below the hips in sprite pixels (x, y) from the top left corner.
        scale: pixels per meter.
        shadow: `(h, w)` uint8, how much of the direct light is taken from the ground.
        shadow_anchor: the ground point in shadow pixels.
        shadow_scale: shadow pixels per meter.
    """

    pixels: ByteArray
    anchor: tuple[float, float]
    scale: float
    shadow: ByteArray
    shadow_anchor: tuple[float, float]
    shadow_scale: float

    @property
    def nbytes(self) -> int:
        """Memory of the arrays in bytes."""
        return self.pixels.nbytes + self.shadow.nbytes


def _cross(a: Array, b: Array) -> Array:
    """Return the cross products of rows; `np.cross` spends several times longer on its checks."""
    ax, ay, az = a.T
    bx, by, bz = b.T
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=1)


def _project(points: Array, heading: float, elevation: float) -> tuple[Array, Array, Array]:
    """Return points in view axes: right, up on the screen, towards the camera (meters)."""
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    right = x * np.sin(heading) + y * np.cos(heading)
    away = -x * np.cos(heading) + y * np.sin(heading)
    cos, sin = np.cos(elevation), np.sin(elevation)
    return right, z * cos + away * sin, z * sin - away * cos


def draw_figure(
    look: Appearance,
    heading: float,
    elevation: float,
    phase: float,
    stride: float,
    scale: float,
    light: Light | None = None,
) -> Sprite:
    """Draw a person.

    Args:
        look: who it is.
        heading: walking direction in radians: 0 to the right of the image, pi/2 away from the camera.
        elevation: angle in radians under which the camera looks down on the person.
        phase: place in the gait cycle in radians; the left leg is furthest forward at pi/2.
        stride: length of the steps, 0 standing to 1 walking.
        scale: pixels per meter.
        light: where light comes from.

    Returns:
        The sprite, cropped to its visible pixels.
    """
    light = light or Light()
    body = pose_body(look, phase, stride)
    corners = np.concatenate([quads.reshape(-1, 4, 3) for quads in body.quads])
    colors = np.concatenate([part.reshape(-1, 3) for part in body.colors])
    right, up, near = _project(corners, heading, elevation)

    # Facing and shading from the normal in view axes; the light is turned into the same axes.
    view = np.stack([right, up, near], axis=-1)
    normal = _cross(view[:, 2] - view[:, 0], view[:, 3] - view[:, 1])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
    front = np.flatnonzero(normal[:, 2] > 0.02)
    front = front[np.argsort(near[front].mean(axis=1), kind="stable")]
    normal, colors, corners = normal[front], colors[front], corners[front].mean(axis=1)
    cos, sin = np.cos(elevation), np.sin(elevation)
    lx, la, lz = light.direction
    sun = np.array([lx, lz * cos + la * sin, lz * sin - la * cos])
    direct = np.clip(normal @ sun * 0.8 + 0.2, 0.0, 1.0)
    sky = 0.75 + 0.25 * (normal[:, 1] * cos + normal[:, 2] * sin)
    # Little light gets between the legs.
    inside = 1.0 - 0.25 * np.exp(-(((corners[:, 2] / look.height - 0.42) / 0.1) ** 2)) * (np.abs(corners[:, 0]) < 0.06)
    shade = (light.ambient * sky + (1.0 - light.ambient) * 1.15 * direct) * inside * 1.05
    tones = np.clip(colors * shade[:, None] + 3.0, 0.0, 255.0)

    fine = scale * _SUPERSAMPLING
    margin = 0.05
    left, top = float(right.min()) - margin, float(up.max()) + margin
    width = _SUPERSAMPLING * int(np.ceil((float(right.max()) + margin - left) * scale))
    height = _SUPERSAMPLING * int(np.ceil((top - float(up.min()) + margin) * scale))
    canvas = np.zeros((height, width, 4), np.uint8)
    unit = 1 << _SUBPIXEL_BITS
    points = np.stack([(right - left) * fine, (top - up) * fine], axis=-1) * unit - unit / 2
    points = np.rint(points).astype(np.int32)
    fills = np.concatenate([tones, np.full((len(tones), 1), 255.0)], axis=1).tolist()
    for quad, fill in zip(points[front], fills, strict=True):
        cv2.fillConvexPoly(canvas, quad, fill, cv2.LINE_8, _SUBPIXEL_BITS)
    size = width // _SUPERSAMPLING, height // _SUPERSAMPLING
    pixels = np.asarray(cv2.resize(canvas, size, interpolation=cv2.INTER_AREA), np.uint8)
    rows = np.flatnonzero((pixels[:, :, 3] > 96).any(axis=1))
    columns = np.flatnonzero((pixels[:, :, 3] > 96).any(axis=0))
    pixels = np.ascontiguousarray(pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    anchor = (-left * scale - columns[0], top * scale - rows[0])
    shadow, shadow_anchor = _draw_shadow(body, heading, elevation, scale * _SHADOW_SCALE, light)
    return Sprite(pixels, anchor, scale, shadow, shadow_anchor, scale * _SHADOW_SCALE)


def _draw_shadow(
    body: Body, heading: float, elevation: float, scale: float, light: Light
) -> tuple[ByteArray, tuple[float, float]]:
    """Draw the cast shadow and the soft dark spot under the feet; return it with its ground point."""
    lx, la, lz = light.direction
    parts: list[Array] = []
    for quads in body.quads:
        right, up, near = _project(quads[:, :, 0], heading, 0.0)
        # Slide each point along the light down to the ground; `up` is height here, `-near` the distance away.
        away = -near - up * la / lz
        parts.extend(np.stack([right - up * lx / lz, -away * np.sin(elevation)], axis=-1))
    every = np.concatenate(parts)
    low = np.minimum(every.min(axis=0), [-0.4, -0.15]) - 0.12
    high = np.maximum(every.max(axis=0), [0.4, 0.15]) + 0.12
    width, height = np.maximum(np.ceil((high - low) * scale), 3).astype(int).tolist()
    mask = np.zeros((height, width), np.uint8)
    for part in parts:
        hull = cv2.convexHull(np.rint((part - low) * scale * 16).astype(np.int32))
        cv2.fillConvexPoly(mask, hull, 255.0 * light.shadow, cv2.LINE_AA, 4)
    contact = np.zeros_like(mask)
    middle = np.rint(-low * scale * 16).astype(int)
    axes = np.rint(np.array([0.26, 0.26 * np.sin(elevation) + 0.02]) * scale * 16).astype(int)
    cv2.ellipse(contact, middle.tolist(), axes.tolist(), 0.0, 0.0, 360.0, 110.0, -1, cv2.LINE_AA, 4)
    size = max(3, int(0.06 * scale) | 1)
    wide = max(3, int(0.22 * scale) | 1)
    shadow = cv2.max(cv2.GaussianBlur(mask, (size, size), 0), cv2.GaussianBlur(contact, (wide, wide), 0))
    return np.asarray(shadow, np.uint8), (float(-low[0] * scale), float(-low[1] * scale))
