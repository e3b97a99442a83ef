"""Frames from image files: one image, a folder of images, or a MOTChallenge sequence."""

from __future__ import annotations

import itertools
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from fairmot.core import Frame, SourceError
from fairmot.core.limits import MAX_PIXELS
from fairmot.core.records import ByteArray
from fairmot.core.sequence_info import MOST_FRAMES, SequenceInfo, read_sequence_info
from fairmot.video.image_file import IMAGE_SUFFIXES, read_image
from fairmot.video.image_header import ImageError
from fairmot.video.source import Source

log = logging.getLogger(__name__)

DEFAULT_FRAME_RATE = 30.0

_INFO, _IMAGES = "seqinfo.ini", "img1"
_JUNK = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx"})


class ImageSource(Source):
    """Images of one folder, or a single one, as 8-bit BGR, upright by their EXIF orientation.

    In a plain folder the images are numbered from 1 in natural order (`2.jpg` before `10.jpg`) and
    shown at 30 frames per second. In a MOTChallenge sequence, a folder with `seqinfo.ini` or `img1/`,
    the number in the file name is the frame's number; `seqinfo.ini` states `name`, `imDir`, `imExt`,
    `frameRate` and `seqLength`, and `gt/gt.txt` is its ground truth. Names whose numbers cannot be frame
    numbers (times such as 1700000000123, repeated numbers, 0) are numbered in natural order too.

    An image that is missing or cannot be read is skipped with a warning and keeps its number; one that cannot
    be read sets `damaged`. Hidden files are ignored. Images of another size are resized to the first one's.

    Args:
        path: the folder of images or of the sequence, or an image file.
        max_pixels: images with more pixels are not decoded and count as unreadable.

    Raises:
        SourceError: if there is no image that can be read, or `seqinfo.ini` is wrong.
    """

    def __init__(self, path: Path, *, max_pixels: int = MAX_PIXELS) -> None:
        self._max_pixels = max_pixels
        self._unreadable = 0
        info = SequenceInfo()
        truth: Path | None = None
        if not path.is_dir():
            self._paths = {1: path}
            name = path.stem
        elif is_sequence(path):
            if (path / _INFO).is_file():
                info = read_sequence_info(path / _INFO)
            self._paths = _by_number_in_name(_list_images(_image_folder(path, info), info.image_suffix))
            name = info.name or path.resolve().name
            truth = path / "gt" / "gt.txt"
        else:
            self._paths = dict(enumerate(_list_images(path), 1))
            name = path.resolve().name
        first = self._first_readable(path)
        super().__init__(
            name,
            (first.shape[1], first.shape[0]),
            info.frame_rate or DEFAULT_FRAME_RATE,
            numbers=list(self._paths),
            ground_truth=truth if truth is not None and truth.is_file() else None,
        )
        self._report_missing(info)

    def _first_readable(self, path: Path) -> ByteArray:
        """Return the first image that can be read."""
        reasons = []
        for image_path in self._paths.values():
            try:
                return read_image(image_path, self._max_pixels)
            except ImageError as error:
                reasons.append(f"{image_path.name}: {error}")
        if not path.is_dir():
            raise SourceError(f"The image {path} cannot be read ({reasons[0].removeprefix(f'{path.name}: ')}).")
        folder = next(iter(self._paths.values())).parent
        raise SourceError(f"None of the {len(reasons)} images in {folder} can be read; the first is {reasons[0]}.")

    def _report_missing(self, info: SequenceInfo) -> None:
        """Warn of frames that the sequence should have and no image has."""
        if info.stated_length is not None and info.length is None:
            log.warning(
                "The seqinfo.ini of %s states %.10g frames, more than any sequence has; its images alone are taken.",
                *(self.name, info.stated_length),
            )
        length = max(info.length or 0, *self._paths)
        missing = length - len(self._paths)
        if missing:
            first = next(number for number in itertools.count(1) if number not in self._paths)
            log.warning("%s lacks %d images, first number %d; they are skipped.", self.name, missing, first)

    def _frames(self) -> Iterator[Frame]:
        try:
            for number, path in self._paths.items():
                if not self._wanted(number):
                    continue
                try:
                    image = read_image(path, self._max_pixels)
                except ImageError as error:
                    self._note_damage(number, path, error)
                    continue
                yield Frame(number, (number - 1) / self.frame_rate, self._resized(number, image))
        finally:
            if self._unreadable > 1:
                log.warning("%s", self.damaged)

    def _note_damage(self, number: int, path: Path, error: ImageError) -> None:
        """Set `damaged`; warn of the first image that cannot be read, as the others may be thousands."""
        self._unreadable += 1
        if self._unreadable == 1:
            log.warning("The image %s cannot be read; frame %d is skipped: %s.", path, number, error)
            self._first_unreadable = path.name
        self.damaged = (
            f"{self._unreadable} of {len(self._paths)} images of {self.name} cannot be read, first "
            f"{self._first_unreadable}; their frames are skipped."
        )

    def _resized(self, number: int, image: ByteArray) -> ByteArray:
        """Return an image in the size of the first."""
        height, width = image.shape[:2]
        if (width, height) == self.size:
            return image
        self._report_resize(number, (width, height))
        shrinks = width * height > self.width * self.height
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(image, self.size, interpolation=interpolation), np.uint8)


