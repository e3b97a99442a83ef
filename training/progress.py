"""The log of a run: a line for every epoch, and a plot of them at the end."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from fairmot.core.errors import ConfigError
from fairmot.training.outputs import writing

# Names of the curves in each panel of the plot.
_PANELS = (
    ("total",),
    ("heatmap", "box", "offset"),
    ("identity",),
    ("ap", "ap_small", "ap_distant", "recall", "recall_small", "recall_distant", "precision"),
    ("identity_auc",),
    ("images_per_second",),
)


def read_log(path: Path) -> list[dict[str, float]]:
    """Return the entries of a log, without incomplete lines of a killed process."""
    entries = []
    for line in path.read_text(errors="replace").splitlines():
        with suppress(json.JSONDecodeError):
            entries.append(json.loads(line))
    return entries


class EpochLog:
    """Writes a log, one JSON object a line.

    Args:
        path: the file. Lines of steps after `step` are dropped: a resumed run writes them again.
        step: the present one.

    Raises:
        OutputError: if it cannot be written, here and in `write`.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        with writing(path):
            kept = [entry for entry in read_log(path) if entry["step"] <= step] if path.exists() else []
            path.write_text("".join(json.dumps(entry) + "\n" for entry in kept))

    def write(self, entry: dict[str, float]) -> None:
        """Append an epoch and print it."""
        line = json.dumps({name: float(f"{value:.5g}") if value % 1 else value for name, value in entry.items()})
        with writing(self.path), self.path.open("a") as file:
            file.write(line + "\n")
        print(line, flush=True)


def plot(path: Path) -> Path:
    """Plot the curves of a log into a PNG beside it and return its path.

    Raises:
        ConfigError: if matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError("Install matplotlib to plot the training log: pip install matplotlib.") from error
    lines = read_log(path)
    figure = Figure((12, 6), layout="constrained")
    for axes, names in zip(figure.subplots(2, 3).flat, _PANELS, strict=True):
        for name in names:
            points = [(line["step"], line[name]) for line in lines if name in line]
            if points:
                axes.plot(*zip(*points, strict=True), label=name, marker="." if len(points) < 80 else None)
                axes.legend()
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
    target = path.with_suffix(".png")
    figure.savefig(target, dpi=100)
    return target
