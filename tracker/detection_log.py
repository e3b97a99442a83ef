"""Detections written as they come: a log of frames while a run goes on, an `.npz` archive once it has ended.

An archive cannot grow frame by frame and is unreadable without its end. So the file begins as a log: a line that names
its format, three numbers, then one record per frame, each with a checksum. When the writer is closed, the log is copied
array by array into an archive beside it, which then replaces it. At any moment the file is either a log that can be
read up to its last complete record, also after a kill or a power cut, or the complete archive. Memory does not grow
with the length of the run; at the end the disk needs room for both.
"""

from __future__ import annotations

import errno
import io
import json
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from fairmot.core.errors import OutputError, UserError
from fairmot.core.files import replacing, write_all
from fairmot.core.records import Detections
from fairmot.core.tracked_classes import PEOPLE, TrackedClasses

LOG_MAGIC = b"fairmot detections 1\n"
_CLASSES_MAGIC = b"fairmot detections 2\n"  # of a log that names its classes, as JSON after the three numbers
_LENGTH = struct.Struct("<I")
_LONGEST_CLASSES = 1 << 24  # bytes
_METADATA = ("fps", "width", "height")
_METADATA_STRUCT = struct.Struct("<3d")

# Frame, timestamp (NaN if there is none), count, numbers per embedding, CRC-32 of these four and of the arrays.
_HEAD = struct.Struct("<qdIII")
_UNSIGNED = struct.Struct("<qdII")
_SMALL_ROW = 24  # bytes of box, score and class of a detection; the embedding follows
_BUFFER = 1 << 20
_PORTABLE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)  # Windows lacks the first and needs the second


@dataclass(frozen=True, eq=False)
class LogRecord:
    """One frame of a log.

    Attributes:
        frame: its number in the source.
        timestamp: seconds, NaN if unknown.
        detections: of the frame; without embeddings where these were not read.
    """

    frame: int
    timestamp: float
    detections: Detections


