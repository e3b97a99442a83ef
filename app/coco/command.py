"""The evaluation of a model's detections on annotated images, for the command `fairmot evaluate-detections`."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fairmot.app.coco.annotations import Annotations, CocoImage, read_annotations, require_images
from fairmot.app.coco.detectors import Detector
from fairmot.app.coco.results import match_classes, results_of, write_results
from fairmot.app.coco.scoring import score
from fairmot.core.console import print_warning
from fairmot.core.errors import SourceError
from fairmot.core.files import check_writable
from fairmot.core.records import ByteArray
from fairmot.core.signals import StopSignals
from fairmot.core.text import printable
from fairmot.core.timing import StageClock
from fairmot.video.image_file import read_image
from fairmot.video.image_header import ImageError

_SIGNAL_EXIT_CODE = 128  # plus the number of the signal, as shells report it

OpenDetector = Callable[[StageClock], AbstractContextManager[Detector]]
"""Opens a detector that adds the seconds of its stages to a clock."""


@dataclass(frozen=True)
class Task:
    """What is evaluated, and on what.

    Attributes:
        annotations: COCO annotation file.
        images: folder of its images.
        output: file for the results.
        classes: names of the model's classes, in place of its own; may be empty.
    """

    annotations: Path
    images: Path
    output: Path
    classes: Sequence[str] = ()


def evaluate_detections(task: Task, open_detector: OpenDetector) -> int:
    """Detect the objects of every image, write the results, print COCOeval's scores and the time; return the exit code.

    Raises:
        UserError: if an image, the annotation file, the model or the output is invalid. Nothing is written then.
    """
    annotations = read_annotations(task.annotations)
    require_images(annotations, task.images)
    check_writable(task.output)
    clock = StageClock()
    with open_detector(clock) as detector:
        categories = match_classes(detector.class_names, task.classes, annotations)
        evaluated = sorted(set(categories.values()))
        if annotations.objects and not any(each.category_id in evaluated for each in annotations.objects):
            raise SourceError(
                f"{annotations.path} has no annotations of the model's classes: give a file that has, or one without "
                "annotations to write the results alone."
            )
        start = time.perf_counter()
        with StopSignals() as signals:
            results, done = _detect(annotations, task.images, detector, categories, clock, signals)
        if signals.received is not None:
            name, count = signal.Signals(signals.received).name, len(annotations.images)
            print_warning(f"Stopped by {name} after {done} of {count} images; nothing was written.")
            return _SIGNAL_EXIT_CODE + signals.received
        seconds = time.perf_counter() - start
        description = detector.description
    write_results(task.output, results)
    print(f"{printable(task.output)}: {len(results)} detections in {done} images by {printable(description)}")
    if annotations.objects:
        if not results:
            print_warning("Nothing was found in any image, so that all scores are 0.")
        print(*score(annotations, results, evaluated).lines, sep="\n")
    else:
        print(f"{printable(annotations.path)} has no annotations, so nothing is scored.")
    _print_times(clock, seconds, done)
    return 0


def _detect(
    annotations: Annotations,
    folder: Path,
    detector: Detector,
    categories: dict[int, int],
    clock: StageClock,
    signals: StopSignals,
) -> tuple[list[dict[str, Any]], int]:
    """Return the results of the images until a signal comes, and their number."""
    results: list[dict[str, Any]] = []
    with _progress(len(annotations.images)) as advance:
        for done, image in enumerate(annotations.images):
            if signals.received is not None:
                return results, done
            with clock("read"):
                pixels = _read(folder, image, annotations.path)
            results += results_of(image.id, detector(pixels), categories)
            advance()
    return results, len(annotations.images)


def _read(folder: Path, image: CocoImage, annotations: Path) -> ByteArray:
    path = folder / image.file_name
    try:
        pixels = read_image(path)
    except ImageError as error:
        raise SourceError(
            f"The image {path} cannot be read ({error}): replace it, or take it out of {annotations}."
        ) from error
    size = (pixels.shape[1], pixels.shape[0])
    if image.size not in (None, size):
        width, height = image.size or size
        raise SourceError(
            f"The image {path} is {size[0]}x{size[1]} but {annotations} states {width}x{height}: its annotations would "
            "not fit, so give the images that were annotated."
        )
    return np.ascontiguousarray(pixels)


@contextmanager
def _progress(count: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar if standard error is a terminal; yields a function that counts an image."""
    console = Console(stderr=True)
    if not console.is_terminal:  # a disabled bar of Rich 13 and 14 prints an empty line
        yield lambda: None
        return
    columns = (TextColumn("images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("images", total=count)
        yield lambda: bar.advance(task)


def _print_times(clock: StageClock, seconds: float, images: int) -> None:
    """Print the milliseconds of every stage, in all and per image; the last line is the time that passed."""
    stages = {**clock.milliseconds(), "all": 1000 * seconds}
    print(f"\n{'stage':<10} {'total ms':>12} {'ms an image':>12}")
    for stage, total in stages.items():
        print(f"{stage:<10} {total:>12.0f} {total / images:>12.2f}")
