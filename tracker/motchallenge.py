"""MOTChallenge text files: ground truth, detections and results, read with faults named by line.

One box per line: frame (from 1), identity, left, top, width, height, and then

- results: score; further columns (-1, -1, -1) mean nothing, but a class in the eighth must be that of people.
- detections: score; the identity is -1.
- ground truth of MOT16 and later: flag (0 = do not count), class (1 = pedestrian), visibility.
- ground truth of MOT15: flag (1 or -1), then world coordinates or -1. There is no class. With 10 or more columns the
  eighth is taken for the class where it names one of MOT17's in every row.

What separates the columns is taken from the first line, as TrackEval 1.3 does it (`_load_simple_text_file`): commas,
tabs, semicolons, blanks or colons, whichever it has first in this order. Blanks around values, quotes and one separator
at the end of a line do not matter. Lines of one frame must have equally many columns, at least 7. TrackEval refuses
blank lines and a byte order mark, which are read here. It takes any number where this reader is strict: frames and
identities must be whole, the first 8 values finite and not absurdly large, widths and heights not negative.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fairmot.core import sequence_info
from fairmot.core.errors import UserError
from fairmot.core.records import Detections
from fairmot.core.sequence_info import SequenceInfo
from fairmot.core.text import one_line
from fairmot.tracker.costs import MOST_BOXES

LEAST_CLASS, LARGEST_CLASS = 1, 13  # of MOT17
PEDESTRIAN = 1
_LEAST_COLUMNS, _KEPT_COLUMNS, _WORLD_COLUMNS = 7, 8, 10
_CLASS = 7  # its column
_LONGEST_LINE = 10_000  # characters; csv.Sniffer takes minutes for a line of megabytes
LARGEST = 1e9  # of frames, identities and pixels; far above any, and far below where float64 loses digits
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
    """Read a `seqinfo.ini`, see `fairmot.core.sequence_info`.

    Raises:
        UserError: if it cannot be read or a number in it is not one.
    """
    return sequence_info.read_sequence_info(Path(path))


def read_ground_truth(path: Path | str) -> Boxes:
    """Read a `gt.txt` of MOT15 or MOT16 and later, all rows.

    Raises:
        UserError: if the file cannot be read, a line is not a box or repeats an identity of its frame, or a frame has
            more boxes than `MOST_BOXES`.
    """
    table = _read(Path(path))
    return _sorted(_boxes(table, _truth_classes(table)), table, single=True)


def read_results(path: Path | str) -> Boxes:
    """Read the results of a tracker; an empty file is a tracker that found nobody.

    Raises:
        UserError: as for `read_ground_truth`, or if a line is of another class than people, which nobody scores.
    """
    table = _read(Path(path))
    others = np.flatnonzero(np.trunc(table.values[:, _CLASS]) > PEDESTRIAN)
    if len(others):
        raise UserError(
            f"{table.where(others[0])}: the class must be {PEDESTRIAN} (people) or -1, not "
            f"{table.values[others[0], _CLASS]:g}; leave out what is of another class."
        )
    return _sorted(_boxes(table, None), table, single=True)


def read_detections(path: Path | str) -> dict[int, Detections]:
    """Read a `det.txt` and return detections without embeddings by frame; frames without any have no entry.

    Raises:
        UserError: if the file cannot be read, a line is not a box, or a frame has more than `MOST_BOXES`.
    """
    table = _read(Path(path))
    boxes = _sorted(_boxes(table, None), table, single=False)
    frames, starts = np.unique(boxes.frames, return_index=True)
    found = {}
    for frame, rows in zip(frames.tolist(), np.split(np.arange(len(boxes)), starts[1:]), strict=False):
        tlwh = boxes.tlwh[rows]
        tlbr = np.concatenate((tlwh[:, :2], tlwh[:, :2] + tlwh[:, 2:]), axis=1).astype(np.float32)
        count = len(rows)
        scores = boxes.scores[rows].astype(np.float32)
        found[frame] = Detections(tlbr, scores, np.zeros(count, np.int64), np.zeros((count, 0), np.float32))
    return found


@dataclass(frozen=True, eq=False)
class _Table:
    """The numbers of a file.

    Attributes:
        path: of the file.
        values: `(n, 8)` float64, the columns that mean something; NaN where a row has no eighth.
        columns: most columns of a row.
        lines: number of the line of each row.
    """

    path: Path
    values: npt.NDArray[np.float64]
    columns: int
    lines: list[int]

    def where(self, row: int | np.intp) -> str:
        """Return file and line of a row, for messages."""
        return f"{self.path}, line {self.lines[row]}"


def _read(path: Path) -> _Table:
    """Read a file.

    NumPy parses a file without faults some ten times faster than Python; whatever it refuses, or whatever breaks a
    rule, is read again line by line, which takes what TrackEval takes or names the fault.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text file; give a MOTChallenge text file.") from error
    numbered = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line and not line.isspace()]
    if not numbered:
        return _Table(path, np.zeros((0, _KEPT_COLUMNS)), 0, [])
    numbers, lines = map(list, zip(*numbered, strict=True))
    dialect = _dialect(lines[0], f"{path}, line {numbers[0]}")
    values = _quickly(lines, dialect.delimiter)
    if values is None or not _is_sound(values):
        values, columns = _by_line(numbered, dialect, path)
    else:
        columns = values.shape[1]
    if values.shape[1] < _KEPT_COLUMNS:
        values = np.pad(values, ((0, 0), (0, _KEPT_COLUMNS - values.shape[1])), constant_values=np.nan)
    return _Table(path, values[:, :_KEPT_COLUMNS], columns, numbers)


