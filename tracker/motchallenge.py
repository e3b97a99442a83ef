"""MOTChallenge text files: ground truth, detections and results, read with faults named by line.

One box per line, comma separated: frame (from 1), identity, left, top, width, height, and then

- results: score; MOT15 style files carry three more columns, which mean nothing.
- detections: score; the identity is -1.
- ground truth with 8 or 9 columns (MOT16 and later): flag (0 = do not count), class (1 = pedestrian), visibility.
- ground truth with 7 or 10 columns (MOT15): flag (1 or -1), then world coordinates. There is no class.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from core import sequence_info
from core.errors import UserError
from core.records import Detections
from core.sequence_info import SequenceInfo

_LEAST_COLUMNS, _MOST_COLUMNS = 7, 10
_CLASS_COLUMN_COUNTS = (8, 9)
_LARGEST = 1e9  # of frames, identities and pixels; far above any, and far below where float64 loses digits
_NAMES = ("frame", "identity", "left", "top", "width", "height")


@dataclass(frozen=True, eq=False)
class Boxes:
    """Rows of one file, sorted by frame and within a frame in the order of the file.

    Attributes:
        frames: `(n,)` int64, from 1.
        ids: `(n,)` int64.
        tlwh: `(n, 4)` float64, pixels.
        scores: `(n,)` float64, the seventh column (flag in ground truth).
        class_ids: `(n,)` int64, or none where the file has no class column.
    """

    frames: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]
    tlwh: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    class_ids: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.intp] | slice) -> Boxes:
        """Return the rows chosen by a mask, an index array or a slice."""
        class_ids = None if self.class_ids is None else self.class_ids[rows]
        return Boxes(self.frames[rows], self.ids[rows], self.tlwh[rows], self.scores[rows], class_ids)


def read_sequence_info(path: Path | str) -> SequenceInfo:
    """Read a `seqinfo.ini`, see `core.sequence_info`.

    Raises:
        UserError: if it cannot be read or a number in it is not one.
    """
    return sequence_info.read_sequence_info(Path(path))


def read_ground_truth(path: Path | str) -> Boxes:
    """Read a `gt.txt` of MOT15 or MOT16 and later, all rows.

    Raises:
        UserError: if the file cannot be read, or a line is not a box or repeats an identity of its frame.
    """
    table, lines = _table(Path(path))
    boxes = _boxes(table, with_class=table.shape[1] in _CLASS_COLUMN_COUNTS)
    _require_single_identities(boxes, Path(path), lines)
    return _sorted(boxes)


def read_results(path: Path | str) -> Boxes:
    """Read the results of a tracker; an empty file is a tracker that found nobody.

    Raises:
        UserError: as for `read_ground_truth`.
    """
    table, lines = _table(Path(path))
    boxes = _boxes(table, with_class=False)
    _require_single_identities(boxes, Path(path), lines)
    return _sorted(boxes)


def read_detections(path: Path | str) -> dict[int, Detections]:
    """Read a `det.txt` and return detections without embeddings by frame; frames without any have no entry.

    Raises:
        UserError: if the file cannot be read or a line is not a box.
    """
    boxes = _sorted(_boxes(_table(Path(path))[0], with_class=False))
    frames, starts = np.unique(boxes.frames, return_index=True)
    found = {}
    for frame, rows in zip(frames.tolist(), np.split(np.arange(len(boxes)), starts[1:]), strict=False):
        tlwh = boxes.tlwh[rows]
        tlbr = np.concatenate((tlwh[:, :2], tlwh[:, :2] + tlwh[:, 2:]), axis=1).astype(np.float32)
        count = len(rows)
        scores = boxes.scores[rows].astype(np.float32)
        found[frame] = Detections(tlbr, scores, np.zeros(count, np.int64), np.zeros((count, 0), np.float32))
    return found


def _table(path: Path) -> tuple[npt.NDArray[np.float64], list[int]]:
    """Return the numbers of a file, `(n, columns)`, and the line number of each row.

    NumPy parses a file without faults some ten times faster than Python; whatever it refuses, or whatever breaks a
    rule, is read again line by line, which names the fault.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text file; give a MOTChallenge text file.") from error
    numbered = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if not numbered:
        return np.zeros((0, _LEAST_COLUMNS)), []
    numbers, lines = map(list, zip(*numbered, strict=True))
    try:
        table = np.loadtxt(lines, dtype=np.float64, delimiter=",", comments=None, ndmin=2)
    except ValueError:
        table = None
    if table is None or not _is_sound(table):
        columns = lines[0].count(",") + 1
        rows = [_row(line, columns, f"{path}, line {number}") for number, line in numbered]
        table = np.array(rows, np.float64)
    return table, numbers


