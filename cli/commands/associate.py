"""The command `fairmot associate`: association alone, from stored detections to MOTChallenge results."""

from __future__ import annotations

import logging
import re
import time
from argparse import ArgumentError
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jsonargparse import ArgumentParser

from fairmot.core.console import log_to_stderr
from fairmot.core.errors import ConfigError, UserError, suggestion
from fairmot.core.files import write_whole
from fairmot.core.motchallenge import result_line
from fairmot.core.text import one_line, printable
from fairmot.core.yaml_files import read_yaml, require_bounds
from fairmot.tracker.detection_file import DetectionStream, find_streams, read_stream
from fairmot.tracker.fairmot import FairMOTTracker
from fairmot.tracker.interpolation import interpolate
from fairmot.tracker.motchallenge import Boxes
from fairmot.tracker.presets import PRESETS, preset
from fairmot.tracker.settings import TrackerSettings

DESCRIPTION = """\
Give stored detections identities, without running the network again. DETECTIONS is a MOTChallenge det.txt, an .npz
file of run_track.py --save-detections, a sequence with det/det.txt, or a folder of any of these."""
USUAL_FRAME_RATE = 30.0
EVERY_GAP = -1


def main(arguments: Sequence[str], say: Callable[[str], None]) -> int:
    """Run the command.

    Args:
        arguments: command line without the program's name.
        say: takes each line of the report.

    Returns:
        0.

    Raises:
        UserError: if an input, an option or the output is at fault; no results of that sequence are written then.
        SystemExit: for `--help`, after printing.
    """
    values, settings = parse(arguments)
    paths = [path for given in values["detections"] for path in find_streams(given)]
    streams = [read_stream(path) for path in paths]
    outputs = output_paths(Path(values["output"]), [stream.name for stream in streams])
    for stream, output in zip(streams, outputs, strict=True):
        rate = values["frame_rate"] or stream.frame_rate
        if rate is None:
            say(f"{stream.name}: nothing says the frame rate, so {USUAL_FRAME_RATE:g} is taken; give --frame_rate.")
            rate = USUAL_FRAME_RATE
        started = time.perf_counter()
        try:
            boxes = track(stream, FairMOTTracker(rate, settings), use_timestamps=values["frame_rate"] is None)
        except UserError as error:
            raise UserError(f"{stream.name}: {error}") from error
        milliseconds = 1000 * (time.perf_counter() - started) / max(len(stream), 1)
        if values["interpolate"] is not None:
            boxes = interpolate(boxes, None if values["interpolate"] == EVERY_GAP else values["interpolate"])
        write_results(boxes, output)
        people = len(np.unique(boxes.ids))
        say(f"{stream.name}: {len(stream)} frames, {people} tracks, {milliseconds:.2f} ms per frame -> {output}")
    return 0


def track(stream: DetectionStream, tracker: FairMOTTracker, use_timestamps: bool = True) -> Boxes:
    """Return the results of `tracker` on a whole stream.

    Long stretches without detections cost nothing: once no track is left, they are skipped up to the two frames before
    the next detections, from which the tracker learns how long a step is.
    """
    frames, reports = [], []
    nothing, position = stream.nothing, 0

    def seconds(position: int) -> float | None:
        return stream.timestamp(position) if use_timestamps else None

    for found_at, frame, detections in stream.found():
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
    )


def write_results(boxes: Boxes, path: Path) -> None:
    """Write results as MOTChallenge text, as `fairmot.core.motchallenge.result_line` gives it.

    Raises:
        OutputError: if that is not possible.
    """
    rows = zip(boxes.frames.tolist(), boxes.ids.tolist(), boxes.tlwh.tolist(), boxes.scores.tolist(), strict=True)
    write_whole(path, "".join(result_line(*row) for row in rows).encode())


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