def _dialect(line: str, where: str) -> type[csv.Dialect]:
    """Return how the first line separates its values."""
    if len(line) > _LONGEST_LINE:
        raise UserError(f"{where}: a line must not have more than {_LONGEST_LINE} characters, not {len(line)}.")
    try:
        dialect = csv.Sniffer().sniff(line + "\n")
    except csv.Error as error:
        raise UserError(f"{where}: {_not_numbers(line)}") from error
    dialect.skipinitialspace = True
    return dialect


def _quickly(lines: list[str], delimiter: str) -> npt.NDArray[np.float64] | None:
    """Return the numbers of all lines, `(n, columns)`, or none if that takes more care."""
    if delimiter not in ",\t;: ":
        return None
    if delimiter != " ":
        stripped = [line.rstrip(" ") for line in lines]
        lines = [line.removesuffix(delimiter) for line in stripped] if stripped[0].endswith(delimiter) else lines
    elif any("\t" in line for line in lines):
        return None
    try:
        return np.loadtxt(
            lines, dtype=np.float64, delimiter=None if delimiter == " " else delimiter, comments=None, ndmin=2
        )
    except ValueError:
        return None


def _is_sound(table: npt.NDArray[np.float64]) -> bool:
    """Tell whether `_row` would take every row."""
    return bool(
        table.shape[1] >= _LEAST_COLUMNS
        and np.isfinite(table[:, :_KEPT_COLUMNS]).all()
        and (table[:, :2] == np.trunc(table[:, :2])).all()
        and (np.abs(table[:, :6]) <= LARGEST).all()
        and (table[:, 0] >= 1).all()
        and (table[:, 4:6] >= 0).all()
    )


def _by_line(
    numbered: list[tuple[int, str]], dialect: type[csv.Dialect], path: Path
) -> tuple[npt.NDArray[np.float64], int]:
    """Return the first columns of all lines, NaN where there is no eighth, and the most columns of a line."""
    columns_of: dict[float, int] = {}
    values = np.full((len(numbered), _KEPT_COLUMNS), np.nan)
    for index, (number, line) in enumerate(numbered):
        where = f"{path}, line {number}"
        row = _row(line, dialect, where)
        columns = columns_of.setdefault(row[0], len(row))
        if len(row) != columns:
            raise UserError(
                f"{where}: this line has {len(row)} columns and the first of frame {row[0]:g} has {columns}; make them "
                "equal."
            )
        values[index, : len(row)] = row[:_KEPT_COLUMNS]
    return values, max(columns_of.values())


