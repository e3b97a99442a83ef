"""Streams of detections on disk: what a detector found in a whole sequence, to run the association alone on it.

A stream is a MOTChallenge `det.txt` (boxes and scores) or an `.npz` file, which carries embeddings too:

- `frame` `(n,)` int, from 1; `tlbr` `(n, 4)` float, source pixels; `score` `(n,)` float;
- `embedding` `(n, d)` float and `class_id` `(n,)` int, both optional;
- `fps`, `width`, `height`, `n_frames`: numbers; `n_frames` is the number of the last frame;
- `processed` `(k,)` int, optional: the frames that the detector saw, where these are not all from 1 to `n_frames`.

Rules for what such files may hold: rows come in any order; a row that repeats frame, box and class of an earlier one
is left out, with a warning; frames without rows are frames without detections, and the tracker is told of them too;
boxes that are not finite or are empty are left to the tracker, which leaves them out with a warning.
"""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.errors import OutputError, UserError
from core.records import Detections
from tracker.motchallenge import read_detections, read_sequence_info

logger = logging.getLogger(__name__)

_MOST_FRAMES = 100_000_000  # a year at 3 frames/s; a larger number is a mistake, and would not fit into memory
_REQUIRED = ("frame", "tlbr", "score", "fps", "n_frames")


@dataclass(frozen=True, eq=False)
class DetectionStream:
    """The detections of one sequence; iterating yields `(frame number, Detections)` of every processed frame.

    Attributes:
        name: of the sequence.
        frames: numbers of the frames that were processed, rising, from 1.
        detections: by frame number; a frame without any need not be there.
        frame_rate: processed frames per second, or none where nothing says it.
        size: `(width, height)` of the source in pixels, or none.
    """

    name: str
    frames: npt.NDArray[np.int64]
    detections: dict[int, Detections]
    frame_rate: float | None = None
    size: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[tuple[int, Detections]]:
        width = max((found.embeddings.shape[1] for found in self.detections.values()), default=0)
        nothing = Detections.empty(width)
        for frame in self.frames.tolist():
            yield frame, self.detections.get(frame, nothing)


class StreamWriter:
    """Collects the detections of each frame and writes them as one `.npz` file when it is closed.

    They are kept as they are (float32), so that the association of the file is that of the run. A person takes some
    0.5 kB with an embedding of 128 numbers, in memory until then.

    Args:
        path: of the file; folders above it are made.
        frame_rate: frames per second of the frames that are added, so the source's divided by the stride.
        size: `(width, height)` of the source in pixels.

    Example:
        with StreamWriter("detections.npz", 25.0, (1920, 1080)) as writer:
            for frame in source:
                writer.add(frame.index, detect(frame))
    """

    def __init__(self, path: Path | str, frame_rate: float, size: tuple[int, int]) -> None:
        self._path = Path(path)
        self._frame_rate = frame_rate
        self._size = size
        self._embedding_size: int | None = None
        self._frames: list[int] = []
        self._detections: list[Detections] = []

    def __enter__(self) -> StreamWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, frame: int, detections: Detections) -> None:
        """Add a frame, by its number in the source, with or without detections.

        Raises:
            ValueError: if its number is not above that of the frame before.
            UserError: if its embeddings have another size than those before.
        """
        last = self._frames[-1] if self._frames else 0
        if frame <= last:
            raise ValueError(f"Frame {frame} cannot follow frame {last}; numbers must rise from 1.")
        size = detections.embeddings.shape[1]
        if len(detections):
            if self._embedding_size not in (None, size):
                raise UserError(
                    f"Frame {frame} has embeddings of {size} numbers where earlier frames had {self._embedding_size}; "
                    "use detections of one model for one stream."
                )
            self._embedding_size = size
        self._frames.append(frame)
        self._detections.append(detections)

    def close(self) -> None:
        """Write the file.

        Raises:
            OutputError: if that is not possible.
        """
        detections = self._detections or [Detections.empty()]
        size = self._embedding_size or 0
        embeddings = [each.embeddings if len(each) else np.zeros((0, size), np.float32) for each in detections]
        content: dict[str, Any] = {
            "frame": np.repeat(self._frames, [len(each) for each in self._detections]).astype(np.int32),
            "tlbr": np.concatenate([each.tlbr for each in detections]),
            "score": np.concatenate([each.scores for each in detections]),
            "class_id": np.concatenate([each.class_ids for each in detections]).astype(np.int32),
            "embedding": np.concatenate(embeddings),
            "processed": np.array(self._frames, np.int32),
            "fps": self._frame_rate,
            "width": self._size[0],
            "height": self._size[1],
            "n_frames": self._frames[-1] if self._frames else 0,
        }
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("wb") as file:  # by name, NumPy would add .npz to other endings
                np.savez(file, **content)
        except OSError as error:
            raise OutputError(f"{self._path} cannot be written ({error.strerror}); choose another path.") from error