class DetectionWriter:
    """Writes the detections of each frame to disk, and makes one `.npz` file of them when it is closed.

    They are stored unrounded (float32), so that the association of the file equals that of the run. A detection takes
    some 0.5 kB with an embedding of 128 numbers. Until it is closed the file is a log, which
    `fairmot.tracker.detection_file.read_detection_file` reads as well; it stays one where the archive cannot be
    written.

    Args:
        path: of the file, which is replaced; folders above it are created. A symbolic link is not followed.
        frame_rate: frames per second of the frames that are added, so the source's divided by the stride.
        size: `(width, height)` of the source in pixels.
        classes: names by class id, and which of them the detections are of.

    Raises:
        OutputError: if the file cannot be created.

    Example:
        with DetectionWriter("detections.npz", 25.0, (1920, 1080)) as writer:
            for frame in source:
                writer.add(frame.index, detect(frame), frame.timestamp)
    """

    def __init__(
        self, path: Path | str, frame_rate: float, size: tuple[int, int], classes: TrackedClasses = PEOPLE
    ) -> None:
        self._path = Path(path)
        self._classes = classes
        self._metadata = dict(zip(_METADATA, (float(frame_rate), *map(int, size)), strict=True))
        self._embedding_size: int | None = None
        self._last = 0
        self._frames = 0
        self._rows = 0
        self._timed = True
        head = LOG_MAGIC + _METADATA_STRUCT.pack(*self._metadata.values())
        if classes != PEOPLE:
            text = json.dumps([classes.names, classes.ids]).encode()
            head = _CLASSES_MAGIC + head[len(LOG_MAGIC) :] + _LENGTH.pack(len(text)) + text
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = _open(self._path)
            self._file.truncate(0)
            write_all(self._file, head)
        except OSError as error:
            raise self._error(error) from error
        self._end = len(head)

    def __enter__(self) -> DetectionWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, frame: int, detections: Detections, timestamp: float | None = None) -> None:
        """Add a frame, with or without detections.

        Args:
            frame: its number in the source.
            detections: of the frame.
            timestamp: seconds from the start of the source, if known; they are kept if all frames have one.

        Raises:
            ValueError: if its number is not above that of the frame before.
            UserError: if its embeddings have another size than those before.
            OutputError: if it cannot be written; what came before stays.
        """
        if frame <= self._last:
            raise ValueError(f"Frame {frame} cannot follow frame {self._last}; numbers must rise from 1.")
        size = detections.embeddings.shape[1]
        if len(detections):
            if self._embedding_size not in (None, size):
                raise UserError(
                    f"Frame {frame} has embeddings of {size} numbers where earlier frames had {self._embedding_size}; "
                    "use detections of one model for one file."
                )
            self._embedding_size = size
        record = _record(frame, math.nan if timestamp is None else timestamp, detections)
        try:
            write_all(self._file, record)
        except OSError as error:
            self._abandon()
            raise self._error(error) from error
        self._end += len(record)
        self._last = frame
        self._frames += 1
        self._rows += len(detections)
        self._timed &= timestamp is not None and math.isfinite(timestamp)

    def close(self) -> None:
        """Write the archive; does nothing the second time or after a failure.

        Raises:
            OutputError: if that is not possible; the log stays.
        """
        if self._file.closed:
            return
        draft = self._path.with_name(f"{self._path.name}.part")
        try:
            with (
                replacing(self._path, draft=draft, durable=True, buffer_size=_BUFFER) as file,
                io.BufferedReader(self._file, _BUFFER) as log,
            ):
                self._write_archive(log, file)
        except OSError as error:
            raise OutputError(
                f"{self._path} cannot be finished ({_reason(error)}); what it holds can be read by `fairmot associate`."
            ) from error
        finally:
            self._file.close()

    def _abandon(self) -> None:
        """Close the log at its last complete record."""
        with suppress(OSError):  # the reader finds the last complete record itself
            self._file.truncate(self._end)
        with suppress(OSError):
            self._file.close()

    def _error(self, error: OSError) -> OutputError:
        return OutputError(f"{self._path} cannot be written ({_reason(error)}); choose another path.")

    def _write_archive(self, log: IO[bytes], file: IO[bytes]) -> None:
        """Copy a log into an archive with the keys of `fairmot.tracker.detection_file`, array by array."""
        size = self._embedding_size or 0
        metadata: dict[str, Any] = {**self._metadata, "n_frames": self._last}
        if self._classes != PEOPLE:
            metadata |= {"class_names": np.array(self._classes.names), "classes": np.array(self._classes.ids, "<i4")}
        arrays: dict[str, tuple[str, tuple[int, ...], Callable[[LogRecord], npt.NDArray[Any]]]] = {
            "frame": ("<i4", (self._rows,), lambda each: np.full(len(each.detections), each.frame)),
            "tlbr": ("<f4", (self._rows, 4), lambda each: each.detections.tlbr),
            "score": ("<f4", (self._rows,), lambda each: each.detections.scores),
            "class_id": ("<i4", (self._rows,), lambda each: each.detections.class_ids),
            "embedding": ("<f4", (self._rows, size), lambda each: each.detections.embeddings),
            "processed": ("<i4", (self._frames,), lambda each: np.array([each.frame])),
        }
        if self._timed and self._frames:
            arrays["timestamp"] = ("<f8", (self._frames,), lambda each: np.array([each.timestamp]))
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for name, (dtype, shape, values) in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    header = {"descr": dtype, "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(member, header)
                    for record in read_log(log, with_embeddings=name == "embedding"):
                        member.write(values(record).astype(dtype).tobytes())
            for name, value in metadata.items():
                with archive.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, np.asanyarray(value), allow_pickle=False)


