"""People cut out of photographs, and random changes of their appearance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from fairmot.core.errors import SourceError
from fairmot.training.augment_settings import CrowdSettings


@dataclass(eq=False)
class Cutout:
    """One person, cut out: `(h, w, 4)` uint8 BGRA, trimmed to the opaque pixels, and an identity."""

    image: npt.NDArray[np.uint8]
    identity: int


def require_cutouts(root: Path) -> None:
    """Check that there are cut-outs, before processes are started that would each fail.

    Raises:
        SourceError: if there are none.
    """
    if not any((root / "cutouts").glob("full_*.webp")) and not any((root / "pennfudan" / "masks").glob("*.png")):
        raise SourceError(f"There are no cut-outs in {root / 'cutouts'}: unpack them there, or leave out such sets.")


def load_cutouts(root: Path) -> list[Cutout]:
    """Read full-body cut-outs: `cutouts/full_*.webp` and the instances of `pennfudan/masks`.

    Raises:
        SourceError: if there are none.
    """
    images = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted((root / "cutouts").glob("full_*.webp"))]
    for path in sorted((root / "pennfudan" / "masks").glob("*.png")):
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        photo = cv2.imread(str(root / "pennfudan" / "images" / f"{path.stem}.jpg"))
        if mask is None or photo is None or mask.shape != photo.shape[:2]:
            continue
        for value in range(1, int(mask.max()) + 1):
            alpha = cv2.GaussianBlur((mask == value).astype(np.uint8) * 255, (3, 3), 0)
            images.append(np.dstack((photo, alpha)))
    cutouts: list[Cutout] = []
    for image in images:
        if image is None or image.ndim != 3 or image.shape[2] != 4:
            continue
        rows, columns = np.nonzero(image[..., 3] > 127)
        if len(rows) and rows.max() - rows.min() > 80:
            trimmed = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            cutouts.append(Cutout(np.ascontiguousarray(trimmed), len(cutouts)))
    if not cutouts:
        raise SourceError(f"There are no cut-outs in {root / 'cutouts'}.")
    return cutouts


def jitter(image: npt.NDArray[np.uint8], generator: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Change pose and colors slightly: shear, width, contrast, tint."""
    height, width = image.shape[:2]
    stretch, shear = np.exp(generator.uniform(-0.15, 0.15)), generator.uniform(-0.08, 0.08)
    matrix = np.array([[stretch, shear, max(0.0, -shear * height)], [0, 1, 0]])
    out_width = int(np.ceil(stretch * width + abs(shear) * height))
    warped = cv2.warpAffine(image, matrix, (out_width, height), flags=cv2.INTER_LINEAR)
    if generator.random() < 0.5:
        warped = warped[:, ::-1]
    gain = np.exp(generator.uniform(-0.15, 0.15, 3)) * np.exp(generator.uniform(-0.5, 0.25))
    color = np.clip(warped[..., :3] * gain + generator.uniform(-15, 15), 0, 255)
    return np.dstack((color.astype(np.uint8), warped[..., 3]))


def posed(
    image: npt.NDArray[np.uint8], settings: CrowdSettings, generator: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Return a cut-out `(h, w, 4)` rotated and in another perspective, trimmed to its opaque pixels."""
    if not settings.rotation and not settings.perspective:
        return image
    height, width = image.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    inwards = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * (width, height)
    angle = generator.uniform(-settings.rotation, settings.rotation)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = (corners + inwards * generator.uniform(0, settings.perspective, (4, 2))) @ turn.T
    moved -= moved.min(0)
    matrix = cv2.getPerspectiveTransform(corners.astype(np.float32), moved.astype(np.float32))
    out_width, out_height = np.ceil(moved.max(0)).astype(int).tolist()
    warped = np.asarray(cv2.warpPerspective(image, matrix, (out_width, out_height)), np.uint8)
    rows, columns = np.nonzero(warped[..., 3] > 127)
    if not len(rows):
        return image
    return warped[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def recolored(
    image: npt.NDArray[np.uint8], settings: CrowdSettings, generator: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Return a cut-out `(h, w, 4)` with other contrast and saturation."""
    opaque = image[..., 3] > 127
    if not settings.appearance or not opaque.any():
        return image
    contrast, saturation = np.exp(generator.uniform(-settings.appearance, settings.appearance, 2))
    color = image[..., :3].astype(np.float32)
    middle = color[opaque].mean()
    color = (color - middle) * contrast + middle
    gray = color.mean(-1, keepdims=True)
    color = np.clip(gray + (color - gray) * saturation, 0, 255)
    return np.dstack((color.astype(np.uint8), image[..., 3]))


def matched(
    image: npt.NDArray[np.uint8], surroundings: npt.NDArray[np.float32], amount: float
) -> npt.NDArray[np.uint8]:
    """Return a cut-out `(h, w, 4)` with colors moved toward those of its surroundings.

    Mean and standard deviation of each CIELAB channel (Reinhard et al., "Color Transfer between Images", 2001), the
    change of the deviation limited, since a plain wall must not make people plain.

    Args:
        image: the cut-out.
        surroundings: `(h, w, 3)` BGR in 0 to 255.
        amount: fraction of the difference, 0 to 1.
    """
    opaque = image[..., 3] > 127
    if not opaque.any() or not surroundings.size:
        return image
    own = cv2.cvtColor(image[..., :3].astype(np.float32) / 255, cv2.COLOR_BGR2LAB)
    around = cv2.cvtColor(np.clip(surroundings, 0, 255).astype(np.float32) / 255, cv2.COLOR_BGR2LAB).reshape(-1, 3)
    mean, spread = own[opaque].mean(0), own[opaque].std(0)
    ratio = np.clip(around.std(0) / np.maximum(spread, 1e-3), 0.6, 1.6)
    target = (own - mean) * ratio + around.mean(0)
    color = cv2.cvtColor((own + amount * (target - own)).astype(np.float32), cv2.COLOR_LAB2BGR)
    return np.dstack((np.clip(color * 255 + 0.5, 0, 255).astype(np.uint8), image[..., 3]))


def softened(alpha: npt.NDArray[np.uint8], width: float) -> npt.NDArray[np.uint8]:
    """Fade a mask `(h, w)` linearly over `width` px inside its border, so that nothing outside of it is visible."""
    if width <= 0:
        return alpha
    inside = cv2.copyMakeBorder((alpha > 127).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, 5)[1:-1, 1:-1]
    return np.asarray(alpha * np.clip((distance - 0.5) / width, 0, 1), np.uint8)
