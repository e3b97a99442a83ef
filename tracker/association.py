"""Association alone: from stored detections to MOTChallenge results."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from fairmot.core.errors import ConfigError, UserError
from fairmot.core.files import check_writable, write_whole
from fairmot.core.motchallenge import Boxes, result_text
from fairmot.tracker.detection_file import DetectionFile, find_detection_files, name_of, read_detection_file
from fairmot.tracker.fairmot import FairMOTTracker
from fairmot.tracker.interpolation import interpolate
from fairmot.tracker.settings import TrackerSettings

USUAL_FRAME_RATE = 30.0
EVERY_GAP = -1


def associate(
    inputs: Sequence[str],
    output: Path,
    settings: TrackerSettings,
    say: Callable[[str], None],
    *,
    frame_rate: float | None = None,
    longest_gap: int | None = None,
) -> None:
    """Track stored detections and write the results.

    Args:
        inputs: detection files, sequences, or folders of them.
        output: see `output_paths`.
        settings: of the tracker.
        say: called with each line of the report.
        frame_rate: frames per second, all equally long; that of the file, and its timestamps, if None.
        longest_gap: interpolate gaps of up to so many frames, all with `EVERY_GAP`, none if None.

    Raises:
        UserError: if an input or the output is invalid; no results of that sequence are written then.
    """
    paths = [path for given in inputs for path in find_detection_files(given)]
    outputs = output_paths(output, [name_of(path) for path in paths])
    for path in outputs:
        check_writable(path)
    files = [read_detection_file(path) for path in paths]
    for stored, path in zip(files, outputs, strict=True):
        rate = frame_rate or stored.frame_rate
        if rate is None:
            say(f"{stored.name}: nothing says the frame rate, so {USUAL_FRAME_RATE:g} is taken; give --frame-rate.")
            rate = USUAL_FRAME_RATE
        started = time.perf_counter()
        try:
            tracker = FairMOTTracker(rate, settings, stored.classes.names)
            boxes = track(stored, tracker, use_timestamps=frame_rate is None)
        except UserError as error:
            raise UserError(f"{stored.name}: {error}") from error
        milliseconds = 1000 * (time.perf_counter() - started) / max(len(stored), 1)
        if longest_gap is not None:
            boxes = interpolate(boxes, None if longest_gap == EVERY_GAP else longest_gap)
        write_results(boxes, path)
        count = len(np.unique(boxes.ids))
        say(f"{stored.name}: {len(stored)} frames, {count} tracks, {milliseconds:.2f} ms per frame -> {path}")


def track(stored: DetectionFile, tracker: FairMOTTracker, use_timestamps: bool = True) -> Boxes:
    """Return the results of `tracker` on all frames of a detection file.

    Long stretches without detections cost nothing: once no track is left, they are skipped up to the two frames before
    the next detections, from which the tracker learns how long a step is. Where the file has more than one class, the
    results have the number of each in the file's list, from 1.
    """
    frames, reports = [], []
    nothing, position = stored.nothing, 0

    def seconds(position: int) -> float | None:
        return stored.timestamp(position) if use_timestamps else None

    for found_at, frame, detections in stored.found():
        while position < found_at:
            if tracker.is_idle and position < found_at - 2:
                tracker.skip(found_at - 2 - position)
                position = found_at - 2
            tracker.update(nothing, seconds(position))
            position += 1
        tracks = tracker.update(detections, seconds(position))
        position += 1
        if len(tracks):
            reports.append(tracks)
            frames.append(frame)
    if not reports:
        return Boxes(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0))
    return Boxes(
        np.repeat(frames, [len(tracks) for tracks in reports]),
        np.concatenate([tracks.ids for tracks in reports]),
        np.concatenate([tracks.tlwh for tracks in reports]).astype(np.float64),
        np.concatenate([tracks.scores for tracks in reports]).astype(np.float64),
        np.concatenate([tracks.class_ids for tracks in reports]) + 1 if stored.classes.several else None,
    )


def write_results(boxes: Boxes, path: Path) -> None:
    """Write results as MOTChallenge text.

    Raises:
        OutputError: if that is not possible.
    """
    write_whole(path, result_text(boxes).encode())


def output_paths(output: Path, names: Sequence[str]) -> list[Path]:
    """Return a file for each sequence: `output` itself for one, if it is named like a file, else `output/NAME.txt`."""
    if len(names) == 1 and output.suffix and not output.is_dir():
        return [output]
    if output.suffix == ".txt":
        raise ConfigError(f"There are {len(names)} sequences; let --output be a folder, not {output}.")
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f'Two inputs are named "{name}"; run them one after the other with different --output.')
    return [output / f"{name}.txt" for name in names]
