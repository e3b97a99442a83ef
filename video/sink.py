"""The base of all sinks of results, and the sinks that write text."""

from __future__ import annotations

import csv
import io
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from fairmot.core import Frame, Tracks
from fairmot.core.files import open_new, write_all, write_error
from fairmot.core.motchallenge import result_line
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
        if self._numbers_classes:
            return "".join(
                result_line(frame.index, track.id, track.tlwh, track.score, track.class_id + 1) for track in tracks
            )
        return "".join(result_line(frame.index, track.id, track.tlwh, track.score) for track in tracks)


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

    def _text(self, frame: Frame, tracks: Tracks) -> str:
        rows: list[dict[str, Any]] = [
            {
                "id": track.id,
                "box": [round(value, 2) for value in track.tlwh],
                "score": round(track.score, 6),
                "class": track.class_id,
            }
            for track in tracks
        ]
        if self._class_names:
            for row in rows:
                row["class_name"] = class_name(self._class_names, row["class"])
        if tracks.landmarks.shape[1]:
            for row, points in zip(rows, tracks.landmarks.tolist(), strict=True):
                row["landmarks"] = [[round(x, 2) if math.isfinite(x) else None for x in point] for point in points]
        return json.dumps({"frame": frame.index, "timestamp": round(frame.timestamp, 6), "tracks": rows}) + "\n"


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
        self._class_names = class_names
        try:  # the disk may be full
            self._append(_csv([self.COLUMNS]))
        except BaseException:
            self.close()
            raise

    def _text(self, frame: Frame, tracks: Tracks) -> str:
        return _csv(
            [
                frame.index,
                round(frame.timestamp, 6),
                track.id,
                track.class_id,
                class_name(self._class_names, track.class_id),
                *(f"{value:.2f}" for value in track.tlwh),
                f"{track.score:.6f}",
            ]
            for track in tracks
        )


def _csv(rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
