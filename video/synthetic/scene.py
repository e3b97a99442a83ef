"""A street scene that the project renders itself, with exact ground truth: for the demo, tests, load and training."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fairmot.core.records import ByteArray, FloatArray, IntArray
from fairmot.video.synthetic.backdrop import cover, cover_within, draw_backdrop
from fairmot.video.synthetic.crowd import Crowd, Walker
from fairmot.video.synthetic.figure import Light, Sprite, draw_figure
from fairmot.video.synthetic.pinhole import Camera

_SPRITE_BYTES = 160 * 2**20
_CROWDED = 60
# How finely views are distinguished: headings and gait phases per turn, degrees of elevation, and the resolution
# of sprites relative to what is shown. A crowd gets less, as its sprites would not fit the cache otherwise.
_FINE, _COARSE = (20, 12, 10.0, 1.0), (12, 8, 15.0, 0.65)
_SCALES = (24.0, 48.0, 80.0, 128.0, 192.0, 256.0)  # pixels per meter at which sprites are kept
_IGNORED_BELOW = 0.15  # visibility under which a row is flagged as not to be scored

_SpriteKey = tuple[int, int, float, int, float, float]


@dataclass(frozen=True)
class Optics:
    """The effects of camera and weather on the image.

    Attributes:
        noise: standard deviation of the sensor noise in gray levels.
        blur: standard deviation of the lens blur in pixels, 0 for none.
        gain: factor on brightness in blue, green and red.
        gamma: exponent on brightness; above 1 darkens the middle tones.
    """

    noise: float = 2.0
    blur: float = 0.45
    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    gamma: float = 1.0


@dataclass(frozen=True, eq=False)
class SceneBoxes:
    """Everybody who is at least partly inside one frame; nearer people come later.

    Attributes:
        ids: `(n,)` int64, from 1, one person each in a scene.
        tlwh: `(n, 4)` float32, tight box of the whole body as drawn, in pixels; may reach outside the frame.
        visibility: `(n,)` float32, share of the body's pixels that is inside the frame and not covered.
    """

    ids: IntArray
    tlwh: FloatArray
    visibility: FloatArray

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class _Placed:
    """A sprite, scaled for one frame, and where its top left corner goes."""

    walker: Walker
    sprite: Sprite
    pixels: ByteArray
    left: int
    top: int
    foot: tuple[float, float]
    depth: float
    zoom: tuple[float, float]


class Scene:
    """People walking in a street, seen by a raised camera; every frame is a pure function of the arguments.

    Args:
        people: people on the way at any time; those who leave are replaced or return with their id.
        size: `(width, height)` of the frames in pixels.
        frames: length of the sequence; any frame number can be rendered all the same.
        frame_rate: frames per second.
        seed: the same seed gives the same scene.
        camera: the view; by default from 4.5 m above the ground.
        light: where light comes from.
        optics: noise, blur and tones of the image.
        background: BGR image to use instead of the drawn street; it is resized to `size`.

    Raises:
        ValueError: if there are no frames, fewer than 0 people, or the size is below 64 x 64 pixels.
    """

    def __init__(
        self,
        people: int = 16,
        size: tuple[int, int] = (1280, 720),
        frames: int = 600,
        frame_rate: float = 25.0,
        seed: int = 0,
        *,
        camera: Camera | None = None,
        light: Light | None = None,
        optics: Optics | None = None,
        background: ByteArray | None = None,
    ) -> None:
        if people < 0 or frames < 1 or frame_rate <= 0 or min(size) < 64 or seed < 0:
            raise ValueError(
                "A scene needs at least 0 people, 1 frame, a positive frame rate, a seed of at least 0 and a size of "
                f"at least 64 x 64, not people={people}, frames={frames}, frame_rate={frame_rate}, seed={seed}, "
                f"size={size}"
            )
        self.size = (int(size[0]), int(size[1]))
        self.people, self.frames, self.frame_rate, self.seed = people, frames, frame_rate, seed
        self.camera = camera or Camera(self.size, height=4.6, pitch=np.deg2rad(14.0), focal=1.5 * self.size[1])
        self.light = light or Light()
        self.optics = optics or Optics()
        self._crowd = Crowd(self.camera, people, seed)
        if background is None:
            self._background, self._occluders = draw_backdrop(self.camera, seed, self.light)
        else:
            self._background = np.asarray(cv2.resize(background, self.size, interpolation=cv2.INTER_AREA), np.uint8)
            self._occluders = []
        rng = np.random.default_rng([seed, 11])
        width, height = self.size
        noise = rng.normal(0.0, self.optics.noise, (height + 64, width + 64, 1)).round()
        noise = np.repeat(noise, 3, axis=2)
        self._brighter = np.clip(noise, 0, 255).astype(np.uint8)
        self._darker = np.clip(-noise, 0, 255).astype(np.uint8)
        self._sprites: OrderedDict[_SpriteKey, Sprite] = OrderedDict()
        self._sprite_bytes = 0
        self._last: tuple[int, list[_Placed]] | None = None

    @classmethod
    def random(
        cls,
        seed: int,
        size: tuple[int, int] = (1280, 720),
        people: int | None = None,
        frames: int = 600,
        background: ByteArray | None = None,
    ) -> Scene:
        """Return a scene whose camera, light, optics and crowd are drawn from the seed, for training.

        Args:
            seed: chooses everything.
            size: `(width, height)` in pixels.
            people: number of people, by default 4 to 40.
            frames: length of the sequence.
            background: see `Scene`.
        """
        rng = np.random.default_rng([seed, 13])
        raised = rng.uniform(2.6, 8.0)
        pitch = np.deg2rad(rng.uniform(4.0, 14.0) + 2.2 * (raised - 2.6))
        angle = rng.uniform(0.0, 2.0 * np.pi)
        height = rng.uniform(0.55, 0.95)
        flat = float(np.sqrt(1.0 - height**2))
        overcast = rng.random() < 0.4
        return cls(
            people=int(rng.integers(4, 41)) if people is None else people,
            size=size,
            frames=frames,
            seed=seed,
            camera=Camera(size, raised, float(pitch), float(rng.uniform(0.95, 2.0)) * size[1]),
            light=Light(
                (flat * float(np.cos(angle)), flat * float(np.sin(angle)), float(height)),
                ambient=float(rng.uniform(0.65, 0.85) if overcast else rng.uniform(0.38, 0.6)),
                shadow=float(rng.uniform(0.0, 0.1) if overcast else rng.uniform(0.25, 0.6)),
            ),
            optics=Optics(
                noise=float(rng.uniform(0.5, 6.0)),
                blur=float(rng.uniform(0.0, 1.1) * size[1] / 720),
                gain=tuple((rng.uniform(0.65, 1.2) * rng.uniform(0.93, 1.07, 3)).tolist()),
                gamma=float(rng.uniform(0.8, 1.35)),
            ),
            background=background,
        )

    def render(self, index: int) -> ByteArray:
        """Return frame `index` (from 1) as `(height, width, 3)` uint8 in BGR; the caller owns it."""
        placed = self._place(index)
        image = self._background.copy()
        for one in placed:
            self._shade(image, one)
        occluders = list(self._occluders)
        for one in placed:
            while occluders and occluders[0].depth > one.depth:
                occluders.pop(0)
            cover(image, one.pixels, one.left, one.top)
            high, wide = one.pixels.shape[:2]
            box = one.left, one.top, one.left + wide, one.top + high
            for occluder in occluders:  # what is nearer than the person
                cover_within(image, occluder.pixels, occluder.left, occluder.top, box)
        return self._expose(image, index)

    def ground_truth(self, index: int) -> SceneBoxes:
        """Return who is in frame `index`, where, and how much of them is visible."""
        width, height = self.size
        placed = self._place(index)
        owner = np.zeros((height, width), np.uint16)
        occluders = list(self._occluders)

        def claim(pixels: ByteArray, left: int, top: int, number: int) -> None:
            x0, y0, x1, y1 = max(left, 0), max(top, 0), left + pixels.shape[1], top + pixels.shape[0]
            if x0 < min(x1, width) and y0 < min(y1, height):
                area = owner[y0:y1, x0:x1]
                part = pixels[y0 - top : y0 - top + area.shape[0], x0 - left : x0 - left + area.shape[1], 3]
                area[part > 127] = number

        for number, one in enumerate(placed, 1):
            while occluders and occluders[0].depth > one.depth:
                occluder = occluders.pop(0)
                claim(occluder.pixels, occluder.left, occluder.top, 0)
            claim(one.pixels, one.left, one.top, number)
        for occluder in occluders:
            claim(occluder.pixels, occluder.left, occluder.top, 0)

        boxes, visible = [], []
        for number, one in enumerate(placed, 1):
            high, wide = one.pixels.shape[:2]
            boxes.append((one.left, one.top, wide, high))
            area = owner[max(one.top, 0) : one.top + high, max(one.left, 0) : one.left + wide]
            whole = int(np.count_nonzero(one.pixels[:, :, 3] > 127))
            visible.append(int(np.count_nonzero(area == number)) / max(whole, 1))
        return SceneBoxes(
            np.array([one.walker.id for one in placed], np.int64),
            np.array(boxes, np.float32).reshape(-1, 4),
            np.array(visible, np.float32),
        )

    def ground_truth_rows(self, index: int) -> Iterator[str]:
        """Yield the lines of frame `index` for a MOTChallenge `gt.txt`: frame, id, box, flag, class, visibility."""
        boxes = self.ground_truth(index)
        rows = zip(boxes.ids.tolist(), boxes.tlwh.tolist(), boxes.visibility.tolist(), strict=True)
        for id_, (x, y, w, h), visibility in rows:
            flag = int(visibility >= _IGNORED_BELOW)
            # MOTChallenge counts pixels from 1.
            yield f"{index},{id_},{x + 1:g},{y + 1:g},{w:g},{h:g},{flag},1,{visibility:.3f}\n"

    def write_sequence(self, folder: Path | str) -> Path:
        """Write the scene as a MOTChallenge sequence (`img1`, `gt/gt.txt`, `seqinfo.ini`) and return its folder.

        Rows whose visibility is below 0.15 carry the flag 0, which means that they are not scored.
        """
        folder = Path(folder)
        (folder / "img1").mkdir(parents=True, exist_ok=True)
        (folder / "gt").mkdir(exist_ok=True)
        with (folder / "gt" / "gt.txt").open("w") as truth:
            for index in range(1, self.frames + 1):
                _, data = cv2.imencode(".jpg", self.render(index), [cv2.IMWRITE_JPEG_QUALITY, 92])
                (folder / "img1" / f"{index:06d}.jpg").write_bytes(data.tobytes())
                truth.writelines(self.ground_truth_rows(index))
        (folder / "seqinfo.ini").write_text(
            f"[Sequence]\nname={folder.name}\nimDir=img1\nframeRate={self.frame_rate:g}\nseqLength={self.frames}\n"
            f"imWidth={self.size[0]}\nimHeight={self.size[1]}\nimExt=.jpg\n"
        )
        return folder

    def _place(self, index: int) -> list[_Placed]:
        """Return the sprites of frame `index`, scaled, from the farthest to the nearest."""
        if self._last is not None and self._last[0] == index:
            return self._last[1]
        width, height = self.size
        placed = []
        for walker in self._crowd.at((index - 1) / self.frame_rate):
            column, row, depth = self.camera.project(walker.x, walker.y)
            elevation = float(np.arctan2(self.camera.height, np.hypot(walker.x, walker.y)))
            scale = self.camera.focal / depth
            # Headings are seen relative to the line of sight.
            sprite, kept = self._sprite(walker, walker.heading + np.arctan2(walker.x, walker.y), elevation, scale)
            zoom = scale / sprite.scale, scale / sprite.scale * float(np.cos(elevation) / np.cos(kept))
            wide = max(1, round(sprite.pixels.shape[1] * zoom[0]))
            high = max(1, round(sprite.pixels.shape[0] * zoom[1]))
            left, top = round(column - sprite.anchor[0] * zoom[0]), round(row - sprite.anchor[1] * zoom[1])
            if left >= width or top >= height or left + wide <= 0 or top + high <= 0:
                continue
            pixels = np.asarray(cv2.resize(sprite.pixels, (wide, high), interpolation=cv2.INTER_AREA), np.uint8)
            placed.append(_Placed(walker, sprite, pixels, left, top, (column, row), depth, zoom))
        placed.sort(key=lambda one: -one.depth)
        self._last = (index, placed)
        return placed

    def _sprite(self, walker: Walker, heading: float, elevation: float, scale: float) -> tuple[Sprite, float]:
        """Return the kept sprite nearest to this view, drawing it at first, and the elevation it was drawn for."""
        headings, phases, step, detail = _COARSE if self.people > _CROWDED else _FINE
        direction = round(heading / (2 * np.pi) * headings) % headings
        kept_elevation = float(np.deg2rad(round(np.rad2deg(elevation) / step) * step))
        # Standing still, everybody falls back to one pose, so that a stop does not fill the cache.
        phase = round(walker.phase / (2 * np.pi) * phases) % phases if walker.stride > 0 else 0
        kept_scale = next((kept for kept in _SCALES if kept >= detail * scale), _SCALES[-1])
        key = (walker.id, direction, kept_elevation, phase, walker.stride, kept_scale)
        sprite = self._sprites.get(key)
        if sprite is not None:
            self._sprites.move_to_end(key)
            return sprite, kept_elevation
        sprite = draw_figure(
            walker.look,
            direction * 2 * np.pi / headings,
            kept_elevation,
            phase * 2 * np.pi / phases,
            walker.stride,
            kept_scale,
            self.light,
        )
        self._sprites[key] = sprite
        self._sprite_bytes += sprite.nbytes
        while self._sprite_bytes > _SPRITE_BYTES:
            self._sprite_bytes -= self._sprites.popitem(last=False)[1].nbytes
        return sprite, kept_elevation

    def _shade(self, image: ByteArray, one: _Placed) -> None:
        """Darken the ground under a person, in place."""
        shadow = one.sprite.shadow
        zoom = one.zoom[0] * one.sprite.scale / one.sprite.shadow_scale
        wide, high = max(1, round(shadow.shape[1] * zoom)), max(1, round(shadow.shape[0] * zoom))
        left = round(one.foot[0] - one.sprite.shadow_anchor[0] * zoom)
        top = round(one.foot[1] - one.sprite.shadow_anchor[1] * zoom)
        x0, y0 = max(left, 0), max(top, 0)
        under = image[y0 : max(top + high, 0), x0 : max(left + wide, 0)]
        if under.size:
            mask = cv2.bitwise_not(cv2.resize(shadow, (wide, high), interpolation=cv2.INTER_LINEAR))
            mask = mask[y0 - top : y0 - top + under.shape[0], x0 - left : x0 - left + under.shape[1]]
            cv2.multiply(under, cv2.merge([mask] * 3), under, 1.0 / 255.0)

    def _expose(self, image: ByteArray, index: int) -> ByteArray:
        """Apply blur, tones and the noise of frame `index`."""
        optics = self.optics
        if optics.blur > 0.2:
            window = (3, 3) if optics.blur < 0.8 else (5, 5)
            cv2.GaussianBlur(image, window, optics.blur, image)
        rng = np.random.default_rng([self.seed, index, 17])
        # Automatic exposure wavers a little.
        flicker = 1.0 + 0.006 * float(np.sin(0.13 * index)) + rng.normal(0.0, 0.002)
        tones = (np.arange(256) / 255.0) ** optics.gamma * 255.0 * flicker
        table = np.clip(tones[:, None] * np.array(optics.gain), 0, 255).round().astype(np.uint8).reshape(1, 256, 3)
        cv2.LUT(image, table, image)
        x, y = rng.integers(0, 64, 2).tolist()
        width, height = self.size
        cv2.add(image, self._brighter[y : y + height, x : x + width], image)
        cv2.subtract(image, self._darker[y : y + height, x : x + width], image)
        return image
