"""`fairmot associate`: association alone, from stored detections to MOTChallenge results."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fairmot.cli.command import Command, ConfigFiles
from fairmot.core.console import log_to_stderr
from fairmot.core.errors import ConfigError
from fairmot.core.options import argument, nested, option
from fairmot.core.text import printable
from fairmot.tracker.presets import PRESETS, preset
from fairmot.tracker.settings import TrackerSettings

_DESCRIPTION = """\
Give stored detections identities, without running the network again. DETECTIONS is a MOTChallenge det.txt, an .npz
file of fairmot track --save-detections, a sequence with det/det.txt, or a folder of any of these."""
_EVERY_GAP = -1


def _preset(name: str) -> Mapping[str, Any]:
    return asdict(preset(name))


@dataclass(frozen=True)
class Options:
    """The options of `fairmot associate`.

    Raises:
        ConfigError: if a value is out of range.
    """

    detections: tuple[str, ...] = argument("what to track", "DETECTIONS", many=True)
    output: Path = option("result file for one sequence, or folder for NAME.txt of each", short="o", metavar="RESULTS")
    tracker: str = option(f"settings to start from: {', '.join(PRESETS)}", "default", metavar="NAME", defaults=_preset)
    frame_rate: float | None = option(
        "frames per second, all equally long; null means what seqinfo.ini or the .npz file says", None
    )
    interpolate: int | None = option(
        "fill the gaps of tracks that were found again, those of at most so many frames if a number follows",
        None,
        metavar="FRAMES",
        const=_EVERY_GAP,
    )
    settings: TrackerSettings = nested(TrackerSettings)

    def __post_init__(self) -> None:
        if self.frame_rate is not None and not 0 < self.frame_rate < float("inf"):
            raise ConfigError(f"frame_rate must be above 0, not {self.frame_rate}.")
        if self.interpolate is not None and self.interpolate < _EVERY_GAP:
            raise ConfigError(f"interpolate must be a number of frames from 0, not {self.interpolate}.")


def run(options: Options) -> int:
    """Run the command and return its exit code."""
    from fairmot.tracker.association import associate

    log_to_stderr(logging.WARNING, "%(levelname)s: %(message)s")
    associate(
        options.detections,
        options.output,
        options.settings,
        lambda line: print(printable(line)),
        frame_rate=options.frame_rate,
        longest_gap=options.interpolate,
    )
    return 0


COMMAND = Command(
    Options,
    run,
    _DESCRIPTION,
    (
        "fairmot track MOT17/train/* --no-video --save-detections dets",
        "fairmot associate dets -o results --tracker byte --motion-limit 0.7",
    ),
    "fairmot.tracker.association",
    ConfigFiles(("default", "fairmot", "mot17"), section="tracker"),
)
