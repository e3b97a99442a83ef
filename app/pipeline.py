"""The loop: frames from a source through engine and tracker into sinks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice

from fairmot.core import Detections, Frame, StageClock, Tracks
from fairmot.core.records import ByteArray
from fairmot.engine import Engine
from fairmot.tracker import FairMOTTracker
from fairmot.tracker.detection_file import StreamWriter
from fairmot.tracker.gmc.flow import CameraMotion
from fairmot.video import Sink, Source


def track_frames(
    source: Source,
    engine: Engine,
    tracker: FairMOTTracker,
    sinks: Sequence[Sink],
    *,
    clock: StageClock,
    camera: CameraMotion | None = None,
    stream: StreamWriter | None = None,
    report: Callable[[Frame, Tracks], object] = lambda frame, tracks: None,
) -> bool:
    """Track the people of a source until it ends, is closed by another thread, or a sink asks to stop.

    What was read before a fault of the source is tracked and written first.

    Args:
        source: open, at its first frame.
        engine: finds the people; gets as many frames at once, and as far ahead, as it likes; of a live source single
            ones, each only when the one before is done.
        tracker: new, for the source's frame rate divided by its stride.
        sinks: get every frame with its tracks.
        clock: gets the seconds of the stages `read`, `camera`, `track` and `write`; give the engine the same one.
        camera: new; tells the tracker how the camera moved.
        stream: gets the detections of every frame that is tracked.
        report: called after each frame is written.

    Returns:
        Whether it was a sink that asked to stop.

    Raises:
        SourceError: if the source fails while reading.
        OutputError: if a sink cannot write.
        Exception: whatever else source, engine, tracker or sinks raise.
    """
    tracks = Tracks.empty()
    size, prefetch_batches = (1, 0) if source.is_live else (engine.max_batch, engine.prefetch_batches)
    with closing(engine.detect_batches(_batches(source, size, clock), prefetch_batches)) as found:
        for frame, detections in _one_by_one(found):
            if stream is not None:
                stream.add(frame.index, detections, frame.timestamp)
            if camera is not None:
                with clock("camera"):
                    tracker.move(camera.update(_picture(frame), tracks.tlwh))
            with clock("track"):
                tracks = tracker.update(detections, frame.timestamp)
            with clock("write"):
                for sink in sinks:
                    sink.write(frame, tracks)
            report(frame, tracks)
            if any(sink.stop_requested for sink in sinks):
                return True
    return False


def _one_by_one(
    batches: Iterable[tuple[Sequence[Frame], Sequence[Detections]]],
) -> Iterator[tuple[Frame, Detections]]:
    for frames, found in batches:
        yield from zip(frames, found, strict=True)


def _picture(frame: Frame) -> ByteArray:
    """Return what shows movement: the BGR picture, or of planes the first, which is grey and need not be converted."""
    return frame.pixels if frame.pixel_format == "bgr24" else frame.pixels[: frame.height]


def _batches(source: Source, size: int, clock: StageClock) -> Iterator[list[Frame]]:
    """Yield up to `size` frames at a time, and raise what the source raises only after the frames before it."""
    fault: Exception | None = None
    while fault is None:
        frames: list[Frame] = []
        with clock("read"):
            try:
                # One by one, so that frames before a fault are kept.
                for frame in islice(source, size):
                    frames.append(frame)
            except Exception as error:
                fault = error
        if frames:
            yield frames
        elif fault is None:
            return
    raise fault
