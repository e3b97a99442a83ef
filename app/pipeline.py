"""The loop: frames from a source through engine and tracker into sinks."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice

from fairmot.core import Detections, Frame, StageClock, Tracks
from fairmot.core.records import ByteArray
from fairmot.core.tracked_classes import TrackedClasses
from fairmot.engine import Engine
from fairmot.tracker import FairMOTTracker
from fairmot.tracker.detection_file import DetectionWriter
from fairmot.tracker.gmc.flow import OpticalFlowGMC
from fairmot.video import Sink, Source


def track_frames(
    source: Source,
    engine: Engine,
    tracker: FairMOTTracker,
    *,
    classes: TrackedClasses | Sequence[str] = (),
    clock: StageClock | None = None,
    gmc: OpticalFlowGMC | None = None,
    writer: DetectionWriter | None = None,
) -> Generator[tuple[Frame, Tracks], None, None]:
    """Track the objects of a source until it ends or is closed by another thread.

    Frames that were read before the source fails are tracked and yielded first.

    Args:
        source: open, at its first frame.
        engine: detects objects, in batches of its `max_batch` frames, read ahead as it recommends; of a live source it
            gets single frames, each only when the one before is done.
        tracker: new, for the source's frame rate divided by its stride and the class names of the engine's model.
        classes: names of the only classes that are tracked (and written by `writer`); all of the model's if empty.
        clock: accumulates the seconds of the stages `read`, `camera` and `track`; pass the engine the same.
        gmc: new; estimates the motion of the camera for the tracker.
        writer: receives the detections of every frame that is tracked.

    Yields:
        Each frame and the tracks in it.

    Raises:
        ConfigError: if the model has no class of a name.
        SourceError: if the source fails while reading.
        Exception: whatever else source, engine or tracker raise.
    """
    if classes and not isinstance(classes, TrackedClasses):
        classes = TrackedClasses.of(engine.model.class_names, classes)
    clock = clock or StageClock()
    tracks = Tracks.empty()
    size, prefetch_batches = (1, 0) if source.is_live else (engine.max_batch, engine.prefetch_batches)
    with closing(engine.detect_batches(read_batches(source, size, clock), prefetch_batches)) as found:
        for frame, detected in _one_by_one(found):
            detections = classes.only(detected) if isinstance(classes, TrackedClasses) else detected
            if writer is not None:
                writer.add(frame.index, detections, frame.timestamp)
            if gmc is not None:
                with clock("camera"):
                    tracker.move(gmc.update(_image(frame), tracks.tlwh))
            with clock("track"):
                tracks = tracker.update(detections, frame.timestamp)
            yield frame, tracks


def run_pipeline(
    source: Source,
    engine: Engine,
    tracker: FairMOTTracker,
    sinks: Sequence[Sink],
    *,
    classes: TrackedClasses | Sequence[str] = (),
    clock: StageClock,
    gmc: OpticalFlowGMC | None = None,
    writer: DetectionWriter | None = None,
    report: Callable[[Frame, Tracks], object] = lambda frame, tracks: None,
) -> bool:
    """Track the objects of a source into sinks until it ends, is closed by another thread, or a sink asks to stop.

    Args:
        source: see `track_frames`, as for engine, tracker, gmc and writer.
        engine: detects objects.
        tracker: new.
        sinks: receive every frame with its tracks.
        classes: see `track_frames`.
        clock: accumulates the seconds of the stage `write` too.
        gmc: new.
        writer: receives the detections.
        report: called after each frame is written.

    Returns:
        True if a sink asked to stop.

    Raises:
        SourceError: if the source fails while reading.
        OutputError: if a sink cannot write.
        Exception: whatever else source, engine, tracker or sinks raise.
    """
    frames = track_frames(source, engine, tracker, classes=classes, clock=clock, gmc=gmc, writer=writer)
    return write_frames(frames, sinks, clock=clock, report=report, stop=frames.close)


def write_frames(
    frames: Generator[tuple[Frame, Tracks], None, None],
    sinks: Sequence[Sink],
    *,
    clock: StageClock,
    stop: Callable[[], object],
    report: Callable[[Frame, Tracks], object] = lambda frame, tracks: None,
) -> bool:
    """Write frames and their tracks into sinks; close the generator in the end.

    Args:
        frames: see `track_frames`.
        sinks: receive every frame with its tracks.
        clock: accumulates the seconds of the stage `write`.
        stop: called once if a sink asks to stop; it makes the frames end.
        report: called after each frame is written.

    Returns:
        True if a sink asked to stop.

    Raises:
        Exception: whatever the generator and the sinks raise.
    """
    stopped = False
    with closing(frames):
        for frame, tracks in frames:
            with clock("write"):
                for sink in sinks:
                    sink.write(frame, tracks)
            report(frame, tracks)
            if not stopped and any(sink.stop_requested for sink in sinks):
                stopped = True
                stop()
    return stopped


def _one_by_one(
    batches: Iterable[tuple[Sequence[Frame], Sequence[Detections]]],
) -> Iterator[tuple[Frame, Detections]]:
    for frames, found in batches:
        yield from zip(frames, found, strict=True)


def _image(frame: Frame) -> ByteArray:
    """Return the pixels to estimate motion from: BGR, or the first of several planes, which is gray."""
    return frame.pixels if frame.pixel_format == "bgr24" else frame.pixels[: frame.height]


def read_batches(source: Source, size: int, clock: StageClock) -> Iterator[list[Frame]]:
    """Yield up to `size` frames at a time, and raise what the source raises only after the frames before it."""
    failure: Exception | None = None
    while failure is None:
        frames: list[Frame] = []
        with clock("read"):
            try:
                # One by one, so that frames before a failure are kept.
                for frame in islice(source, size):
                    frames.append(frame)
            except Exception as error:
                failure = error
        if frames:
            yield frames
        elif failure is None:
            return
    raise failure
