"""The options of the command: typed, from a YAML file and flags with the same keys."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal, get_type_hints

from jsonargparse import ActionYesNo, ArgumentParser

from fairmot.cli.options import Keys, with_underscores
from fairmot.core import ConfigError
from fairmot.core.limits import MAX_PIXELS
from fairmot.tracker import TrackerSettings

DESCRIPTION = """\
Follow the people in a video: every person gets a number that stays the same, and the results are an annotated
video, MOTChallenge text and JSON lines in OUTPUT/<name of the source>/. Flags may be written with - or _."""


def _option(group: str, text: str, default: Any) -> Any:
    """Return a field of `Options`: where and how `--help` shows it, and its default."""
    return field(default=default, metadata={"group": group, "help": text})


@dataclass(frozen=True)
class Options:
    """What the command is asked to do; every field but `sources` is a key in YAML and a flag (see their help texts).

    Raises:
        ConfigError: if a value is out of range.
    """

    sources: tuple[str, ...]
    start: int = _option("frames", "number of the first frame, from 1", 1)
    frames: int | None = _option("frames", "most frames to track; null means all", None)
    stride: int = _option("frames", "take every n-th frame", 1)
    split: Literal["full", "val-half"] = _option(
        "frames", "val-half takes the second half alone, as FairMOT was validated on MOT17", "full"
    )
    max_pixels: int = _option(
        "frames", "refuse images and video frames with more pixels than this before they are decoded", MAX_PIXELS
    )
    engine: Literal["auto", "onnxruntime", "tensorrt"] = _option(
        "engine", "what runs the network; auto takes the fastest that works here", "auto"
    )
    weights: str | None = _option(
        "engine", "ONNX file of `fairmot export`; null means the model that ships with the project", None
    )
    size: str | None = _option(
        "engine", "input of the network, as in 576x320; null means the size in the ONNX file", None
    )
    threads: int | None = _option("engine", "CPU threads of the network; null means one per core", None)
    precision: Literal["fp16", "fp32"] = _option("engine", "of the network on a GPU", "fp16")
    dcn: Literal["auto", "plugin", "native", "nvidia"] = _option(
        "engine",
        "deformable convolutions on a GPU: this project's plugin, TensorRT's own layers or NVIDIA's plugin; auto is "
        "plugin, or native where it cannot be built",
        "auto",
    )
    batch: int = _option("engine", "most frames at once on a GPU; a live source is always taken frame by frame", 1)
    max_detections: int = _option("engine", "most people per frame", 500)
    back_projection: Literal["exact", "reference"] = _option(
        "engine", "how boxes return to the frame: exactly, or rounded as in FairMOT's own code", "exact"
    )
    camera_motion: bool = _option(
        "tracks", "follow a moving camera by optical flow; no part of --save-detections", False
    )
    interpolate: bool = _option(
        "tracks", "at the end fill the gaps of tracks that were found again, in tracks.txt alone", False
    )
    output: str = _option("results", "folder for the results; each source gets a folder in it", "output")
    video: bool = _option("results", "write the annotated video", True)
    show: bool = _option("results", "show the tracks in a window while they are found; q ends the run", False)
    save_detections: str | None = _option(
        "results",
        "write what the tracker was given for `fairmot associate`: NAME.npz, or a folder for one per source",
        None,
    )
    eval: bool = _option("results", "score the tracks against the ground truth of the source", False)
    benchmark: Literal["auto", "mot17", "mot15"] = _option(
        "results", "whose rules score them; auto is mot17 where the ground truth names classes, else mot15", "auto"
    )
    resume: bool = _option(
        "results",
        "skip files and folders whose results are complete with the same settings; --eval scores them too",
        False,
    )
    tracker: TrackerSettings = field(default_factory=TrackerSettings)

    def __post_init__(self) -> None:
        if not self.sources:
            raise ConfigError(
                "Name a SOURCE: a video file, a folder of images, a camera index, a URL or demo; see --help."
            )
        for name in ("start", "frames", "stride", "max_pixels"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, not {value}.")
        if self.split != "full" and self.start != 1:
            raise ConfigError(
                f"start ({self.start}) and split ({self.split}) both choose the first frame; use only one."
            )
        if self.benchmark != "auto" and not self.eval:
            raise ConfigError(f"benchmark ({self.benchmark}) says how to score, which was not asked for; add --eval.")
        if self.save_detections == "":
            raise ConfigError("save_detections must name a file or a folder; null saves nothing.")
        if self.size is not None and not re.fullmatch(r"\d+x\d+", self.size):
            raise ConfigError(f'size must be WIDTHxHEIGHT in pixels, as in 576x320, not "{self.size}".')

    @property
    def input_size(self) -> tuple[int, int] | None:
        """`size` as `(width, height)`."""
        if self.size is None:
            return None
        width, _, height = self.size.partition("x")
        return int(width), int(height)


def parse(arguments: Sequence[str]) -> Options:
    """Read the command line and the YAML files that it names; later values replace earlier ones.

    Raises:
        ConfigError: if something is unknown, of the wrong type or out of range.
        SystemExit: for `--help` and `--version`, after printing.
    """
    arguments = [*map(with_underscores, arguments)]
    parser = _parser()
    hints = get_type_hints(Options)
    keys = Keys.of({name: kind for name, kind in hints.items() if name != "sources"}, "configs/default.yaml")
    keys.check_files(parser, arguments)
    parser.add_argument(
        "sources",
        metavar="SOURCE",
        nargs="*",
        help="video file, folder of images, MOTChallenge sequence, folder of such sequences, glob, camera index, URL, "
        "or demo, a scene that the project renders",
    )
    values = vars(keys.parse(parser, arguments))
    values.pop("config")
    values["sources"] = tuple(values["sources"])
    values["tracker"] = TrackerSettings(**vars(values["tracker"]))
    return Options(**values)


def project_version() -> str:
    """Return the version of the installed project."""
    try:
        return version("fairmot-tensorrt")
    except PackageNotFoundError:
        return "unknown (run `pip install -e .`)"


def _parser() -> ArgumentParser:
    """Return the parser of all keys, without the sources, which no file holds."""
    parser = ArgumentParser(
        prog="run_track.py",
        usage="run_track.py SOURCE [SOURCE ...] [--config FILE] [options]",
        description=DESCRIPTION,
        version=project_version(),
        exit_on_error=False,
        allow_abbrev=False,
        print_config=None,
    )
    parser.add_argument("--config", action="config", help="YAML file with any of the keys below; flags after it win")
    hints = get_type_hints(Options)
    groups: dict[str, Any] = {}
    for each in fields(Options):
        if "group" not in each.metadata:
            continue
        title = each.metadata["group"]
        group = groups.setdefault(title, None) or parser.add_argument_group(title)
        groups[title] = group
        kind: dict[str, Any] = {"type": hints[each.name]}
        if hints[each.name] is bool:
            kind = {"action": ActionYesNo(yes_prefix="", no_prefix="no-")}
        group.add_argument(f"--{each.name}", default=each.default, help=each.metadata["help"], **kind)
    parser.add_class_arguments(TrackerSettings, "tracker")
    return parser