def is_log(path: Path) -> bool:
    """Return whether a file is the log of a run.

    Raises:
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        return file.read(len(LOG_MAGIC)) in (LOG_MAGIC, _CLASSES_MAGIC)


def read_metadata(log: IO[bytes]) -> tuple[dict[str, float], TrackedClasses]:
    """Return `fps`, `width` and `height` and the classes from the header of a log, and leave it at its first record.

    Raises:
        ValueError: if they are missing or invalid.
    """
    log.seek(0)
    names_classes = log.read(len(LOG_MAGIC)) == _CLASSES_MAGIC
    data = log.read(_METADATA_STRUCT.size)
    values = _METADATA_STRUCT.unpack(data) if len(data) == _METADATA_STRUCT.size else ()
    if not values or not all(0 < value < math.inf for value in values):
        raise ValueError
    return dict(zip(_METADATA, values, strict=True)), _read_classes(log) if names_classes else PEOPLE


def checked_classes(names: Any, ids: Any) -> TrackedClasses:
    """Return the classes that a file states.

    Raises:
        ValueError: if they are no names with ids of them.
    """
    names, ids = tuple(names), tuple(ids)
    if not names or not ids or not all(isinstance(name, str) for name in names):
        raise ValueError("no names")
    if not all(isinstance(id_, int) and 0 <= id_ < len(names) for id_ in ids) or list(ids) != sorted(set(ids)):
        raise ValueError("ids without a name")
    return TrackedClasses(names, ids)


def _read_classes(log: IO[bytes]) -> TrackedClasses:
    head = log.read(_LENGTH.size)
    length = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else 0
    try:
        names, ids = json.loads(log.read(min(length, _LONGEST_CLASSES)))
        return checked_classes(names, ids)
    except (TypeError, RecursionError) as error:
        raise ValueError from error


def read_log(log: IO[bytes], with_embeddings: bool = True) -> Iterator[LogRecord]:
    """Yield the records of a log up to the last complete one.

    Args:
        log: open.
        with_embeddings: whether to read them too and to verify the checksums.
    """
    end = log.seek(0, os.SEEK_END)
    read_metadata(log)
    last = 0
    while len(head := log.read(_HEAD.size)) == _HEAD.size:
        frame, timestamp, count, size, checksum = _HEAD.unpack(head)
        if frame <= last or count * (_SMALL_ROW + 4 * size) > end - log.tell():
            return
        body = log.read(count * _SMALL_ROW)
        embeddings = log.read(4 * count * size) if with_embeddings else b""
        if not with_embeddings:
            log.seek(4 * count * size, os.SEEK_CUR)
            size = 0
        elif zlib.crc32(embeddings, zlib.crc32(body, zlib.crc32(head[: _UNSIGNED.size]))) != checksum:
            return
        last = frame
        yield LogRecord(frame, timestamp, _detections(body, embeddings, count, size))


def _record(frame: int, timestamp: float, detections: Detections) -> bytes:
    head = _UNSIGNED.pack(frame, timestamp, len(detections), detections.embeddings.shape[1])
    body = b"".join(
        values.astype(dtype).tobytes()
        for values, dtype in (
            (detections.tlbr, "<f4"),
            (detections.scores, "<f4"),
            (detections.class_ids, "<i4"),
            (detections.embeddings, "<f4"),
        )
    )
    return head + struct.pack("<I", zlib.crc32(body, zlib.crc32(head))) + body


def _detections(body: bytes, embeddings: bytes, count: int, size: int) -> Detections:
    return Detections(
        np.frombuffer(body, "<f4", 4 * count).reshape(count, 4),
        np.frombuffer(body, "<f4", count, 16 * count),
        np.frombuffer(body, "<i4", count, 20 * count).astype(np.int64),
        np.frombuffer(embeddings, "<f4", count * size).reshape(count, size),
    )


def _open(path: Path) -> io.FileIO:
    """Open a file for reading and writing, and make it if need be; a symbolic link is not followed."""
    return io.FileIO(os.open(path, os.O_RDWR | os.O_CREAT | _PORTABLE, 0o666), "r+")


def _reason(error: OSError) -> str:
    return "it is a symbolic link" if error.errno == errno.ELOOP else str(error.strerror or error).lower()
