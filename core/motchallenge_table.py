"""The numbers of a MOTChallenge text file, parsed and checked row by row; errors name file and line.

The separator of the columns is taken from the first line, as TrackEval 1.3 does it (`_load_simple_text_file`): commas,
tabs, semicolons, blanks or colons, whichever it has first in this order. Blanks around values, quotes and one separator
at the end of a line do not matter. Lines of one frame must have equally many columns, at least 7. TrackEval refuses
blank lines and a byte order mark, which are read here. It accepts any number where this reader is strict: frames and
identities must be whole, the first 8 values finite and not absurdly large, widths and heights not negative.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fairmot.core.errors import UserError
from fairmot.core.text import one_line

LARGEST = 1e9
"""Largest frame number, identity and pixel coordinate; far above any, and far below where float64 loses digits."""

KEPT_COLUMNS = 8
"""Columns that mean something."""

_LEAST_COLUMNS = 7
_LONGEST_LINE = 10_000  # characters; csv.Sniffer takes minutes for a line of megabytes
_NAMES = ("frame", "identity", "left", "top", "width", "height")


@dataclass(frozen=True, eq=False)
class Table:
    """The numbers of a MOTChallenge text file.

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


def read_table(path: Path) -> Table:
    """Read a file.

    NumPy parses a valid file some ten times faster than Python; a file that it refuses, or that breaks a rule, is read
    again line by line, which accepts what TrackEval accepts, or raises an error that names the line.

    Raises:
        UserError: if the file cannot be read or a line is invalid.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text file; give a MOTChallenge text file.") from error
    numbered = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line and not line.isspace()]
    if not numbered:
        return Table(path, np.zeros((0, KEPT_COLUMNS)), 0, [])
    numbers, lines = map(list, zip(*numbered, strict=True))
    dialect = _dialect(lines[0], f"{path}, line {numbers[0]}")
    values = _parse_fast(lines, dialect.delimiter)
    if values is None or not _is_valid(values):
        values, columns = _parse_by_line(numbered, dialect, path)
    else:
        columns = values.shape[1]
    if values.shape[1] < KEPT_COLUMNS:
        values = np.pad(values, ((0, 0), (0, KEPT_COLUMNS - values.shape[1])), constant_values=np.nan)
    return Table(path, values[:, :KEPT_COLUMNS], columns, numbers)


def _dialect(line: str, where: str) -> type[csv.Dialect]:
    """Return the separator and quotes of the first line."""
    if len(line) > _LONGEST_LINE:
        raise UserError(f"{where}: a line must not have more than {_LONGEST_LINE} characters, not {len(line)}.")
    try:
        dialect = csv.Sniffer().sniff(line + "\n")
    except csv.Error as error:
        raise UserError(f"{where}: {_not_numbers(line)}") from error
    dialect.skipinitialspace = True
    return dialect


def _parse_fast(lines: list[str], delimiter: str) -> npt.NDArray[np.float64] | None:
    """Return the numbers of all lines, `(n, columns)`, or none if they must be parsed line by line."""
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


def _is_valid(table: npt.NDArray[np.float64]) -> bool:
    """Return whether `_row` accepts every row."""
    return bool(
        table.shape[1] >= _LEAST_COLUMNS
        and np.isfinite(table[:, :KEPT_COLUMNS]).all()
        and (table[:, :2] == np.trunc(table[:, :2])).all()
        and (np.abs(table[:, :6]) <= LARGEST).all()
        and (table[:, 0] >= 1).all()
        and (table[:, 4:6] >= 0).all()
    )


def _parse_by_line(
    numbered: list[tuple[int, str]], dialect: type[csv.Dialect], path: Path
) -> tuple[npt.NDArray[np.float64], int]:
    """Return the first columns of all lines, NaN where there is no eighth, and the most columns of a line."""
    columns_of: dict[float, int] = {}
    values = np.full((len(numbered), KEPT_COLUMNS), np.nan)
    for index, (number, line) in enumerate(numbered):
        where = f"{path}, line {number}"
        row = _row(line, dialect, where)
        columns = columns_of.setdefault(row[0], len(row))
        if len(row) != columns:
            raise UserError(
                f"{where}: this line has {len(row)} columns and the first of frame {row[0]:g} has {columns}; make them "
                "equal."
            )
        values[index, : len(row)] = row[:KEPT_COLUMNS]
    return values, max(columns_of.values())


def _row(line: str, dialect: type[csv.Dialect], where: str) -> list[float]:
    """Return the numbers of one line.

    Args:
        line: text of the line.
        dialect: separator and quotes.
        where: file and line, for messages.
    """
    try:
        fields = next(csv.reader([line], dialect))
        row = [float(field) for field in (fields if fields[-1] else fields[:-1])]
    except (ValueError, csv.Error) as error:
        raise UserError(f"{where}: {_not_numbers(line)}") from error
    if len(row) < _LEAST_COLUMNS:
        raise UserError(f"{where}: a line must have at least {_LEAST_COLUMNS} columns, not {len(row)}.")
    if not all(map(math.isfinite, row[:KEPT_COLUMNS])):
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
