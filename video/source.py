"""The base of all sources of frames: attributes, selection of frames, prefetching."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import numpy as np

from fairmot.core import ConfigError, Frame, SourceError
from fairmot.core.records import ByteArray
from fairmot.video.decoder_process import DecodeRequest, DecoderProcess, Origin
from fairmot.video.frame_ring import FrameRing
from fairmot.video.packets import StoredVideo
from fairmot.video.prefetch import Prefetcher

log = logging.getLogger(__name__)

_QUEUE_BYTES = 96 * 2**20  # bounds memory at 4K, where a BGR frame is 25 MB
_QUEUE_FRAMES = 16
_NAME_BYTES = 200  # most file systems allow 255; the rest is for what is put around a name, as in `.NAME-2.npz.tmp`
_DIGEST_CHARACTERS = 8

SourceT = TypeVar("SourceT", bound="Source")


class Source(ABC):
    """A context manager and an iterator of `Frame`, decoding ahead in a thread, or in a process if that is asked for.

    A subclass opens what it reads in its constructor (raising `SourceError` there if it cannot),
    calls `super().__init__` with what it found, and implements `_frames`, which runs in the
    prefetch thread. Everything else is done here: the thread and its bounded queue, `start`, `count`
    and `stride`, handing exceptions over to the consumer, closing.

    With `decode_in_process` all that happens in the same source opened once more in a worker process.

    `_frames` may yield every frame; those not selected are dropped here. Where making a frame is
    costly it may ask `self._wanted(number)` first, and where it can begin anywhere it may read
    `self._start`. `_release` frees what the constructor opened; it runs once, in whichever thread
    used it last.

    The iterator makes one pass: iterating again continues where the last loop stopped.

    Attributes:
        name: short name without path separators, for the output folder.
        width, height: size of every frame, in stored pixels, upright as it is shown.
        frame_rate: frames per second of the source (the usual rate where it varies).
        pixel_aspect: width over height of a pixel as it is shown (the sample aspect ratio), 1 where it is not known.
            Frames, and all coordinates, are in stored pixels; a player shows a frame `width * pixel_aspect` wide.
        ground_truth: MOTChallenge ground truth that belongs to this source, if there is one.
        is_live: whether frames come at their own pace; then only the newest frame waits for the
            consumer, and frames it was too slow for are missing (numbers and timestamps show it).
        arrived: when the frame that was taken last came out of the decoder, by `time.monotonic`; 0 where a process
            decodes.
        allocate: returns uint8 memory of a shape for the frames, where a source can decode into it; set it before the
            first frame is taken. It is called in the prefetch thread.
        origin: how `open_source` opened it; None if something else did.
        stored_video: the packets that frames are decoded from, None if they are not those of a video file.
        damaged: message about damage met while reading, or None. Frames that could be read were
            yielded; a command should end with a non-zero exit code.

    Args:
        name: see above; unsafe characters are replaced.
        size: `(width, height)` in pixels.
        frame_rate: frames per second.
        numbers: numbers of the frames that the source holds, at least one, rising: `range(1, n + 1)`, or a
            list where some are missing; None where they are not known.
        ground_truth: see above.
        is_live: see above.
        pixel_aspect: see above.
    """

    def __init__(
        self,
        name: str,
        size: tuple[int, int],
        frame_rate: float,
        *,
        numbers: Sequence[int] | None = None,
        ground_truth: Path | None = None,
        is_live: bool = False,
        pixel_aspect: Fraction = Fraction(1),
    ) -> None:
        self.name = safe_name(name)
        self.width, self.height = size
        self.frame_rate = frame_rate
        self.ground_truth = ground_truth
        self.is_live = is_live
        self.pixel_aspect = pixel_aspect
        self.allocate: Callable[[tuple[int, ...]], ByteArray] = _new_array
        self.origin: Origin | None = None
        self.stored_video: StoredVideo | None = None
        self.damaged: str | None = None
        self.arrived = 0.0
        self._numbers = numbers
        if numbers is not None and len(numbers) == numbers[-1] - numbers[0] + 1:
            self._numbers = range(numbers[0], numbers[-1] + 1)  # counted without a walk through all of them
        self._start, self._stride = 1, 1
        self._count: int | None = None
        self._yielded = 0
        self._reader: Prefetcher[tuple[Frame, float]] | DecoderProcess | None = None
        self._closed = False
        self._lock = threading.Lock()  # a signal closes the source from another thread
        self._resize_reported = False

    def select(self, start: int = 1, count: int | None = None, stride: int = 1) -> None:
        """Choose the frames to yield: numbers start, start + stride, ..., at most `count` of them.

        Call it before the first frame is taken. Of a source that is not live, `count` also bounds the
        numbers, so frames that are missing are not made up for by later ones.

        Raises:
            ConfigError: if a value is below 1, or `start` is beyond the last frame.
        """
        for label, value in (("start", start), ("count", count), ("stride", stride)):
            if value is not None and value < 1:
                raise ConfigError(f"The {label} of a source must be at least 1, not {value}.")
        if self._numbers is not None and start > self._numbers[-1]:
            raise ConfigError(
                f"Frame {start} is beyond the end of {self.name}, whose last frame is {self._numbers[-1]}."
            )
        self._start, self._count, self._stride = start, count, stride

    @property
    def size(self) -> tuple[int, int]:
        """`(width, height)` in pixels."""
        return self.width, self.height

    @property
    def frame_count(self) -> int | None:
        """Number of frames that will be yielded as far as the source states it, or None if that is not known."""
        if self.is_live:
            return self._count
        if self._numbers is None:
            return None
        if not isinstance(self._numbers, range):
            return sum(map(self._wanted, self._numbers))
        first, last = self._numbers[0], self._numbers[-1]
        skipped = -(-max(0, first - self._start) // self._stride)  # selected numbers before the first, rounded up
        last = last if self._last is None else min(self._last, last)
        return len(range(self._start + skipped * self._stride, last + 1, self._stride))

    @property
    def frame_bytes(self) -> int:
        """Bytes of the pixels of a frame, as far as it is known by now."""
        return 3 * self.width * self.height

    def sample(self) -> Frame:
        """Return a frame in the format of those that will come, to warm up an engine; call it before one is taken."""
        pixels = self.allocate((self.height, self.width, 3))
        pixels[:] = 0
        return Frame(0, 0.0, pixels)

    def _wanted(self, number: int) -> bool:
        """Return whether the frame of this number is among those selected."""
        if number < self._start or (number - self._start) % self._stride:
            return False
        last = self._last
        return last is None or number <= last

    @property
    def _last(self) -> int | None:
        """Number of the last selected frame, if there is a last one (a live source drops frames)."""
        if self._count is None or self.is_live:
            return None
        return self._start + (self._count - 1) * self._stride

    @abstractmethod
    def _frames(self) -> Iterator[Frame]:
        """Yield frames in rising order of their numbers; runs in the prefetch thread."""

    def _release(self) -> None:  # noqa: B027 - a hook; most sources hold nothing
        """Free what the constructor opened."""

    def _report_resize(self, number: int, size: tuple[int, int]) -> None:
        """Warn, once per source, that frames change size and are resized to the first one's."""
        if not self._resize_reported:
            self._resize_reported = True
            log.warning(
                "%s changes size to %dx%d at frame %d; such frames are resized to %dx%d, the size of the first.",
                *(self.name, *size, number, self.width, self.height),
            )

    def write_ground_truth_to(self, path: Path) -> None:  # noqa: B027 - a hook; most sources have theirs in a file
        """Let a source that makes its ground truth as it is read write that into another file than its own."""

    def read_here(self) -> Iterator[Frame]:
        """Yield the selected frames of `_frames` as they are read, and stop reading after the last of them."""
        last = self._last
        for frame in self._frames():
            if self._wanted(frame.index):
                yield frame
            if last is not None and frame.index >= last:
                return

    def _timed(self) -> Iterator[tuple[Frame, float]]:
        """Yield the frames of `read_here`, each with the time at which it came."""
        for frame in self.read_here():
            yield frame, time.monotonic()

    def decode_in_process(self, ring: FrameRing) -> None:
        """Read the frames in a worker process, from now on, into a ring; they are views of it.

        Call it once, when the frames are selected and `allocate` is set, and before the first frame is taken. The
        source must have been opened by `open_source`, and be neither live nor a URL, which would be opened twice.

        Args:
            ring: for frames of `frame_bytes`; larger ones come another way.

        Raises:
            OSError: if the process cannot be started.
        """
        assert self.origin is not None
        with self._lock:
            if self._closed:
                return
            self._reader = DecoderProcess(
                DecodeRequest(self.origin, self._start, self._count, self._stride, self.ground_truth),
                self.name,
                ring,
                allocate=self.allocate,
                report_damage=partial(setattr, self, "damaged"),
            )
            self._release()  # what it holds here is not read any more

    def __iter__(self: SourceT) -> SourceT:
        return self

    def __next__(self) -> Frame:
        """Return the next selected frame.

        Raises:
            SourceError: if the source fails while reading, or ended without a frame that was asked for.
        """
        with self._lock:
            # Other sources are read up to the last frame that is selected; where they end is where damage is reported.
            if self._closed or (self.is_live and self._count is not None and self._yielded >= self._count):
                raise StopIteration
            if self._reader is None:
                frame_bytes = 3 * self.width * self.height
                depth = 1 if self.is_live else max(2, min(_QUEUE_FRAMES, _QUEUE_BYTES // frame_bytes))
                self._reader = Prefetcher(self._timed(), depth, newest_only=self.is_live, release=self._release)
        try:
            if isinstance(self._reader, DecoderProcess):
                frame = next(self._reader)
            else:
                frame, self.arrived = next(self._reader)
        except StopIteration:
            if not self._yielded and not self._closed:
                raise SourceError(f"{self.name} ended before frame {self._start}; ask for an earlier one.") from None
            raise
        self._yielded += 1
        return frame

    def close(self) -> None:
        """Stop reading and free the source, from any thread; frames already taken stay valid."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        if self._reader is None:
            self._release()
        else:
            self._reader.close()

    def __enter__(self: SourceT) -> SourceT:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _new_array(shape: tuple[int, ...]) -> ByteArray:
    return np.empty(shape, np.uint8)


def safe_name(text: str) -> str:
    """Return `text` as one harmless path component: letters, digits, `-`, `_`, `.`; not empty, no leading dot.

    A long text is shortened and ends in a digest of the whole, so that different texts stay different.
    """
    kept = (
        "".join(character if character.isalnum() or character in "-_." else "_" for character in text).strip("._")
        or "source"
    )
    encoded = kept.encode()
    if len(encoded) <= _NAME_BYTES:
        return kept
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_CHARACTERS]
    return f"{encoded[: _NAME_BYTES - _DIGEST_CHARACTERS - 1].decode(errors='ignore')}-{digest}"