def _is_sound(table: npt.NDArray[np.float64]) -> bool:
    """Tell whether `_row` would take every row."""
    return bool(
        _LEAST_COLUMNS <= table.shape[1] <= _MOST_COLUMNS
        and np.isfinite(table).all()
        and (table[:, :2] == np.trunc(table[:, :2])).all()
        and (np.abs(table[:, :6]) <= _LARGEST).all()
        and (table[:, 0] >= 1).all()
        and (table[:, 4:6] >= 0).all()
    )


def _row(line: str, columns: int, where: str) -> list[float]:
    """Return the numbers of one line.

    Args:
        line: text of the line.
        columns: how many the first line has.
        where: file and line, for messages.
    """
    try:
        row = [float(value) for value in line.split(",")]
    except ValueError as error:
        raise UserError(f"{where}: every value must be a number, separated by commas, not {line.strip()!r}.") from error
    if not _LEAST_COLUMNS <= len(row) <= _MOST_COLUMNS:
        raise UserError(f"{where}: a line must have {_LEAST_COLUMNS} to {_MOST_COLUMNS} columns, not {len(row)}.")
    if len(row) != columns:
        raise UserError(f"{where}: this line has {len(row)} columns and the first one {columns}; make them equal.")
    if not all(map(math.isfinite, row)):
        raise UserError(f"{where}: values must be finite numbers, not {line.strip()!r}.")
    for name, value in zip(_NAMES, row, strict=False):
        if abs(value) > _LARGEST:
            raise UserError(f"{where}: the {name} must be at most {_LARGEST:.0f}, not {value:g}.")
    for name, value in zip(_NAMES[:2], row, strict=False):
        if value != int(value):
            raise UserError(f"{where}: the {name} must be a whole number, not {value:g}.")
    if row[0] < 1:
        raise UserError(f"{where}: frames count from 1, not {row[0]:g}.")
    for name, value in zip(_NAMES[4:], row[4:6], strict=True):
        if value < 0:
            raise UserError(f"{where}: the {name} must not be negative, not {value:g}.")
    return row


def _boxes(table: npt.NDArray[np.float64], with_class: bool) -> Boxes:
    """Give the columns of a table their names."""
    class_ids = table[:, 7].astype(np.int64) if with_class else None
    return Boxes(table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2:6], table[:, 6], class_ids)


def _sorted(boxes: Boxes) -> Boxes:
    """Return `boxes` by rising frame."""
    return boxes[np.argsort(boxes.frames, kind="stable")]


def _require_single_identities(boxes: Boxes, path: Path, lines: list[int]) -> None:
    """Raise unless every identity occurs once in a frame."""
    order = np.lexsort((boxes.ids, boxes.frames))
    frames, ids = boxes.frames[order], boxes.ids[order]
    repeated = np.flatnonzero((frames[1:] == frames[:-1]) & (ids[1:] == ids[:-1]))
    if len(repeated):
        row = int(order[repeated[0] + 1])
        raise UserError(
            f"{path}, line {lines[row]}: identity {boxes.ids[row]} occurs twice in frame {boxes.frames[row]}; "
            "leave one of the lines out."
        )