def _row(line: str, dialect: type[csv.Dialect], where: str) -> list[float]:
    """Return the numbers of one line.

    Args:
        line: text of the line.
        dialect: how it separates them.
        where: file and line, for messages.
    """
    try:
        fields = next(csv.reader([line], dialect))
        row = [float(field) for field in (fields if fields[-1] else fields[:-1])]
    except (ValueError, csv.Error) as error:
        raise UserError(f"{where}: {_not_numbers(line)}") from error
    if len(row) < _LEAST_COLUMNS:
        raise UserError(f"{where}: a line must have at least {_LEAST_COLUMNS} columns, not {len(row)}.")
    if not all(map(math.isfinite, row[:_KEPT_COLUMNS])):
        raise UserError(f"{where}: values must be finite numbers, not {one_line(line)!r}.")
    for name, value in zip(_NAMES, row, strict=False):
        if abs(value) > LARGEST:
            raise UserError(f"{where}: the {name} must be at most {LARGEST:.0f}, not {value:g}.")
    for name, value in zip(_NAMES[:2], row, strict=False):
        if value != int(value):
            raise UserError(f"{where}: the {name} must be a whole number, not {value:g}.")
    if row[0] < 1:
        raise UserError(f"{where}: frames count from 1, not {row[0]:g}.")
    for name, value in zip(_NAMES[4:], row[4:6], strict=True):
        if value < 0:
            raise UserError(f"{where}: the {name} must not be negative, not {value:g}.")
    return row


def _not_numbers(line: str) -> str:
    return f"every value must be a number, separated as in the first line, not {one_line(line)!r}."


def _truth_classes(table: _Table) -> npt.NDArray[np.int64] | None:
    """Return the classes of ground truth, or none where it has no column of them."""
    classes = table.values[:, _CLASS]
    if not len(classes) or np.isnan(classes).any():
        return None
    named = (classes == np.trunc(classes)) & (classes >= LEAST_CLASS) & (classes <= LARGEST_CLASS)
    if table.columns >= _WORLD_COLUMNS and not named.all():
        return None
    return classes.astype(np.int64)


def _boxes(table: _Table, class_ids: npt.NDArray[np.int64] | None) -> Boxes:
    """Give the columns of a table their names."""
    values = table.values
    return Boxes(values[:, 0].astype(np.int64), values[:, 1].astype(np.int64), values[:, 2:6], values[:, 6], class_ids)


def _sorted(boxes: Boxes, table: _Table, single: bool) -> Boxes:
    """Return the boxes of a table by rising frame.

    Args:
        boxes: in the order of the table.
        table: what they were made of.
        single: whether an identity may occur only once in a frame.
    """
    order = np.argsort(boxes.frames, kind="stable")
    by_frame = boxes.frames[order]
    crowded = np.flatnonzero(by_frame[MOST_BOXES:] == by_frame[:-MOST_BOXES])
    if len(crowded):
        row = order[crowded[0] + MOST_BOXES]
        raise UserError(
            f"{table.where(row)}: frame {boxes.frames[row]} has more than {MOST_BOXES} boxes; leave some out."
        )
    if single:
        _require_single_identities(boxes, table)
    return boxes[order]


def _require_single_identities(boxes: Boxes, table: _Table) -> None:
    """Raise unless every identity occurs once in a frame."""
    order = np.lexsort((boxes.ids, boxes.frames))
    frames, ids = boxes.frames[order], boxes.ids[order]
    repeated = np.flatnonzero((frames[1:] == frames[:-1]) & (ids[1:] == ids[:-1]))
    if len(repeated):
        row = order[repeated[0] + 1]
        raise UserError(
            f"{table.where(row)}: identity {boxes.ids[row]} occurs twice in frame {boxes.frames[row]}; "
            "leave one of the lines out."
        )
