"""Detection files: the detections of a whole sequence on disk, to run the association alone on them.

A detection file is a MOTChallenge `det.txt` (boxes and scores) or an `.npz` file, which carries embeddings too:

- `frame` `(n,)` int, from 1; `tlbr` `(n, 4)` float, source pixels; `score` `(n,)` float;
- `embedding` `(n, d)` float and `class_id` `(n,)` int, both optional;
- `fps`, `width`, `height`, `n_frames`: numbers; `n_frames` is the number of the last frame;
- `class_names` `(c,)` text and `classes` `(t,)` int, both optional: names by class id, person if there are none, and
  ids of those that were to be detected, all of them if there are none;
- `processed` `(k,)` int, optional: the frames that the detector saw, where these are not all from 1 to `n_frames`;
- `timestamp` `(k,)` float, optional: seconds of these frames, by which the tracker then measures time.

Rows may come in any order; a row that repeats frame, box and class of an earlier one is dropped with a warning. Frames
without rows are frames without detections, in which time passes for the tracker too. Boxes that are not finite or are
empty are left to the tracker, which drops them with a warning.

The incomplete `.npz` file of a killed run (`fairmot.tracker.detection_log`) is read as well, with a warning. Memory
grows with the number of detections, not with that of frames.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fairmot.core.errors import UserError
from fairmot.core.motchallenge import read_detections
from fairmot.core.motchallenge_table import LARGEST
from fairmot.core.records import Detections
from fairmot.core.sequence_info import read_sequence_info
from fairmot.core.tracked_classes import PEOPLE, TrackedClasses
from fairmot.tracker.archives import read_archive
from fairmot.tracker.detection_log import DetectionWriter, checked_classes, is_log, read_log, read_metadata

__all__ = ["DetectionFile", "DetectionWriter", "find_detection_files", "name_of", "read_detection_file"]

logger = logging.getLogger(__name__)

_MOST_FRAMES = 100_000_000  # a year at 3 frames/s; a larger number is a mistake
_REQUIRED = ("frame", "tlbr", "score", "fps", "n_frames")
_OPTIONAL = ("embedding", "class_id", "width", "height", "processed", "timestamp", "classes")


@dataclass(frozen=True, eq=False)
class DetectionFile:
    """The detections of one sequence; iterating yields `(frame number, Detections)` of every processed frame.

    Attributes:
        name: of the sequence.
        frames: numbers of the frames that were processed, rising, from 1; a range where they are all.
        detections: by frame number; a frame without any need not be there.
        frame_rate: processed frames per second, or none where it is not known.
        size: `(width, height)` of the source in pixels, or none.
        timestamps: `(k,)` seconds of `frames`, or none where they are not known.
        classes: names by class id, and which of them the detections are of.
    """

    name: str
    frames: npt.NDArray[np.int64] | range
    detections: dict[int, Detections]
    frame_rate: float | None = None
    size: tuple[int, int] | None = None
    timestamps: npt.NDArray[np.float64] | None = None
    classes: TrackedClasses = PEOPLE

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[tuple[int, Detections]]:
        nothing = self.nothing
        for frame in map(int, self.frames):
            yield frame, self.detections.get(frame, nothing)

    @property
    def nothing(self) -> Detections:
        """Empty detections, with embeddings of the size of the others."""
        return Detections.empty(max((found.embeddings.shape[1] for found in self.detections.values()), default=0))

    def found(self) -> Iterator[tuple[int, int, Detections]]:
        """Yield only the frames with detections: index into `frames`, number and detections."""
        numbers = sorted(number for number, detections in self.detections.items() if len(detections))
        if isinstance(self.frames, range):
            positions = [self.frames.index(number) for number in numbers]
        else:
            positions = np.searchsorted(self.frames, numbers).tolist()
        for position, number in zip(positions, numbers, strict=True):
            yield position, number, self.detections[number]

    def timestamp(self, position: int) -> float | None:
        """Return the seconds of a frame, given its index into `frames`, or none if they are not known."""
        return None if self.timestamps is None else float(self.timestamps[position])


def find_detection_files(path: Path | str) -> list[Path]:
    """Return the detection files below `path`, in order of name.

    Args:
        path: an `.npz` or text file; a MOTChallenge sequence (a folder with `det/det.txt`); or a folder that holds
            such files (`*.npz`, `*.txt`) or sequences.

    Raises:
        UserError: if there are none.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.exists():
        raise UserError(f"There are no detections at {path}; give a det.txt, an .npz file or a folder of them.")
    if (path / "det" / "det.txt").is_file():
        return [path / "det" / "det.txt"]
    sequences = sorted(path.glob("*/det/det.txt"))
    files = sorted([*path.glob("*.npz"), *path.glob("*.txt")])
    if not sequences and not files:
        raise UserError(f"{path} holds no *.npz, no *.txt and no sequence with det/det.txt; give another folder.")
    names = [name_of(file) for file in sequences + files]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f'Two files in {path} are named "{name}"; rename one of them or give them one by one.')
    return sequences + files


