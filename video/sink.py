"""The base of all sinks of results, and the sinks that write text."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from fairmot.core import Frame, Tracks
from fairmot.core.files import open_new, write_all, write_error
from fairmot.core.motchallenge import result_line

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
        data = self._text(frame, tracks).encode()
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
    """MOTChallenge results: `frame,id,left,top,width,height,score,-1,-1,-1`, pixels with two decimals."""

    def _text(self, frame: Frame, tracks: Tracks) -> str:
        return "".join(result_line(frame.index, track.id, track.tlwh, track.score) for track in tracks)


class JSONLSink(TextSink):
    """JSON lines, one object per frame, also for frames without tracks.

    `{"frame": 1, "timestamp": 0.0, "tracks": [{"id": 1, "box": [left, top, width, height], "score": 0.9, "class": 0}]}`
    """

    def _text(self, frame: Frame, tracks: Tracks) -> str:
        rows = [
            {
                "id": track.id,
                "box": [round(value, 2) for value in track.tlwh],
                "score": round(track.score, 6),
                "class": track.class_id,
            }
            for track in tracks
        ]
        return json.dumps({"frame": frame.index, "timestamp": round(frame.timestamp, 6), "tracks": rows}) + "\n"
