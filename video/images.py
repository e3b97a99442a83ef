"""Frames from image files: a folder of images, or a MOTChallenge sequence."""

from __future__ import annotations

import configparser
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from core import Frame, SourceError
from core.records import ByteArray
from video.source import Source

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
DEFAULT_FRAME_RATE = 30.0


class ImageSource(Source):
    """Images of one folder, as 8-bit BGR.

    In a plain folder the images are numbered from 1 in natural order (`2.jpg` before `10.jpg`) and
    shown at 30 frames per second. In a MOTChallenge sequence, a folder with `seqinfo.ini` or `img1/`,
    the number in the file name is the frame's number; `seqinfo.ini` gives `name`, `imDir`, `imExt`,
    `frameRate` and `seqLength`, and `gt/gt.txt` is its ground truth.

    An image that is missing or cannot be read is skipped with a warning and keeps its number. Images of
    another size are resized to the first one's.

    Args:
        folder: the folder of images or of the sequence.

    Raises:
        SourceError: if there is no image that can be read, or `seqinfo.ini` is wrong.
    """

    def __init__(self, folder: Path) -> None:
        info: dict[str, str] = {}
        image_folder, truth = folder, None
        sequence = is_sequence(folder)
        if sequence:
            info = _read_seqinfo(folder / "seqinfo.ini")
            image_folder = folder / info.get("imDir", "img1")
            truth = folder / "gt" / "gt.txt"
        paths = _list_images(image_folder, info.get("imExt", "").lower())
        self._paths = _by_number_in_name(paths) if sequence else dict(enumerate(paths, 1))
        first = next((image for image in map(read_image, self._paths.values()) if image is not None), None)
        if first is None:
            raise SourceError(f"None of the {len(paths)} images in {image_folder} can be read; check the files.")
        super().__init__(
            info.get("name", folder.resolve().name),
            (first.shape[1], first.shape[0]),
            _positive(info.get("frameRate", str(DEFAULT_FRAME_RATE)), folder),
            numbers=list(self._paths),
            ground_truth=truth if truth is not None and truth.is_file() else None,
        )
        length = max(int(_positive(info.get("seqLength", "1"), folder)), *self._paths)
        missing = sorted(set(range(1, length + 1)) - set(self._paths))
        if missing:
            log.warning("%s lacks %d images, first number %d; they are skipped.", self.name, len(missing), missing[0])

    def _frames(self) -> Iterator[Frame]:
        for number, path in self._paths.items():
            if not self._wanted(number):
                continue
            image = read_image(path)
            if image is None:
                log.warning("The image %s cannot be read; frame %d is skipped.", path, number)
                continue
            height, width = image.shape[:2]
            if (width, height) != self.size:
                self._report_resize(number, (width, height))
                shrinks = width * height > self.width * self.height
                image = np.asarray(
                    cv2.resize(image, self.size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR),
                    np.uint8,
                )
            yield Frame(number, (number - 1) / self.frame_rate, image)


def is_sequence(folder: Path) -> bool:
    """Tell whether a folder is a MOTChallenge sequence."""
    return (folder / "seqinfo.ini").is_file() or (folder / "img1").is_dir()


def natural_key(path: Path) -> list[tuple[int, int, str]]:
    """Return a sort key that compares runs of digits as numbers."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]


def read_image(path: Path) -> ByteArray | None:
    """Return an image as `(height, width, 3)` BGR uint8, turned as its EXIF data asks; None if it cannot be read."""
    try:
        # Not imread: that fails on non-ASCII paths on Windows and writes its own warnings.
        encoded = np.frombuffer(path.read_bytes(), np.uint8)
        image = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if len(encoded) else None
    except (OSError, cv2.error):
        return None
    return None if image is None else np.asarray(image, np.uint8)


def _list_images(folder: Path, suffix: str) -> list[Path]:
    """Return the images of a folder in natural order, only those that end in `suffix` if there are any."""
    try:
        paths = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
    except OSError as error:
        raise SourceError(f"The image folder {folder} cannot be read: {error.strerror}.") from error
    if not paths:
        kinds = ", ".join(sorted(known[1:] for known in IMAGE_SUFFIXES))
        raise SourceError(
            f"{folder} holds no images ({kinds}); give a folder of images, a MOT sequence or a video file."
        )
    chosen = [path for path in paths if path.suffix.lower() == suffix] or paths
    return sorted(chosen, key=natural_key)


def _by_number_in_name(paths: list[Path]) -> dict[int, Path]:
    """Return paths by the last number in their names, in rising order; by position where names give no numbers."""
    runs = [re.findall(r"\d+", path.stem) for path in paths]
    numbers = [int(run[-1]) for run in runs if run]
    if len(set(numbers)) == len(paths) and min(numbers) >= 1:
        return dict(sorted(zip(numbers, paths, strict=True)))
    log.warning("The image names in %s are no distinct numbers from 1; images are numbered in order.", paths[0].parent)
    return dict(enumerate(paths, 1))


def _read_seqinfo(path: Path) -> dict[str, str]:
    """Return the `[Sequence]` section of `seqinfo.ini` with its keys as written, empty without the file."""
    if not path.exists():
        return {}
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    try:
        parser.read_string(path.read_text(encoding="utf-8-sig"))
        return dict(parser["Sequence"])
    except (OSError, UnicodeDecodeError, configparser.Error, KeyError) as error:
        raise SourceError(f"{path} cannot be read; it needs a [Sequence] section with key=value lines.") from error


def _positive(text: str, folder: Path) -> float:
    """Return a positive number of `seqinfo.ini`."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise SourceError(f'{folder / "seqinfo.ini"} holds "{text}" where a positive number is needed.')
    return value
