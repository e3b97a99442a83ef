"""The options of a fleet: those of a tracking run that make sense for many stored videos, and where they run."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from typing import Literal

from fairmot.app.options import Options
from fairmot.core.errors import ConfigError
from fairmot.core.options import argument, fixed, option

_fleet = partial(option, group="fleet")


@dataclass(frozen=True)
class FleetOptions(Options):
    """The options of `fairmot fleet`: of `fairmot track` all but those of a screen, a score or a single source.

    Raises:
        ConfigError: if a value is out of range.
    """

    sources: tuple[str, ...] = argument(
        "video file, glob, URI of fsspec (s3://, gs://, http://, file://; globs too), folder of images, or @LIST or "
        "LIST.txt, a text with one of these a line",
        "INPUT",
        many=True,
        missing="Name an INPUT: a video file, a glob, a URI, or a list of these as @LIST or LIST.txt",
    )
    output: str = option(
        "folder or URI of fsspec for the results, reached by all machines; each video gets a folder in it",
        "output",
        metavar="URI",
        group="results",
    )
    jobs: Literal["auto"] | int = fixed("auto")
    gpus: int | str | None = fixed(None)
    show: bool = fixed(False)
    save_detections: str | None = fixed(None)
    eval: bool = fixed(False)
    benchmark: str = fixed("auto")  # type: ignore[assignment]
    resume: bool = option(
        "skip videos whose results are complete with the same settings, model and file", True, group="results"
    )
    address: str | None = _fleet(
        "of a Ray cluster, as in ray://head:10001 or head:6379; null starts Ray on this machine alone", None
    )
    workers_per_gpu: int = _fleet("workers that share a GPU: one transfers or decodes while another computes", 1)
    cpus_per_worker: int = _fleet("CPU cores of a worker, and its threads on machines without GPU", 2)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("workers_per_gpu", "cpus_per_worker"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if not self.output:
            raise ConfigError("output must name a folder or a URI.")

    def tracking(self) -> Options:
        """Return the options of the tracking run that each video gets."""
        values = {each.name: getattr(self, each.name) for each in fields(Options)}
        return Options(**{**values, "resume": False})