def is_sequence(folder: Path) -> bool:
    """Return whether a folder is a MOTChallenge sequence."""
    # os.path answers False where pathlib raises, as in a folder that may not be read.
    return os.path.isfile(folder / _INFO) or os.path.isdir(folder / _IMAGES)


def holds_images(folder: Path) -> bool:
    """Return whether `ImageSource` finds an image in a folder."""
    try:
        with os.scandir(folder) as entries:
            return is_sequence(folder) or any(map(_is_image, entries))
    except OSError:
        return False


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name is no data of the user, as `._0001.jpg` of macOS."""
    return name.startswith(".") or is_junk(name)


def is_junk(name: str) -> bool:
    """Return whether an operating system makes files or folders of this name by itself."""
    return name.lower() in _JUNK


def natural_key(path: Path) -> list[tuple[int, int, str]]:
    """Return a sort key that compares runs of digits as numbers."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]


def _image_folder(folder: Path, info: SequenceInfo) -> Path:
    """Return the folder of a sequence's images; `imDir` must not lead out of the sequence."""
    if info.image_folder is None:
        return folder / _IMAGES
    images = folder / info.image_folder
    if not Path(os.path.realpath(images)).is_relative_to(os.path.realpath(folder)):
        raise SourceError(
            f"{folder / _INFO}: imDir must be a folder inside the sequence, not {info.image_folder!r}; move the images "
            "there, or give their folder as the source."
        )
    return images


def _list_images(folder: Path, suffix: str | None = None) -> list[Path]:
    """Return the images of a folder in natural order, only those that end in `suffix` if there are any.

    A symbolic link that leads nowhere counts as an image, so that those after it keep their numbers.
    """
    try:
        with os.scandir(folder) as entries:
            paths = [folder / entry.name for entry in entries if _is_image(entry)]
    except OSError as error:
        raise SourceError(f"The image folder {folder} cannot be read: {error.strerror}.") from error
    if not paths:
        kinds = ", ".join(sorted(known[1:] for known in IMAGE_SUFFIXES))
        raise SourceError(
            f"{folder} holds no images ({kinds}); give a folder of images, a MOT sequence or a video file."
        )
    chosen = [path for path in paths if path.suffix.lower() == suffix] or paths
    return sorted(chosen, key=natural_key)


def _is_image(entry: os.DirEntry[str]) -> bool:
    """Return whether a file is an image by its name, and a file; also if it cannot be found out whether it is one."""
    if os.path.splitext(entry.name)[1].lower() not in IMAGE_SUFFIXES or is_hidden(entry.name):
        return False
    try:
        return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))
    except OSError:
        return True


def _by_number_in_name(paths: list[Path]) -> dict[int, Path]:
    """Return paths by the last number in their names, in rising order; by position where these are no frame numbers."""
    runs = [re.findall(r"\d+", path.stem) for path in paths]
    numbers = [int(run[-1]) for run in runs if run]
    if len(set(numbers)) == len(paths) and min(numbers) >= 1:
        if max(numbers) <= MOST_FRAMES:
            return dict(sorted(zip(numbers, paths, strict=True)))
        log.warning(
            "The image names in %s hold numbers up to %d, so they are times; images are numbered in order.",
            *(paths[0].parent, max(numbers)),
        )
    else:
        log.warning(
            "The image names in %s are no distinct numbers from 1; images are numbered in order.", paths[0].parent
        )
    return dict(enumerate(paths, 1))
