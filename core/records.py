"""The three records that cross the boundaries between packages: `Frame`, `Detections`, `Tracks`.

Boxes are in pixels of the source frame, x to the right and y down, the origin at the outer corner
of the top left pixel. `tlbr` is left, top, right, bottom; `tlwh` is left, top, width, height.
Boxes may reach outside the frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from fairmot.core.decimals import fixed, fixed_rows

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
ByteArray = npt.NDArray[np.uint8]

PixelFormat = Literal["bgr24", "yuv420p", "nv12"]

_PLANAR = ("yuv420p", "nv12")


@dataclass(frozen=True, eq=False)
class Frame:
    """One image of a source, with its number and its time.

    Attributes:
        index: number of the frame in the source, from 1; skipped frames keep their numbers.
        timestamp: presentation time in seconds from the start of the source.
        pixels: uint8. `bgr24`: `(height, width, 3)`. `yuv420p` and `nv12`: `(height * 3 / 2, width)`,
            the planes one after the other without padding (width and height even).
        pixel_format: how to read `pixels`.
        color_space: matrix of a YUV frame, a name of FFmpeg's (`ITU601`, `ITU709`).
        full_range: whether a YUV frame uses 0 to 255 ("JPEG") instead of 16 to 235 ("MPEG").

    Raises:
        TypeError: if `pixels` is not an array of uint8.
        ValueError: if it does not have the shape that the pixel format asks for, or is empty.
    """

    index: int
    timestamp: float
    pixels: ByteArray
    pixel_format: PixelFormat = "bgr24"
    color_space: Literal["ITU601", "ITU709"] = "ITU601"
    full_range: bool = False

    def __post_init__(self) -> None:
        pixels, pixel_format = self.pixels, self.pixel_format
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8:
            raise TypeError(f"Frame.pixels must be a NumPy array of uint8, not {_described(pixels)}")
        shape = pixels.shape
        if pixel_format == "bgr24":
            if len(shape) != 3 or shape[2] != 3 or not pixels.size:
                raise ValueError(
                    f"Frame.pixels must have the shape (height, width, 3), BGR and not empty, not {shape}; "
                    "cv2.cvtColor converts gray (COLOR_GRAY2BGR) and BGRA (COLOR_BGRA2BGR) images"
                )
        elif pixel_format in _PLANAR:
            if len(shape) != 2 or shape[0] % 3 or shape[1] % 2 or not pixels.size:
                raise ValueError(
                    f"Frame.pixels must have the shape (height * 3 / 2, width) in {pixel_format}, width and height "
                    f"even and not 0, not {shape}"
                )
        else:
            raise ValueError(f"Frame.pixel_format must be bgr24, yuv420p or nv12, not {pixel_format!r}")

    @property
    def height(self) -> int:
        """Height of the image in pixels."""
        rows: int = self.pixels.shape[0]
        return rows if self.pixel_format == "bgr24" else rows * 2 // 3

    @property
    def width(self) -> int:
        """Width of the image in pixels."""
        columns: int = self.pixels.shape[1]
        return columns

    @property
    def size(self) -> tuple[int, int]:
        """`(width, height)` in pixels."""
        return self.width, self.height

    @cached_property
    def bgr(self) -> ByteArray:
        """The image as `(height, width, 3)` uint8 in BGR order; converted once, by FFmpeg's swscale."""
        if self.pixel_format == "bgr24":
            return self.pixels
        import av
        from av.video.reformatter import ColorRange, Colorspace

        planes = av.VideoFrame.from_ndarray(self.pixels, format=self.pixel_format)
        converted = planes.reformat(
            format="bgr24",
            src_colorspace=Colorspace[self.color_space],
            src_color_range=ColorRange.JPEG if self.full_range else ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
        )
        return np.asarray(converted.to_ndarray(), np.uint8)


def _described(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} with the shape {value.shape}"
    return type(value).__name__


_KINDS = {"f": "floats", "iu": "integers"}  # by the codes of np.dtype.kind


