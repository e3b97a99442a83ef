"""The body of a person as a mesh: jointed limbs and lofted rings, posed at a moment of the gait.

The body frame is x to the person's right, y forward, z up, in meters, the ground at z = 0 below the hips.
Proportions are those of a figure 1.72 m tall, scaled by the person's height.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fairmot.video.synthetic.wardrobe import Appearance, Color

Array = npt.NDArray[np.float64]

_X, _, _Z = np.eye(3)
_ALONG = np.linspace(0.0, 1.0, 4)  # rings of a limb
_LIMB_SEGMENTS = 8


class Body:
    """Collects the parts of a body: corner points of quads, facing outwards when they turn left, and their colors.

    Each part is convex or nearly so, which its shadow makes use of.
    """

    def __init__(self, texture: int) -> None:
        self.quads: list[Array] = []  # (parts, quads, 4, 3)
        self.colors: list[Array] = []  # (parts, quads, 3)
        self._limbs: list[tuple[Array, Array, Array, Color, float]] = []
        self._rng = np.random.default_rng(texture)

    def loft(
        self,
        centers: Any,
        ru: Any,
        rv: Any,
        color: Color | Array,
        segments: int = 10,
        grain: float = 0.018,
        square: float = 1.0,
    ) -> None:
        """Join level elliptic rings around `centers (n, 3)` with radii `ru` along x and `rv` along y by quads.

        `color` is one color or `(n - 1, segments, 3)`; segment 0 starts at +x and turns towards +y.
        `square` below 1 pulls the ellipse towards a box.
        """
        centers = np.asarray(centers, float)
        angle = np.linspace(0.0, 2.0 * np.pi, segments, endpoint=False)
        cos, sin = np.cos(angle), np.sin(angle)
        cos, sin = np.sign(cos) * np.abs(cos) ** square, np.sign(sin) * np.abs(sin) ** square
        ring = np.repeat(centers[:, None], segments, axis=1)
        ring[:, :, 0] += np.asarray(ru)[:, None] * cos
        ring[:, :, 1] += np.asarray(rv)[:, None] * sin
        self._join(ring[None], np.broadcast_to(np.asarray(color, float), (1, len(centers) - 1, segments, 3)), grain)

    def limb(self, start: Array, end: Array, radii: Any, color: Color, flat: float = 1.0) -> None:
        """Add a tapered tube from `start` to `end` with rounded ends; `radii` are spread evenly along it."""
        self._limbs.append((start, end, np.interp(_ALONG, np.linspace(0.0, 1.0, len(radii)), radii), color, flat))

    def join_limbs(self) -> None:
        """Turn the limbs added so far into quads, all at once."""
        start, end, radius, colors, flat = (np.array(column, float) for column in zip(*self._limbs, strict=True))
        self._limbs.clear()
        axis = end - start
        length = np.linalg.norm(axis, axis=1, keepdims=True)
        axis = axis / length
        # A level direction across the limb, nearest to the body's own left and right.
        u = _X - axis * axis[:, :1]
        u /= np.linalg.norm(u, axis=1, keepdims=True)
        v = np.cross(axis, u)
        along = np.hstack(
            [-0.8 * radius[:, :1] / length, np.tile(_ALONG, (len(start), 1)), 1 + 0.8 * radius[:, -1:] / length]
        )
        radius = np.hstack([0.25 * radius[:, :1], radius, 0.25 * radius[:, -1:]])
        angle = np.linspace(0.0, 2.0 * np.pi, _LIMB_SEGMENTS, endpoint=False)
        around = np.cos(angle)[:, None] * u[:, None] + (np.sin(angle) * flat[:, None])[:, :, None] * v[:, None]
        centers = start[:, None] + along[:, :, None] * (end - start)[:, None]
        ring = centers[:, :, None] + radius[:, :, None, None] * around[:, None]
        shape = (len(start), ring.shape[1] - 1, _LIMB_SEGMENTS, 3)
        self._join(ring, np.broadcast_to(colors[:, None, None], shape), 0.018)

    def _join(self, ring: Array, colors: Array, grain: float) -> None:
        """Add parts from rings `(parts, rings, segments, 3)` and colors `(parts, rings - 1, segments, 3)`."""
        after = np.roll(ring, -1, axis=2)
        quads = np.stack([ring[:, :-1], after[:, :-1], after[:, 1:], ring[:, 1:]], axis=3)
        if ring[0, -1, 0, 2] < ring[0, 0, 0, 2] and len(ring) == 1:
            quads = quads[:, :, :, ::-1]  # rings listed downwards turn the other way
        # Cloth is never one flat color: folds and wear, the same in every pose.
        noise = 1.0 + grain * self._rng.standard_normal((*colors.shape[:3], 1))
        self.quads.append(quads.reshape(len(ring), -1, 4, 3))
        self.colors.append((colors * noise).reshape(len(ring), -1, 3))


def _turn(vector: Array, pitch: float) -> Array:
    """Rotate about the x axis; a positive pitch moves a hanging limb forward."""
    cos, sin = np.cos(pitch), np.sin(pitch)
    return np.array([vector[0], vector[1] * cos - vector[2] * sin, vector[1] * sin + vector[2] * cos])


def _pattern(look: Appearance, rings: int, segments: int, color: Color) -> Array:
    """Return the colors `(rings, segments, 3)` of the top, ring 0 at the hips."""
    cloth = np.tile(np.asarray(color, float), (rings, segments, 1))
    second = np.asarray(look.second_color, float)
    if look.pattern == "stripes":
        cloth[::2] = second
    elif look.pattern == "blocks":
        cloth[rings // 2 :] = second
    elif look.pattern == "checks":
        cloth[::2, ::2] = cloth[1::2, 1::2] = 0.55 * second + 0.45 * cloth[0, 0]
    elif look.pattern == "print":
        front = range(segments // 4 - 1, segments // 4 + 1)
        cloth[rings // 2 : rings // 2 + 2, list(front)] = second
    return cloth


def _legs(body: Body, look: Appearance, phase: float, stride: float, s: float) -> None:
    """Add both legs with shoes; `s` scales meters to the person's height."""
    hip_x = (0.095 if look.feminine else 0.09) * s * look.build
    wide = s * (0.6 + 0.4 * look.build)
    long_legs = look.bottom in ("trousers", "leggings")
    loose = 1.0 if look.bottom == "trousers" else 0.88
    bare = look.outer == "dress" or look.bottom == "skirt"
    thigh_color = look.skin if bare else look.bottom_color
    shin_color = look.bottom_color if long_legs and not bare else look.skin
    for side in (-1.0, 1.0):
        turn = phase + (np.pi if side > 0 else 0.0)
        hip_pitch = stride * 0.43 * np.sin(turn) + 0.03
        knee = 0.06 + stride * (0.06 + 0.95 * max(0.0, np.cos(turn + 0.35)) ** 2)
        hip = np.array([side * hip_x, 0.0, 0.90 * s])
        knee_at = hip + _turn(np.array([-side * 0.012, 0.0, -0.43 * s]), hip_pitch)
        ankle = knee_at + _turn(np.array([-side * 0.008, 0.0, -0.40 * s]), hip_pitch - knee)
        body.limb(hip, knee_at, wide * np.array([0.092, 0.085, 0.062]) * loose, thigh_color)
        if look.bottom == "shorts" and not bare:
            body.limb(hip, hip + 0.8 * (knee_at - hip), wide * np.array([0.1, 0.094, 0.09]), look.bottom_color)
            body.limb(hip + 0.78 * (knee_at - hip), knee_at, wide * np.array([0.066, 0.058]), look.skin)
        calf = wide * (
            np.array([0.062, 0.066, 0.062, 0.060])
            if long_legs and loose == 1.0 and not bare
            else np.array([0.055, 0.062, 0.05, 0.038])
        )
        body.limb(knee_at, ankle, calf, shin_color)
        pitch = stride * (0.42 * np.sin(turn) - 0.18 * np.cos(turn) - 0.1) if stride > 0 else 0.0
        forward = _turn(np.array([side * 0.15, 1.0, 0.0]), pitch)
        forward = forward / np.linalg.norm(forward)
        down = _turn(-_Z, pitch)
        heel = ankle - 0.05 * s * forward + 0.045 * s * down
        toe = heel + 0.205 * s * forward
        body.limb(heel, toe, s * np.array([0.042, 0.05, 0.046, 0.03]), look.shoe_color)
        sole = s * np.array([0.034, 0.042, 0.028])
        body.limb(heel + 0.03 * s * down, toe + 0.02 * s * down, sole, look.sole_color)


