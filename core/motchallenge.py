"""MOTChallenge text: ground truth, detections and results, one reader and one writer for everything that uses it.

One box per line: frame (from 1), identity, left, top, width, height, and then

- results: score; class, where there is more than one: its number in the model's list, from 1, else -1; further columns
  (-1, -1) mean nothing. What is scored must be of class 1 or -1.
- detections: score; the identity is -1.
- ground truth of MOT16 and later: flag (0 = do not count), class (1 = pedestrian), visibility.
- ground truth of MOT15: flag (1 or -1), then world coordinates or -1. There is no class. With 10 or more columns the
  eighth is taken for the class where it names one of MOT17's in every row.

`fairmot.core.motchallenge_table` has the rules for separators, numbers of columns and values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fairmot.core.decimals import fixed, fixed_rows
from fairmot.core.errors import UserError
from fairmot.core.limits import MAX_BOXES
from fairmot.core.motchallenge_table import Table, read_table
from fairmot.core.records import Detections

LEAST_CLASS, LARGEST_CLASS = 1, 13  # of MOT17
PEDESTRIAN = 1
_CLASS = 7  # its column
_WORLD_COLUMNS = 10

_LINE = "%d,%d,%s,%s,%d,-1,-1\n"
_LINES_AT_ONCE = 1000


@dataclass(frozen=True, eq=False)
class Boxes:
    """Rows of one file, sorted by frame and within a frame in the order of the file.

    Attributes:
        frames: `(n,)` int64, from 1.
        ids: `(n,)` int64.
        tlwh: `(n, 4)` float64, pixels.
        scores: `(n,)` float64, the seventh column (flag in ground truth).
        class_ids: `(n,)` int64, the class column as it stands (from 1; -1 is none), or none where the file has none.
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


def read_ground_truth(path: Path | str) -> Boxes:
    """Read a `gt.txt` of MOT15 or MOT16 and later, all rows.

    Raises:
        UserError: if the file cannot be read, a line is not a box or repeats an identity of its frame, or a frame has
            more boxes than `MAX_BOXES`.
    """
    table = read_table(Path(path))
    return _sorted(_boxes(table, _truth_classes(table)), table, unique=True)


def read_results(path: Path | str) -> Boxes:
    """Read the results of a tracker of people; an empty file is a tracker that detected nobody.

    Raises:
        UserError: as for `read_ground_truth`, or if a line is of another class than 1, people, which is not scored.
    """
    table = read_table(Path(path))
    others = np.flatnonzero(np.trunc(table.values[:, _CLASS]) > PEDESTRIAN)
    if len(others):
        raise UserError(
            f"{table.where(others[0])}: the class must be {PEDESTRIAN} (people) or -1, not "
            f"{table.values[others[0], _CLASS]:g}; only people are scored: track them alone (fairmot track --classes "
            "person), or leave out lines of other classes."
        )
    return _sorted(_boxes(table, None), table, unique=True)


def read_tracks(path: Path | str) -> Boxes:
    """Read the results of a run of `fairmot track`, whatever their class; `class_ids` are -1 where there is one class.

    Raises:
        UserError: as for `read_ground_truth`.
    """
    table = read_table(Path(path))
    classes = np.nan_to_num(table.values[:, _CLASS], nan=-1.0).astype(np.int64)
    return _sorted(_boxes(table, classes), table, unique=True)


def read_detections(path: Path | str) -> dict[int, Detections]:
    """Read a `det.txt` and return detections without embeddings by frame; frames without any have no entry.

    Raises:
        UserError: if the file cannot be read, a line is not a box, or a frame has more than `MAX_BOXES`.
    """
    table = read_table(Path(path))
    boxes = _sorted(_boxes(table, None), table, unique=False)
    frames, starts = np.unique(boxes.frames, return_index=True)
    found = {}
    for frame, rows in zip(frames.tolist(), np.split(np.arange(len(boxes)), starts[1:]), strict=False):
        tlwh = boxes.tlwh[rows]
        tlbr = np.concatenate((tlwh[:, :2], tlwh[:, :2] + tlwh[:, 2:]), axis=1).astype(np.float32)
        count = len(rows)
        scores = boxes.scores[rows].astype(np.float32)
        found[frame] = Detections(tlbr, scores, np.zeros(count, np.int64), np.zeros((count, 0), np.float32))
    return found


def result_lines(
    frames: Iterable[int], ids: Iterable[int], boxes: Iterable[str], scores: Sequence[str], class_numbers: Iterable[int]
) -> str:
    """Return `frame,id,left,top,width,height,score,class,-1,-1` with a line end, for every box.

    Args:
        frames: of `n` boxes, or more.
        ids: of the boxes.
        boxes: as `left,top,width,height`, pixels with two decimals.
        scores: with six decimals.
        class_numbers: from 1, or -1; `n` or more.
    """
    rows = zip(frames, ids, boxes, scores, class_numbers, strict=False)
    return _LINE * len(scores) % tuple(chain.from_iterable(rows))


def result_text(boxes: Boxes) -> str:
    """Return results as MOTChallenge text, a line for each row."""
    classes = np.full(len(boxes), -1) if boxes.class_ids is None else boxes.class_ids
    parts = (slice(start, start + _LINES_AT_ONCE) for start in range(0, len(boxes), _LINES_AT_ONCE))
    return "".join(
        result_lines(
            boxes.frames[part].tolist(),
            boxes.ids[part].tolist(),
            fixed_rows(boxes.tlwh[part]),
            fixed(boxes.scores[part], 6),
            classes[part].tolist(),
        )
        for part in parts
    )


def _truth_classes(table: Table) -> npt.NDArray[np.int64] | None:
    """Return the classes of ground truth, or none where it has no class column."""
    classes = table.values[:, _CLASS]
    if not len(classes) or np.isnan(classes).any():
        return None
    named = (classes == np.trunc(classes)) & (classes >= LEAST_CLASS) & (classes <= LARGEST_CLASS)
    if table.columns >= _WORLD_COLUMNS and not named.all():
        return None
    return classes.astype(np.int64)


def _boxes(table: Table, class_ids: npt.NDArray[np.int64] | None) -> Boxes:
    """Return the columns of a table as boxes."""
    values = table.values
    return Boxes(values[:, 0].astype(np.int64), values[:, 1].astype(np.int64), values[:, 2:6], values[:, 6], class_ids)


def _sorted(boxes: Boxes, table: Table, unique: bool) -> Boxes:
    """Return the boxes of a table by rising frame.

    Args:
        boxes: in the order of the table.
        table: their source.
        unique: whether an identity may occur only once in a frame.
    """
    order = np.argsort(boxes.frames, kind="stable")
    by_frame = boxes.frames[order]
    crowded = np.flatnonzero(by_frame[MAX_BOXES:] == by_frame[:-MAX_BOXES])
    if len(crowded):
        row = order[crowded[0] + MAX_BOXES]
        raise UserError(
            f"{table.where(row)}: frame {boxes.frames[row]} has more than {MAX_BOXES} boxes; leave some out."
        )
    if unique:
        _require_unique_identities(boxes, table)
    return boxes[order]


def _require_unique_identities(boxes: Boxes, table: Table) -> None:
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
