"""`fairmot fleet`: many videos over the machines of a Ray cluster."""

from __future__ import annotations

from fairmot.app.fleet.options import FleetOptions
from fairmot.cli.command import Command, ConfigFiles

_DESCRIPTION = """\
Track many videos, each as `fairmot track` does, over all GPUs of a Ray cluster, or over the CPUs of machines without:
one worker per GPU keeps its engine and takes one video after the other. Results appear whole, in OUTPUT/<name of the
video>/; videos whose results are complete are skipped, and those of a worker or machine that is lost go to another.
Without --address Ray is started on this machine and ended again."""


def run(options: FleetOptions) -> int:
    """Run the command and return its exit code."""
    from fairmot.app.fleet.command import fleet

    return fleet(options)


COMMAND = Command(
    FleetOptions,
    run,
    _DESCRIPTION,
    (
        "fairmot fleet 'videos/*.mp4' --output results",
        "fairmot fleet 's3://city/2026-11/*.mp4' --output s3://city/tracks --no-video --address ray://head:10001",
        "fairmot fleet @list.txt --output gs://city/tracks --batch 8 --workers-per-gpu 2",
    ),
    "fairmot.app.fleet.command",
    ConfigFiles(("fairmot",)),
)
