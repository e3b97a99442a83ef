"""The options of a tracking run: typed, from a YAML file and flags with the same keys."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import partial
from typing import Literal

from fairmot.core.errors import ConfigError
from fairmot.core.limits import MAX_PIXELS
from fairmot.core.options import Names, Size, argument, nested, option
from fairmot.core.processes import CAN_SHARE_MEMORY
from fairmot.core.text import one_line
from fairmot.engine.settings import EngineSettings
from fairmot.tracker.settings import TrackerSettings

_frames, _engine, _tracks, _results = (
    partial(option, group=group) for group in ("frames", "engine", "tracks", "results")
)


@dataclass(frozen=True)
class Options:
    """The options of `fairmot track`; every field but `sources` is a key in YAML and a flag, those of `engine` as well.

    Raises:
        ConfigError: if a value is out of range.
    """

    sources: tuple[str, ...] = argument(
        "video file, folder of images, MOTChallenge sequence, folder of such sequences, glob, camera index, URL, or "
        "demo, a scene that the project renders",
        "SOURCE",
        many=True,
        missing="Name a SOURCE: a video file, a folder of images, a camera index, a URL or demo",
    )
    start: int = _frames("number of the first frame, from 1", 1)
    frames: int | None = _frames("most frames to track; null means all", None)
    stride: int = _frames("take every n-th frame", 1)
    split: Literal["full", "val-half"] = _frames(
        "val-half takes the second half alone, as FairMOT was validated on MOT17", "full"
    )
    max_pixels: int = _frames(
        "refuse images and video frames with more pixels than this before they are decoded", MAX_PIXELS
    )
    engine: EngineSettings = nested(
        EngineSettings, group="engine", names={"backend": "engine"}, skip=("score_threshold", "clock")
    )
    pipeline: Literal["auto", "threads", "processes"] = option(
        "where frames are decoded and tracked and results are written: in threads, or in processes beside this one "
        "(Linux; cameras and URLs have threads); auto takes processes on a GPU unless the source is short",
        "auto",
        group="engine",
    )
    jobs: Literal["auto"] | int = _engine(
        "sources tracked at the same time, each by a process with its own engine; live sources always all run at once, "
        "but for 1, which takes one source after the other",
        "auto",
    )
    gpus: int | str | None = _engine(
        "GPUs to spread the jobs over, as in 0,1 or all; null means the first one", None, metavar="GPUS"
    )
    classes: Names = option("track only these classes of the model, as in person,car; all if empty", (), group="tracks")
    gmc: bool = _tracks(
        "global motion compensation: follow a moving camera by optical flow; no part of --save-detections", False
    )
    interpolate: bool = _tracks("at the end fill the gaps of tracks that were found again, in tracks.txt alone", False)
    output: str = _results("folder for the results; each source gets a folder in it", "output")
    video: bool = _results("write the annotated video", True)
    overlay: Literal["drawn", "subtitles"] = _results(
        "drawn encodes the video with the tracks drawn in; subtitles copies that of a file with a track of subtitles",
        "drawn",
    )
    video_size: Size | None = option(
        "largest size of the annotated video, as in 1280x720, into which larger frames are scaled down; null means any",
        None,
        group="results",
    )
    video_fps: float | None = _results(
        "most frames per second of the annotated video, the rest being left out of it alone; null means all", None
    )
    csv: bool = _results("write the tracks as CSV too, tracks.csv", False)
    show: bool = _results("show the tracks in a window while they are found; q ends the run", False)
    save_detections: str | None = _results(
        "write what the tracker was given for `fairmot associate`: NAME.npz, or a folder for one per source",
        None,
    )
    eval: bool = _results("score the tracks against the ground truth of the source", False)
    benchmark: Literal["auto", "mot17", "mot15"] = _results(
        "whose rules score them; auto is mot17 where the ground truth names classes, else mot15", "auto"
    )
    resume: bool = _results(
        "skip files and folders whose results are complete with the same settings; --eval scores them too",
        False,
    )
    tracker: TrackerSettings = nested(TrackerSettings, prefix="tracker.")

    def __post_init__(self) -> None:
        if not self.sources:
            raise ConfigError("Name a SOURCE: a video file, a folder of images, a camera index, a URL or demo.")
        for name in ("start", "frames", "stride", "max_pixels", "jobs"):
            value = getattr(self, name)
            if value not in (None, "auto") and value < 1:
                raise ConfigError(f"{name} must be at least 1, not {value}.")
        if self.pipeline == "processes" and not CAN_SHARE_MEMORY:
            raise ConfigError(
                "pipeline (processes) needs memory that only Linux shares between processes; take threads or auto."
            )
        if self.video_size is not None and min(self.video_size) < 2:
            raise ConfigError(f"video_size must be at least 2x2, not {self.video_size[0]}x{self.video_size[1]}.")
        if self.video_fps is not None and not 0 < self.video_fps < math.inf:
            raise ConfigError(f"video_fps must be a number above 0, not {self.video_fps:g}.")
        if self.split != "full" and self.start != 1:
            raise ConfigError(
                f"start ({self.start}) and split ({self.split}) both choose the first frame; use only one."
            )
        if self.benchmark != "auto" and not self.eval:
            raise ConfigError(f"benchmark ({self.benchmark}) says how to score, which was not asked for; add --eval.")
        if self.gpus is not None and not re.fullmatch(r"all|\d{1,4}(,\d{1,4})*", str(self.gpus)):
            raise ConfigError(f'gpus must be all, or numbers by commas as in 0,1, not "{one_line(self.gpus)}".')
        if self.gpus is not None and self.engine.backend == "onnxruntime":
            raise ConfigError(f"gpus ({self.gpus}) chooses GPUs, but the engine onnxruntime runs on the CPU.")
        if self.save_detections == "":
            raise ConfigError("save_detections must name a file or a folder; null saves nothing.")
