"""The base of all sinks of results, and the sinks that write text."""

from __future__ import annotations

import csv
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import chain, repeat
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import numpy as np

from fairmot.core import Frame, Tracks
from fairmot.core.decimals import fixed, shortest, shortest_rows
from fairmot.core.files import open_new, write_all, write_error
from fairmot.core.motchallenge import result_lines
from fairmot.core.records import FloatArray
from fairmot.core.tracked_classes import class_name

SinkT = TypeVar("SinkT", bound="Sink")


class Sink(ABC):
    """A context manager that receives the tracks of one frame after the other.

    Attributes:
        stop_requested: True once a user asked, through this sink, to end the run (`q` in the window);
            the loop that feeds the sinks checks it after every frame.

    Example:
        with MOTSink("tracks.txt") as sink:
            for frame in source:
                sink.write(frame, tracker.update(detections_of(frame)))
    """

    stop_requested = False

    @abstractmethod
    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Write the tracks of the next frame.

        Raises:
            OutputError: if results cannot be written.
        """

    @abstractmethod
    def close(self) -> None:
        """Finish the output; does nothing the second time.

        Raises:
            OutputError: if the last results cannot be written.
        """

    def __enter__(self: SinkT) -> SinkT:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class TextSink(Sink):
    """A text file that is complete up to the last frame at any moment, also when the disk is full.

    Args:
        path: the file; it is replaced, and folders above it are made.

    Raises:
        OutputError: if the file cannot be made.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self._size = 0
        try:
            self._file = open_new(self._path)
        except OSError as error:
            raise write_error(self._path, error) from error

    @abstractmethod
    def _text(self, frame: Frame, tracks: Tracks) -> str:
        """Return the lines of one frame, each with its line end."""

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Write the lines of one frame, all or none."""
        self._append(self._text(frame, tracks))

    def _append(self, text: str) -> None:
        data = text.encode()
        try:
            write_all(self._file, data)
        except OSError as error:
            with suppress(OSError):  # of devices
                self._file.truncate(self._size)
                self._file.seek(self._size)
            raise write_error(self._path, error) from error
        self._size += len(data)

    def close(self) -> None:
        """Close the file."""
        try:
            self._file.close()
        except OSError as error:
            raise write_error(self._path, error) from error


class MOTSink(TextSink):
    """MOTChallenge results: `frame,id,left,top,width,height,score,class,-1,-1`, pixels with two decimals.

    Args:
        path: see `TextSink`.
        class_names: by class id. With two or more, `class` is the number of the track's class, from 1; else it is -1.

    Raises:
        OutputError: if the file cannot be made.
    """

    def __init__(self, path: Path | str, class_names: Sequence[str] = ()) -> None:
        super().__init__(path)
        self._numbers_classes = len(class_names) > 1

    def _text(self, frame: Frame, tracks: Tracks) -> str:
        numbers = [id_ + 1 for id_ in tracks.class_ids.tolist()] if self._numbers_classes else repeat(-1)
        return result_lines(repeat(frame.index), tracks.ids.tolist(), tracks.tlwh_text, tracks.scores_text, numbers)


class JSONLSink(TextSink):
    """JSON lines, one object per frame, also for frames without tracks.

    `{"frame": 1, "timestamp": 0.0, "tracks": [{"id": 1, "box": [left, top, width, height], "score": 0.9, "class": 0}]}`

    A track with landmarks has them too: `"landmarks": [[x, y], ...]`, in pixels, null where a number is not finite.

    Args:
        path: see `TextSink`.
        class_names: by class id. With two or more, each track has its `class_name` too.

    Raises:
        OutputError: if the file cannot be made.
    """

    def __init__(self, path: Path | str, class_names: Sequence[str] = ()) -> None:
        super().__init__(path)
        self._class_names = class_names if len(class_names) > 1 else ()
        self._class_text = _ClassText(self._class_names, json.dumps)

    def _text(self, frame: Frame, tracks: Tracks) -> str:
        start = f'{{"frame": {frame.index}, "timestamp": {json.dumps(round(frame.timestamp, 6))}, "tracks": ['
        if not len(tracks):
            return start + "]}\n"
        class_ids = tracks.class_ids.tolist()
        columns: list[Sequence[object]] = [
            tracks.ids.tolist(),
            shortest_rows(tracks.tlwh, tracks.tlwh_text),
            shortest(tracks.scores, tracks.scores_text, 6),
            class_ids,
        ]
        template = '{"id": %d, "box": [%s], "score": %s, "class": %d'
        if self._class_names:
            columns.append([self._class_text[id_] for id_ in class_ids])
            template += ', "class_name": %s'
        points = tracks.landmarks.shape[1]
        if points:
            numbers = _landmark_text(tracks.landmarks)
            columns += (numbers[position :: 2 * points] for position in range(2 * points))
            template += f', "landmarks": [{", ".join(["[%s, %s]"] * points)}]'
        rows = chain.from_iterable(zip(*columns, strict=True))
        return start + ((template + "}, ") * len(tracks) % tuple(rows))[:-2] + "]}\n"


def _landmark_text(landmarks: FloatArray) -> list[str]:
    """Return the numbers of landmarks as JSON, null where they are not finite."""
    texts = shortest(landmarks, fixed(landmarks, 2), 2)
    finite = np.isfinite(landmarks).ravel().tolist()
    return texts if all(finite) else [text if known else "null" for text, known in zip(texts, finite, strict=True)]


class _ClassText(dict[int, str]):
    """The text of a class name by class id, made when it is first asked for.

    Args:
        names: by class id.
        text_of: returns the text of a name.
    """

    def __init__(self, names: Sequence[str], text_of: Callable[[str], str]) -> None:
        super().__init__()
        self._names = names
        self._text_of = text_of

    def __missing__(self, id_: int) -> str:
        self[id_] = text = self._text_of(class_name(self._names, id_))
        return text


class CSVSink(TextSink):
    """CSV with a header and one row per track and frame, its fields quoted where they must be (RFC 4180).

    `frame,timestamp,id,class_id,class_name,left,top,width,height,score`; `timestamp` in seconds, pixels with two
    decimals, `class_id` an index into the class names.

    Args:
        path: see `TextSink`.
        class_names: by class id.

    Raises:
        OutputError: if the file cannot be made.
    """

    COLUMNS = ("frame", "timestamp", "id", "class_id", "class_name", "left", "top", "width", "height", "score")

    def __init__(self, path: Path | str, class_names: Sequence[str] = ("person",)) -> None:
        super().__init__(path)
        self._class_text = _ClassText(class_names, _csv_field)
        try:  # the disk may be full
            self._append(_csv([self.COLUMNS]))
        except BaseException:
            self.close()
            raise

    def _text(self, frame: Frame, tracks: Tracks) -> str:
        start = f"{frame.index},{round(frame.timestamp, 6)},"
        class_ids = tracks.class_ids.tolist()
        rows = zip(
            repeat(start),
            tracks.ids.tolist(),
            class_ids,
            [self._class_text[id_] for id_ in class_ids],
            tracks.tlwh_text,
            tracks.scores_text,
            strict=False,
        )
        return "%s%d,%d,%s,%s,%s\n" * len(tracks) % tuple(chain.from_iterable(rows))


def _csv_field(text: str) -> str:
    """Return a field of a row, quoted where it must be."""
    return _csv([("", text)])[1:-1]


def _csv(rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