def find_streams(path: Path | str) -> list[Path]:
    """Return the detections below `path`, in order of name.

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


def read_stream(path: Path | str) -> DetectionStream:
    """Read an `.npz` stream or a `det.txt`.

    A `det.txt` in the folder `det` of a sequence takes frame rate and length from the `seqinfo.ini` beside that folder.

    Raises:
        UserError: if the file cannot be read or does not hold what it must.
    """
    path = Path(path)
    return _read_npz(path) if path.suffix.lower() == ".npz" else _read_text(path)


def _read_text(path: Path) -> DetectionStream:
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
    return DetectionStream(name_of(path), np.arange(1, (length or last) + 1), found, rate)


def _read_npz(path: Path) -> DetectionStream:
    try:
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):  # a single array
            raise ValueError
        with file:
            data = {name: file[name] for name in file.files}
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}.") from error
    except (ValueError, zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"{path} is not an .npz file of arrays of numbers; write it with --save-detections.") from error
    missing = [name for name in _REQUIRED if name not in data]
    if missing:
        raise UserError(f"{path} lacks {', '.join(missing)}; a stream needs {', '.join(_REQUIRED)}.")
    if any(array.dtype.kind not in "iuf" for array in data.values()):
        raise UserError(f"{path} holds something else than numbers; write it with --save-detections.")
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
    processed = _whole(data.get("processed", np.arange(1, int(last) + 1)), "processed", path)
    frame = _whole(data["frame"], "frame", path)
    processed = np.unique(processed)
    strangers = np.setdiff1d(frame, processed)
    if len(strangers):
        raise UserError(
            f"{path} has detections in frame {strangers[0]}, which is not one of its frames; they count from 1 to "
            f"n_frames ({last:g}) and must be in processed, where the file has that."
        )
    order = np.argsort(frame, kind="stable")
    starts = np.searchsorted(frame[order], processed, "left").tolist()
    ends = np.searchsorted(frame[order], processed, "right").tolist()
    tlbr, scores = data["tlbr"].astype(np.float32), data["score"].astype(np.float32)
    embedding, classes = embedding.astype(np.float32), classes.astype(np.int64)
    found = {}
    for number, start, end in zip(processed.tolist(), starts, ends, strict=True):
        rows_here = order[start:end]
        here = Detections(tlbr[rows_here], scores[rows_here], classes[rows_here], embedding[rows_here])
        found[number] = _distinct(here, number, path)
    size = None
    if "width" in data and "height" in data:
        size = int(_number(data, "width", path)), int(_number(data, "height", path))
    return DetectionStream(name_of(path), processed, found, rate, size)


def _require_frame_count(count: float, path: Path) -> None:
    if not 0 <= count <= _MOST_FRAMES:
        raise UserError(f"{path}: the number of frames must be between 0 and {_MOST_FRAMES}, not {count:g}.")


def _number(data: dict[str, npt.NDArray[Any]], name: str, path: Path) -> float:
    if data[name].size != 1 or not np.isfinite(data[name]).all():
        raise UserError(f"{path}: {name} must be one number.")
    return float(data[name].reshape(()))


def _whole(values: npt.NDArray[Any], name: str, path: Path) -> npt.NDArray[np.int64]:
    """Return numbers of frames as int64."""
    wrong = ~np.isfinite(values) | (values != np.floor(values)) | (values < 1)
    if wrong.any():
        raise UserError(f"{path}: {name} must hold whole numbers from 1, not {values[wrong][0]:g}.")
    return values.astype(np.int64)


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
