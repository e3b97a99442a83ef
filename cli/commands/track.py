"""`fairmot track`: people and other objects in videos, images, cameras and network streams."""

from __future__ import annotations

from fairmot.app.options import Options
from fairmot.cli.command import Command, ConfigFiles

_DESCRIPTION = """\
Follow the people in a video, or whatever the model detects: every one gets a number that stays the same, and the
results are an annotated video, MOTChallenge text and JSON lines in OUTPUT/<name of the source>/."""


def run(options: Options) -> int:
    """Run the command and return its exit code."""
    from fairmot.app.command import track

    return track(options)


COMMAND = Command(
    Options,
    run,
    _DESCRIPTION,
    (
        "fairmot track video.mp4",
        "fairmot track rtsp://camera/stream --show --gmc",
        "fairmot track 'MOT17/train/*-SDP' --config mot17 --weights fairmot.onnx --split val-half",
    ),
    "fairmot.app.command",
    ConfigFiles(("default", "fairmot", "mot17")),
)