def parse(arguments: Sequence[str]) -> tuple[dict[str, Any], TrackerSettings]:
    """Read the command line: the named tracker first, then the configuration's `tracker:` keys, then flags.

    Raises:
        ConfigError: if something is unknown, of the wrong type or out of range.
    """
    parser = _parser()
    arguments = list(arguments)
    start = preset(_value_of("--tracker", arguments) or "default")
    parser.set_defaults(asdict(start))
    config = _value_of("--config", arguments)
    if config:
        arguments = [*_as_flags(config), *arguments]
    for before, argument in zip(["", *arguments], arguments, strict=False):
        name, equals, value = argument.partition("=")
        if argument.startswith("--") and equals:
            require_bounds(name, value)
        elif before.startswith("--"):
            require_bounds(before, argument)
    try:
        values = vars(parser.parse_args(arguments))
    except ArgumentError as error:
        raise ConfigError(_explained(str(error.message))) from error
    settings = TrackerSettings(**{field.name: values.pop(field.name) for field in fields(TrackerSettings)})
    if values["frame_rate"] is not None and not 0 < values["frame_rate"] < float("inf"):
        raise ConfigError(f"frame_rate must be above 0, not {values['frame_rate']}.")
    if values["interpolate"] is not None and values["interpolate"] < EVERY_GAP:
        raise ConfigError(f"interpolate must be a number of frames from 0, not {values['interpolate']}.")
    return values, settings


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="fairmot associate",
        usage="fairmot associate DETECTIONS [DETECTIONS ...] -o RESULTS [options]",
        description=DESCRIPTION,
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("detections", metavar="DETECTIONS", nargs="+", help="what to track")
    parser.add_argument(
        "-o", "--output", required=True, help="result file for one sequence, or folder for NAME.txt of each"
    )
    parser.add_argument("--tracker", default="default", help=f"settings to start from: {', '.join(PRESETS)}")
    parser.add_argument(
        "--config", default=None, help="YAML file whose `tracker:` keys replace those settings, as for run_track.py"
    )
    parser.add_argument(
        "--frame_rate",
        type=float | None,
        default=None,
        help="frames per second, all equally long; null means what seqinfo.ini or the .npz file says",
    )
    parser.add_argument(
        "--interpolate",
        metavar="FRAMES",
        nargs="?",
        type=int | None,
        const=EVERY_GAP,
        default=None,
        help="fill the gaps of tracks that were found again, those of at most so many frames if a number follows",
    )
    parser.add_class_arguments(TrackerSettings)
    return parser


def _value_of(flag: str, arguments: Sequence[str]) -> str | None:
    """Return the last value that the command line gives to `flag`."""
    last = None
    for argument, following in zip(arguments, [*arguments[1:], None], strict=False):
        name, equals, value = argument.partition("=")
        if name == flag:
            last = value if equals else following
    return last


def _as_flags(path: str) -> Iterator[str]:
    """Yield the `tracker:` keys of a YAML file as flags."""
    content = read_yaml(path, "configs/default.yaml")
    section = content.get("tracker") if isinstance(content, Mapping) else None
    if not isinstance(section, Mapping):
        raise ConfigError(f"The configuration {path} holds no `tracker:` keys; see configs/default.yaml.")
    names = {field.name for field in fields(TrackerSettings)}
    for key, value in section.items():
        if key not in names:
            raise ConfigError(f'{path}: the key "tracker.{key}" is unknown.{suggestion(str(key), names)}')
        yield f"--{key}={yaml.safe_dump(value).removesuffix('...' + chr(10)).strip()}"


def _explained(message: str) -> str:
    """Return a message of jsonargparse as one sentence in our words."""
    unknown = re.match(r"unrecognized arguments: --([^\s=]+)", message, re.IGNORECASE)
    if unknown:
        known = [field.name for field in fields(TrackerSettings)]
        return f'The option "{unknown[1]}" is unknown.{suggestion(unknown[1], known)}'
    wrong = re.search(r'Parser key "([\w.]+)".*(?:Given value|Got value): (.*)', message, re.DOTALL)
    if wrong:
        return f'{wrong[1]} cannot be "{one_line(wrong[2])}"; see fairmot associate --help.'
    return one_line(message, 400).rstrip(".") + "; see fairmot associate --help."


def run(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    log_to_stderr(logging.WARNING, "%(levelname)s: %(message)s")
    return main(arguments, lambda line: print(printable(line)))