def name_of(path: Path) -> str:
    """Return the name of a sequence: that of its folder, or of the file without its ending."""
    return path.resolve().parent.parent.name if path.parent.name == "det" else path.stem


def read_detection_file(path: Path | str) -> DetectionFile:
    """Read a `det.txt` or an `.npz` file, complete or as a killed run has left it.

    Frame rate and length of a `det.txt` in the folder `det` of a sequence come from the `seqinfo.ini` beside that
    folder.

    Raises:
        UserError: if the file cannot be read or its content is invalid.
    """
    path = Path(path)
    return _read_npz(path) if path.suffix.lower() == ".npz" else _read_text(path)


def _read_text(path: Path) -> DetectionFile:
    found = {frame: _distinct(detections, frame, path) for frame, detections in read_detections(path).items()}
    length, rate = None, None
    description = path.parent.parent / "seqinfo.ini"
    if path.parent.name == "det" and description.is_file():
        info = read_sequence_info(description)
        length, rate = info.length, info.frame_rate
    last = max(found, default=0)
    _require_frame_count(length or last, path)
    if length is not None and last > length:
        raise UserError(f"{path} has detections in frame {last}, but {description} says that there are {length}.")
    return DetectionFile(name_of(path), range(1, (length or last) + 1), found, rate)


def _read_npz(path: Path) -> DetectionFile:
    try:
        if is_log(path):
            return _read_log(path)
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}.") from error
    data = read_archive(path, (*_REQUIRED, *_OPTIONAL), ("class_names",))
    missing = [name for name in _REQUIRED if name not in data]
    if missing:
        raise UserError(f"{path} lacks {', '.join(missing)}; a detection file needs {', '.join(_REQUIRED)}.")
    rows = len(data["frame"]) if data["frame"].ndim else -1
    embedding = data.get("embedding", np.zeros((max(rows, 0), 0), np.float32))
    classes = data.get("class_id", np.zeros(max(rows, 0), np.int64))
    shapes = {"frame": data["frame"].shape, "tlbr": data["tlbr"].shape, "score": data["score"].shape}
    wanted = {"frame": (rows,), "tlbr": (rows, 4), "score": (rows,)}
    if shapes != wanted or embedding.ndim != 2 or len(embedding) != rows or classes.shape != (rows,):
        raise UserError(
            f"{path}: frame {shapes['frame']}, tlbr {shapes['tlbr']}, score {shapes['score']}, embedding "
            f"{embedding.shape} and class_id {classes.shape} must have the shapes (n,), (n, 4), (n,), (n, d) and (n,)."
        )
    rate, last = _number(data, "fps", path), _number(data, "n_frames", path)
    if not 0 < rate < np.inf:
        raise UserError(f"{path}: fps must be a number above 0, not {rate:g}.")
    _require_frame_count(last, path)
    processed: npt.NDArray[np.int64] | range = range(1, int(last) + 1)
    timestamps = _seconds(data, data["processed"].size if "processed" in data else len(processed), path)
    frame = _whole(data["frame"], "frame", path)
    numbers = np.unique(frame)
    if "processed" in data:
        processed, first = np.unique(_whole(data["processed"], "processed", path), return_index=True)
        timestamps = None if timestamps is None else timestamps[first]
        foreign = np.setdiff1d(numbers, processed)
    else:
        foreign = numbers[numbers > last]
    if len(foreign):
        raise UserError(
            f"{path} has detections in frame {foreign[0]}, which is not one of its frames; they count from 1 to "
            f"n_frames ({last:g}) and must be in processed, where the file has that."
        )
    order = np.argsort(frame, kind="stable")
    parts = np.split(order, np.searchsorted(frame[order], numbers[1:]))
    with np.errstate(over="ignore", invalid="ignore"):  # infinite boxes are left to the tracker
        tlbr, scores, embedding = (values.astype(np.float32) for values in (data["tlbr"], data["score"], embedding))
    classes = _whole(classes, "class_id", path, least=-LARGEST)
    found = {}
    for number, rows_here in zip(numbers.tolist(), parts, strict=False):
        here = Detections(tlbr[rows_here], scores[rows_here], classes[rows_here], embedding[rows_here])
        found[number] = _distinct(here, number, path)
    size = None
    if "width" in data and "height" in data:
        size = int(_number(data, "width", path)), int(_number(data, "height", path))
    return DetectionFile(name_of(path), processed, found, rate, size, timestamps, _classes(data, path))


