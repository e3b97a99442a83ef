"""Prints what a plan is and what its layers are."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from fairmot.core.text import printable
from fairmot.engine.model import ModelInfo
from fairmot.engine.trt.layers import Layer
from fairmot.engine.trt.plan import Plan


def print_plan(plan: Plan, times: Mapping[str, float] | None = None) -> None:
    """Print facts and layers of a plan to standard output.

    Args:
        plan: what to print.
        times: milliseconds by layer name; adds a column and a sum.
    """
    host, settings = plan.host, plan.settings
    origin = plan.model.architecture if isinstance(plan.model, ModelInfo) else "made elsewhere"
    major, minor = host.compute_capability
    console = Console(highlight=False, soft_wrap=True)
    facts = {
        "model": f"{plan.model.path.name} ({origin}), sha256 {plan.model_sha256[:16]}",
        "input": f"{plan.size[0]}x{plan.size[1]}, batch {', '.join(map(str, settings.batches))}",
        "precision": settings.precision,
        "deformable convolutions": settings.dcn,
        "auxiliary streams": f"at most {settings.aux_streams}" if settings.aux_streams else "none",
        "built on": f"{host.gpu} (sm_{major}{minor}), TensorRT {host.tensorrt}, plugins {host.plugins or 'none'}",
        "engine": f"{len(plan.engine) / 1e6:.1f} MB, {len(plan.layers)} layers",
    }
    for name, value in facts.items():
        console.print(f"{name}: {printable(value)}", markup=False)
    table = Table(box=None, pad_edge=False)
    for heading in ("layer", "kind", "in", "out"):
        table.add_column(heading, overflow="fold")
    if times is not None:
        table.add_column("ms", justify="right")
    listed = {layer.name for layer in plan.layers}
    others = [Layer(name, "", (), ()) for name in times or () if name not in listed]
    for layer in (*plan.layers, *others):
        row = [layer.name, layer.kind, ", ".join(layer.inputs), ", ".join(layer.outputs)]
        if times is not None:
            row.append(f"{times[layer.name]:.4f}" if layer.name in times else "")
        table.add_row(*(printable(cell).replace("[", "\\[") for cell in row))
    if not console.is_terminal:
        console.width = 400  # nobody folds lines in a file
    console.print(table)
    if times is not None:
        console.print(f"sum of the layers: {sum(times.values()):.3f} ms")
