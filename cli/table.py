"""The subcommands of `fairmot`: one line each; the rest stands in their modules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Entry:
    """A subcommand, whose module defines `COMMAND`, see `module_of`.

    Attributes:
        group: title under which the help lists it.
        summary: what it does, in at most 63 characters.
        extra: the project's extra that it needs, as in `[train]`.
        has_workers: whether a signal must reach the end of `run`, where worker processes are stopped.
    """

    group: str
    summary: str
    extra: str = ""
    has_workers: bool = False


COMMANDS: Mapping[str, Entry] = MappingProxyType(
    {
        "track": Entry("Track", "follow people and objects in videos, cameras and streams"),
        "fleet": Entry("Track", "many videos over the machines of a Ray cluster", "[fleet]", has_workers=True),
        "associate": Entry("Track", "identities for stored detections, without the network"),
        "evaluate": Entry("Track", "HOTA, MOTA and IDF1 of results against ground truth"),
        "evaluate-detections": Entry("Track", "COCO's average precision of a model", "[coco]"),
        "export": Entry("Models", "a FairMOT, CenterNet or own checkpoint (.pth) to ONNX", "[export]"),
        "adopt": Entry("Models", "an ONNX file of another exporter, made fit for this project"),
        "build": Entry("Models", "the TensorRT engine of an ONNX file, ahead of its first use"),
        "verify": Entry("Models", "compare a TensorRT engine with its model in float32", "[export]"),
        "inspect": Entry("Models", "layers, formats and times of a TensorRT engine"),
        "plugins": Entry("Models", "compile the TensorRT plugins for this machine"),
        "train": Entry("Training", "train a network on labeled images", "[train]", has_workers=True),
        "reproduce": Entry("Training", "make the bundled weights from the data folder", "[train]", has_workers=True),
    }
)


def module_of(name: str) -> str:
    """Return the module of a subcommand: `fairmot.cli.commands.NAME`, with _ in place of -."""
    return f"fairmot.cli.commands.{name.replace('-', '_')}"