def _read_log(path: Path) -> DetectionFile:
    """Read the incomplete file of a run that did not end."""
    with path.open("rb") as log:
        try:
            metadata, classes = read_metadata(log)
        except ValueError as error:
            raise UserError(f"{path} was begun and holds no frame; run it again.") from error
        records = list(read_log(log))
    processed = np.array([record.frame for record in records], np.int64)
    logger.warning("%s was not finished: what it holds ends with frame %d.", path, processed.max(initial=0))
    timestamps = np.array([record.timestamp for record in records])
    found = {record.frame: _distinct(record.detections, record.frame, path) for record in records}
    size = int(metadata["width"]), int(metadata["height"])
    known = timestamps if np.isfinite(timestamps).all() else None
    return DetectionFile(name_of(path), processed, found, metadata["fps"], size, known, classes)


def _classes(data: dict[str, npt.NDArray[Any]], path: Path) -> TrackedClasses:
    """Return the classes that an archive names, people if it names none."""
    if "class_names" not in data:
        return PEOPLE
    names = data["class_names"].ravel().tolist()
    ids = data["classes"].ravel().tolist() if "classes" in data else range(len(names))
    try:
        return checked_classes(names, ids)
    except ValueError as error:
        raise UserError(
            f"{path}: class_names must hold the names of all classes, and classes rising indices into them."
        ) from error


def _require_frame_count(count: float, path: Path) -> None:
    if not 0 <= count <= _MOST_FRAMES:
        raise UserError(f"{path}: the number of frames must be between 0 and {_MOST_FRAMES}, not {count:g}.")


def _number(data: dict[str, npt.NDArray[Any]], name: str, path: Path) -> float:
    if data[name].size != 1 or not np.isfinite(data[name]).all():
        raise UserError(f"{path}: {name} must be one number.")
    return float(data[name].reshape(()))


def _whole(values: npt.NDArray[Any], name: str, path: Path, least: float = 1) -> npt.NDArray[np.int64]:
    """Return frame numbers or class ids as int64."""
    if values.ndim != 1:
        raise UserError(f"{path}: {name} must have the shape (n,), not {values.shape}.")
    with np.errstate(over="ignore"):  # LARGEST is infinite as float16
        wrong = ~np.isfinite(values) | (values != np.floor(values)) | (values < least) | (values > LARGEST)
    if wrong.any():
        raise UserError(f"{path}: {name} must hold whole numbers from {least:g}, not {values[wrong][0]:g}.")
    return values.astype(np.int64)


def _seconds(data: dict[str, npt.NDArray[Any]], count: int, path: Path) -> npt.NDArray[np.float64] | None:
    """Return the timestamps of `count` frames, or none where the file has none."""
    if "timestamp" not in data:
        return None
    seconds = data["timestamp"].astype(np.float64)
    if seconds.shape != (count,) or not np.isfinite(seconds).all():
        raise UserError(f"{path}: timestamp must hold one finite number for each of the {count} processed frames.")
    return seconds


def _distinct(detections: Detections, frame: int, path: Path) -> Detections:
    """Return `detections` without those that repeat box and class of an earlier one."""
    if len(detections) < 2:
        return detections
    key = np.column_stack((detections.tlbr, detections.class_ids))
    first = np.unique(key, axis=0, return_index=True)[1]
    if len(first) == len(detections):
        return detections
    logger.warning("%s, frame %d: %d repeated detections are left out.", path, frame, len(detections) - len(first))
    return detections[np.sort(first)]