def _rows(name: str, array: object) -> int:
    """Return the length of an array that gives a record its number of rows."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, not {_described(array)}")
    if array.ndim != 1:
        raise ValueError(f"{name} must have the shape (n,), not {array.shape}")
    return len(array)


def _require(name: str, array: object, shape: tuple[int | None, ...], kind: str) -> None:
    """Check an array of a record.

    Args:
        name: of the field, for the message.
        array: its value.
        shape: expected; one length may be None for any.
        kind: codes of the accepted kinds of number.
    """
    if not isinstance(array, np.ndarray) or array.dtype.kind not in kind:
        raise TypeError(f"{name} must be a NumPy array of {_KINDS[kind]}, not {_described(array)}")
    found = array.shape
    if found == shape:  # nearly always; each record of each frame comes here
        return
    if len(found) != len(shape) or any(want not in (None, have) for have, want in zip(found, shape, strict=True)):
        wanted = str(shape).replace("None", "d" if len(shape) == 2 else "k")
        raise ValueError(f"{name} must have the shape {wanted}, not {found}")


@dataclass(frozen=True, eq=False)
class Detections:
    """The detections of one frame, as a struct of arrays, sorted by falling score.

    Any precision of float and integer is accepted. Values are not checked: boxes and scores that are not finite are
    left out, with a warning, by the tracker.

    Attributes:
        tlbr: `(n, 4)` float32, boxes in source pixels.
        scores: `(n,)` float32 in [0, 1].
        class_ids: `(n,)` int64, index into the model's class names.
        embeddings: `(n, d)` float32, rows of length 1; `d` is 0 for a model without embeddings.
        landmarks: `(n, k, 2)` float32, points in source pixels; `k` is 0 for a model without landmarks, and unless
            given.

    Raises:
        TypeError: if a field is not an array of its kind of number.
        ValueError: if a field does not have its shape, `n` being the length of `scores`.
    """

    tlbr: FloatArray
    scores: FloatArray
    class_ids: IntArray
    embeddings: FloatArray
    landmarks: FloatArray = field(default=cast(Any, None))

    def __post_init__(self) -> None:
        count = _rows("Detections.scores", self.scores)
        _require("Detections.tlbr", self.tlbr, (count, 4), "f")
        _require("Detections.scores", self.scores, (count,), "f")
        _require("Detections.class_ids", self.class_ids, (count,), "iu")
        _require("Detections.embeddings", self.embeddings, (count, None), "f")
        if self.landmarks is None:
            object.__setattr__(self, "landmarks", np.zeros((count, 0, 2), np.float32))
        else:
            _require("Detections.landmarks", self.landmarks, (count, None, 2), "f")

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, rows: Any) -> Detections:
        """Return the rows chosen by a mask, a slice or an index array."""
        return Detections(
            self.tlbr[rows], self.scores[rows], self.class_ids[rows], self.embeddings[rows], self.landmarks[rows]
        )

    @classmethod
    def empty(cls, embedding_size: int = 0) -> Detections:
        """Return a record without detections."""
        return cls(
            np.zeros((0, 4), np.float32),
            np.zeros(0, np.float32),
            np.zeros(0, np.int64),
            np.zeros((0, embedding_size), np.float32),
        )


class TrackState(IntEnum):
    """The state of a track (FairMOT, `basetrack.py`)."""

    UNCONFIRMED = 0
    TRACKED = 1
    LOST = 2
    REMOVED = 3


_TRACKED = int(TrackState.TRACKED)  # NumPy takes a plain int faster


@dataclass(frozen=True)
class Track:
    """One object in one frame: a row of `Tracks`."""

    id: int
    tlwh: tuple[float, float, float, float]
    score: float
    class_id: int
    state: TrackState


@dataclass(frozen=True, eq=False)
class Tracks:
    """The tracks of one frame, as a struct of arrays; iterating yields `Track` rows.

    Any precision of float and integer is accepted. Values are not checked.

    Attributes:
        ids: `(n,)` int64, from 1, never reused by one tracker.
        tlwh: `(n, 4)` float32, boxes in source pixels.
        scores: `(n,)` float32, score of the last matched detection.
        class_ids: `(n,)` int64.
        states: `(n,)` int8 of `TrackState`; all `TRACKED` unless given.
        landmarks: `(n, k, 2)` float32, points in source pixels of the last matched detection; `k` is 0 for a model
            without landmarks, and unless given.

    Raises:
        TypeError: if a field is not an array of its kind of number.
        ValueError: if a field does not have its shape, `n` being the length of `ids`.
    """

    ids: IntArray
    tlwh: FloatArray
    scores: FloatArray
    class_ids: IntArray
    states: npt.NDArray[np.int8] = field(default=cast(Any, None))
    landmarks: FloatArray = field(default=cast(Any, None))

    def __post_init__(self) -> None:
        count = _rows("Tracks.ids", self.ids)
        _require("Tracks.ids", self.ids, (count,), "iu")
        _require("Tracks.tlwh", self.tlwh, (count, 4), "f")
        _require("Tracks.scores", self.scores, (count,), "f")
        _require("Tracks.class_ids", self.class_ids, (count,), "iu")
        if self.states is None:
            object.__setattr__(self, "states", np.full(count, _TRACKED, np.int8))
        else:
            _require("Tracks.states", self.states, (count,), "iu")
        if self.landmarks is None:
            object.__setattr__(self, "landmarks", np.zeros((count, 0, 2), np.float32))
        else:
            _require("Tracks.landmarks", self.landmarks, (count, None, 2), "f")

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Track]:
        rows = zip(
            self.ids.tolist(),
            self.tlwh.tolist(),
            self.scores.tolist(),
            self.class_ids.tolist(),
            self.states.tolist(),
            strict=True,
        )
        for id_, box, score, class_id, state in rows:
            yield Track(id_, tuple(box), score, class_id, TrackState(state))

    @cached_property
    def tlwh_text(self) -> list[str]:
        """The `n` boxes as `left,top,width,height` with two decimals, formatted once for all files."""
        return fixed_rows(self.tlwh)

    @cached_property
    def scores_text(self) -> list[str]:
        """The `n` scores with six decimals, formatted once for all files."""
        return fixed(self.scores, 6)

    @classmethod
    def empty(cls) -> Tracks:
        """Return a record without tracks."""
        return cls(np.zeros(0, np.int64), np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