def _arms(body: Body, look: Appearance, phase: float, stride: float, s: float, shoulder_x: float) -> None:
    """Add both arms with hands."""
    covered = look.outer in ("jacket", "coat")
    color = look.outer_color if covered else look.top_color
    if look.pattern == "blocks" and not covered:
        color = look.second_color
    thick = s * (0.55 + 0.45 * look.build) * (1.14 if covered else 1.0)
    sleeve = covered or look.sleeves == "long"
    for side in (-1.0, 1.0):
        turn = phase + (np.pi if side > 0 else 0.0)
        raised = look.phone and side == look.bag_side
        loaded = look.bag == "handbag" and side == look.bag_side
        swing = look.swing * stride * (0.3 if loaded or raised else 1.0)
        pitch = -0.42 * swing * np.sin(turn) + 0.04 + (0.25 if raised else 0.0)
        bend = 1.75 if raised else 0.16 + 0.3 * swing * max(0.0, -np.sin(turn) + 0.4)
        shoulder = np.array([side * shoulder_x, 0.0, 1.385 * s])
        elbow = shoulder + _turn(np.array([side * 0.055 * s, 0.0, -0.285 * s]), pitch)
        wrist = elbow + _turn(np.array([-side * (0.1 if raised else 0.0) * s, 0.0, -0.25 * s]), pitch + bend)
        hand = wrist + 0.36 * (wrist - elbow)
        body.limb(shoulder, elbow, thick * np.array([0.062, 0.055, 0.047]), color)
        if not sleeve:
            body.limb(shoulder + 0.6 * (elbow - shoulder), elbow, thick * np.array([0.046, 0.042]), look.skin)
            body.limb(shoulder, shoulder + 0.55 * (elbow - shoulder), thick * np.array([0.065, 0.06]), color)
        body.limb(elbow, wrist, thick * np.array([0.046, 0.042, 0.034]), color if sleeve else look.skin)
        body.limb(wrist, hand, s * np.array([0.03, 0.038, 0.026]), look.skin, flat=0.6)
        if loaded:
            top = hand + np.array([0.0, 0.0, -0.06 * s])
            drop = np.array([0.0, 0.06, 0.2, 0.26, 0.27])[:, None] * -_Z * s
            body.loft(top + drop, s * np.array([0.01, 0.045, 0.06, 0.06, 0.01]),
                      s * np.array([0.01, 0.12, 0.16, 0.16, 0.01]), look.bag_color, 8, square=0.5)  # fmt: skip


