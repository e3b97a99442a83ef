"""`fairmot train`: a network, from labeled images."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from fairmot.cli.command import Command, ConfigFiles
from fairmot.core.console import log_to_stderr
from fairmot.core.options import nested, option
from fairmot.training.settings import DEFAULT_OUTPUT, TrainSettings


@dataclass(frozen=True)
class Options:
    """The options of `fairmot train`."""

    data: Path = option(
        "folder of the unpacked sets", metavar="DIR", missing="Name the folder of your images: --data DIR"
    )
    output: Path = option(
        "folder for checkpoints, the log and its plot, and what limits the speed; made if missing",
        DEFAULT_OUTPUT,
        metavar="DIR",
    )
    resume: Path | None = option("a last.pth to continue", None, metavar="last.pth")
    init: Path | None = option(
        "start from the weights of a .pth or exported .onnx file of this architecture; heads of other sizes are new",
        None,
        metavar="FILE",
    )
    settings: TrainSettings = nested(TrainSettings, prefix="settings.")


def run(options: Options) -> int:
    """Run the command and return its exit code."""
    from fairmot.training.command import train

    log_to_stderr(logging.INFO)
    return train(options.data, options.settings, options.output, options.resume, options.init)


COMMAND = Command(
    Options,
    run,
    "Train a network on folders of labeled images.",
    (
        "fairmot train --data sets --config train_lite --output runs/lite",
        "fairmot train --data sets --settings.sets '{mine: 1.0}' --init weights/dla_34_lite.onnx",
    ),
    "fairmot.training.command",
    ConfigFiles(("train_lite", "train_classes")),
)