def _torso(body: Body, look: Appearance, stride: float, s: float, shoulder_x: float) -> None:
    """Add hips, chest, neck and what is worn over them."""
    b = look.build
    lean = 0.02 * s
    hips = (0.178 if look.feminine else 0.165) * b
    waist = (0.132 if look.feminine else 0.152) * b**1.5
    chest = 0.155 if look.feminine else 0.172
    z = np.array([0.80, 0.86, 0.94, 1.02, 1.10, 1.18, 1.26, 1.34, 1.39, 1.43, 1.455, 1.475])
    wide = np.array([0.1, hips, hips, 0.97 * hips, waist, 1.05 * waist, chest * b, chest * b + 0.008,
                     shoulder_x / s, shoulder_x / s - 0.035, 0.1, 0.065])  # fmt: skip
    deep = np.array([0.06, 0.112, 0.118, 0.112, 0.105, 0.108, 0.12, 0.122, 0.108, 0.088, 0.074, 0.06]) * b
    grow = 1.0
    if look.outer in ("jacket", "coat"):
        grow = 1.1
    centers = np.stack([0 * z, lean * (z - 0.9) / 0.5 + np.where(z < 1.05, -0.012, 0.0), z * s], axis=1)
    segments = 16
    color = look.outer_color if grow > 1.0 else look.top_color
    cloth = _pattern(look, len(z) - 1, segments, color)
    if grow > 1.0:
        cloth[:] = np.asarray(look.outer_color)
        if look.texture % 3 != 0:  # worn open: the top shows in front
            cloth[2:, segments // 4 - 1 : segments // 4 + 1] = look.top_color
    elif look.outer != "dress":
        cloth[: 2 + look.texture % 2] = look.bottom_color  # below the belt, or the top hangs over it
    body.loft(centers, wide * s * grow, deep * s * grow, cloth, segments)
    lower = {"coat": look.outer_color, "dress": look.top_color}.get(look.outer)
    if lower is None and look.bottom == "skirt":
        lower = look.bottom_color
    if lower is not None:
        edge = look.hem * 1.72
        steps = np.linspace(0.0, 1.0, 6)
        zs = 1.0 + (edge - 1.0) * steps
        flare = (hips + (0.04 if look.outer == "coat" else 0.075) * steps) * s * max(grow, 1.04)
        middle = np.stack([0 * zs, 0 * zs, zs * s], axis=1)
        # Cloth gives way to the knees, so a walking skirt is deeper than a still one.
        body.loft(middle, flare, flare * (0.86 + 0.32 * stride * steps), lower, segments, grain=0.04)
    body.limb(np.array([0.0, lean, 1.44 * s]), np.array([0.0, 0.03 * s, 1.53 * s]), s * np.array([0.058, 0.052]),
              look.skin)  # fmt: skip
    if look.bag == "backpack":
        z = np.array([1.0, 1.02, 1.12, 1.26, 1.38, 1.43, 1.44])
        middle = np.stack([0 * z, 0 * z - (0.19 * b * grow + 0.02) * s, z * s], axis=1)
        body.loft(middle, s * np.array([0.02, 0.14, 0.155, 0.15, 0.13, 0.09, 0.02]),
                  s * np.array([0.02, 0.09, 0.11, 0.1, 0.08, 0.05, 0.02]), look.bag_color, 12, square=0.6)  # fmt: skip
        for side in (-1.0, 1.0):
            x, front = side * 0.115 * s, (0.125 * b * grow + 0.005) * s
            body.limb(np.array([x, front, 1.16 * s]), np.array([x, front - 0.015, 1.38 * s]),
                      s * np.array([0.02, 0.02]), look.bag_color)  # fmt: skip
            body.limb(np.array([x, front - 0.015, 1.38 * s]), np.array([x, -0.07 * s, 1.46 * s]),
                      s * np.array([0.02, 0.02]), look.bag_color)  # fmt: skip
    elif look.bag == "shoulder":
        x = look.bag_side * (hips + 0.07) * s
        z = np.array([0.78, 0.8, 0.9, 1.0, 1.02])
        middle = np.stack([0 * z + x, 0 * z - 0.02 * s, z * s], axis=1)
        body.loft(middle, s * np.array([0.02, 0.055, 0.06, 0.05, 0.02]),
                  s * np.array([0.03, 0.16, 0.17, 0.15, 0.03]), look.bag_color, 10, square=0.5)  # fmt: skip
        for front in (0.125, -0.125):
            body.limb(np.array([x, 0.3 * front * s, 1.0 * s]), np.array([0.3 * x, front * b * grow * s, 1.24 * s]),
                      s * np.array([0.014, 0.014]), look.bag_color)  # fmt: skip
            body.limb(np.array([0.3 * x, front * b * grow * s, 1.24 * s]), np.array([-0.75 * x, 0.1 * front, 1.45 * s]),
                      s * np.array([0.014, 0.014]), look.bag_color)  # fmt: skip


def _head(body: Body, look: Appearance, s: float) -> None:
    """Add face, hair and hat."""
    # Heads vary less than heights: a child's is large for its body.
    k = 0.45 + 0.55 * s
    base = 1.72 * s - 0.232 * k
    z = np.array([0.0, 0.02, 0.06, 0.1, 0.13, 0.16, 0.19, 0.215, 0.23, 0.235])
    wide = np.array([0.02, 0.048, 0.066, 0.074, 0.078, 0.08, 0.076, 0.06, 0.034, 0.008])
    deep = np.array([0.02, 0.056, 0.078, 0.09, 0.097, 0.1, 0.095, 0.076, 0.044, 0.01])
    segments = 14
    forward = 0.035 * s + np.where(z < 0.08, 0.012, 0.0)
    centers = np.stack([0 * z, forward, base + z * k], axis=1)
    colors = np.tile(np.asarray(look.skin, float), (len(z) - 1, segments, 1))
    angle = (np.arange(segments) + 0.5) * 2 * np.pi / segments
    front = np.sin(angle)
    height = 0.5 * (z[1:] + z[:-1])
    low = {"bald": 1.0, "short": 0.075, "bob": 0.03, "long": 0.0, "bun": 0.06}[look.hair]
    line = np.where(front > 0.35, 0.178, np.where(front > -0.15, max(low, 0.1), low))
    haired = height[:, None] > line[None, :]
    if look.hair == "bald":
        haired[:] = False
    colors[haired] = look.hair_color
    face = front > 0.8
    eyes = (height > 0.1) & (height < 0.14)
    colors[np.ix_(eyes, face)] *= 0.72
    mouth = (height > 0.02) & (height < 0.06)
    if not look.feminine and look.texture % 4 == 0 and look.hair != "bald":
        colors[np.ix_(mouth, front > 0.0)] = look.hair_color
    swell = 1.0 + 0.0 * z
    if look.hair != "bald":
        swell = np.where(z > 0.14, 1.07, 1.0)
    body.loft(centers, wide * k * swell, deep * k * swell, colors, segments, grain=0.03)
    if look.hair in ("bob", "long"):
        drop = 0.06 if look.hair == "bob" else 0.24
        zs = base + k * np.array([0.2, 0.16, 0.1, 0.03, 0.03 - 0.5 * drop, 0.03 - drop, 0.025 - drop])
        middle = np.stack([0 * zs, np.array([-0.012, -0.02, -0.026, -0.03, -0.05, -0.06, -0.06]), zs], axis=1)
        body.loft(middle, k * np.array([0.05, 0.087, 0.094, 0.094, 0.092, 0.08, 0.02]),
                  k * np.array([0.05, 0.076, 0.08, 0.076, 0.06, 0.045, 0.01]), look.hair_color, 12,
                  grain=0.07)  # fmt: skip
    elif look.hair == "bun":
        at = np.array([0.0, -0.085 * k, base + 0.19 * k])
        body.limb(at - 0.01 * _Z, at + 0.01 * _Z, k * np.array([0.045, 0.045]), look.hair_color)
    if look.hat in ("cap", "beanie", "brim"):
        zs = base + k * np.array([0.135, 0.165, 0.2, 0.23, 0.25, 0.252])
        middle = np.stack([0 * zs, 0 * zs + 0.035 * s, zs], axis=1)
        body.loft(middle, k * np.array([0.086, 0.09, 0.088, 0.07, 0.04, 0.01]),
                  k * np.array([0.106, 0.109, 0.106, 0.086, 0.05, 0.01]), look.hat_color, 12)  # fmt: skip
        if look.hat != "beanie":
            all_round = look.hat == "brim"
            zs = base + k * np.array([0.16, 0.155, 0.145, 0.14])
            ahead = 0.0 if all_round else 0.075 * k
            middle = np.stack([0 * zs, 0 * zs + 0.035 * s + ahead, zs], axis=1)
            radius = k * np.array([0.01, 0.17 if all_round else 0.085, 0.17 if all_round else 0.085, 0.01])
            body.loft(middle, radius, radius * 1.1, look.hat_color, 12)
    elif look.hat == "hood":
        zs = base + k * np.array([-0.05, 0.0, 0.08, 0.16, 0.22, 0.25, 0.255])
        middle = np.stack([0 * zs, 0 * zs + 0.012 * s, zs], axis=1)
        color = look.outer_color if look.outer in ("jacket", "coat") else look.top_color
        body.loft(middle, k * np.array([0.1, 0.094, 0.098, 0.098, 0.08, 0.04, 0.01]),
                  k * np.array([0.09, 0.09, 0.096, 0.1, 0.09, 0.05, 0.01]), color, 12)  # fmt: skip


def pose_body(look: Appearance, phase: float, stride: float) -> Body:
    """Build the body of a person in one pose, its lowest foot on the ground.

    Args:
        look: who it is.
        phase: place in the gait cycle in radians; the left leg is furthest forward at pi/2.
        stride: length of the steps, 0 standing to 1 walking.
    """
    s = look.height / 1.72
    body = Body(look.texture)
    shoulder_x = (0.148 if look.feminine else 0.17) * s * (0.5 + 0.5 * look.build)
    _legs(body, look, phase, stride, s)
    body.join_limbs()
    lowest = float(body.quads[0][..., 2].min())
    _torso(body, look, stride, s, shoulder_x)
    _arms(body, look, phase, stride, s, shoulder_x)
    _head(body, look, s)
    body.join_limbs()
    for quads in body.quads:
        quads[..., 2] -= lowest
    return body
