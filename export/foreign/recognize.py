"""Recognition of the heads of a foreign network by the names of its outputs and the nodes that make them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fairmot.core.errors import ModelError
from fairmot.core.text import one_line
from fairmot.export.foreign.heads import Arrangement, Head, Role, role_of_name
from fairmot.export.foreign.trace import Tracer

_SHOWN = 8  # outputs in a message
_CONCATENATED: tuple[Role, ...] = ("reg", "wh", "hm", "pool")


@dataclass(frozen=True)
class Layout:
    """The heads of a network and their grid.

    Attributes:
        heads: by role; `hm` and `wh` at least.
        stride: input pixels per cell.
        cells: rows and columns for the input at which they were recognized.
    """

    heads: Mapping[Role, Head]
    stride: int
    cells: tuple[int, int]

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.heads["hm"].channels


def recognize(tracer: Tracer, outputs: Sequence[str], size: tuple[int, int], assignment: Mapping[str, Role]) -> Layout:
    """Recognize the heads.

    Args:
        tracer: of the graph at an input of `size`.
        outputs: names of the network's outputs.
        size: `(width, height)`.
        assignment: heads by name of the output, as the user named them; the others are then left out.

    Raises:
        ModelError: if it is not clear which output holds what, or in which form.
    """
    for name in assignment:
        if name not in outputs:
            raise ModelError(f'There is no output "{one_line(name)}", only {_listed(tracer, outputs)}: pass --outputs.')
    if not assignment and len(outputs) == 1:
        parts = _parts(tracer, outputs[0])
        names = dict(zip(_CONCATENATED, parts, strict=True))
        reasons = dict.fromkeys(_CONCATENATED, f'part of the output "{one_line(outputs[0])}"')
        ends = {role: (outputs[0], part) for role, part in names.items()}
    else:
        roles, reasons = _roles(tracer, outputs, assignment)
        ends = {role: (output, output) for output, role in roles.items()}
    cells, stride = _grid(tracer, [name for _, name in ends.values()], size)
    heads = {role: _head(tracer, role, *ends[role], cells, reasons[role]) for role in ends}
    if len(outputs) == 1 and not assignment:
        heads = _with_positions(heads)
    _check(tracer, heads)
    return Layout({role: head for role, head in heads.items() if role != "pool"}, stride, cells)


def _parts(tracer: Tracer, output: str) -> list[str]:
    """Return the tensors of reg, wh, hm and the pooled hm that one output concatenates."""
    parts = tracer.concatenated(output)
    pooled = [index for index, part in enumerate(parts) if tracer.operator(tracer.before_moves(part)) == "MaxPool"]
    if len(parts) != 4 or pooled != [3]:
        raise ModelError(
            f'The one output "{one_line(output)}" does not concatenate reg, wh, hm and the pooled hm, in this order: '
            "export the model with the outputs hm, wh, reg."
        )
    return parts


def _roles(
    tracer: Tracer, outputs: Sequence[str], assignment: Mapping[str, Role]
) -> tuple[dict[str, Role], dict[Role, str]]:
    """Return the head of every output, and why."""
    if assignment:
        return dict(assignment), dict.fromkeys(assignment.values(), "named by --outputs")
    roles: dict[str, Role] = {}
    reasons: dict[Role, str] = {}
    for name in outputs:
        role = role_of_name(name)
        if role is not None and role not in reasons:
            roles[name], reasons[role] = role, "by its name"
    rest = [name for name in outputs if name not in roles]
    if "hm" not in reasons:
        scores = [name for name in rest if (end := tracer.heat(name)) is not None and tracer.is_score(end)]
        if len(scores) == 1:
            roles[scores[0]], reasons["hm"] = "hm", "the only output behind a sigmoid"
    heatmaps = [tracer.heat(name) for name, role in roles.items() if role == "hm"]
    for name in [name for name in outputs if name not in roles]:
        is_pool = tracer.operator(tracer.before_moves(name)) == "MaxPool"
        if "pool" not in reasons and is_pool and tracer.heat(name) in heatmaps:
            roles[name], reasons["pool"] = "pool", "the max-pooling of hm"
    unclear = [name for name in outputs if name not in roles]
    if unclear or not {"hm", "wh"} <= set(reasons):
        example = ",".join(f"{role}=..." for role in ("hm", "wh", "reg", "id")[: max(2, min(4, len(outputs)))])
        raise ModelError(
            f"Which of the outputs {_listed(tracer, outputs)} are hm, wh, reg and id is not clear from their names: "
            f"pass --outputs {example}."
        )
    return roles, reasons


def _grid(tracer: Tracer, names: Sequence[str], size: tuple[int, int]) -> tuple[tuple[int, int], int]:
    """Return rows and columns of the heads, and the stride."""
    width, height = size
    found: Counter[tuple[int, int]] = Counter()
    for name in names:
        shape = tracer.shapes.get(tracer.before_moves(name), ())
        for rows, columns in {shape[2:4], shape[1:3]} if len(shape) == 4 else ():
            if min(rows, columns) > 0 and height % rows == 0 and height // rows * columns == width:
                found[rows, columns] += 1
    if not found:
        raise ModelError(
            f"No output is a map of {width}x{height} pixels over a stride ({_listed(tracer, names)}): export the model "
            "with its heads as outputs, of the shape (n, channels, rows, columns)."
        )
    (cells, _) = found.most_common(1)[0]
    return cells, height // cells[0]


def _head(tracer: Tracer, role: Role, output: str, name: str, cells: tuple[int, int], reason: str) -> Head:
    start, is_finished = name, False
    found = tracer.map_of(name, cells)
    if found is None:
        raise ModelError(
            f'The output "{one_line(output)}" for {role} is no map of {cells[0]}x{cells[1]} cells like the others: '
            f"pass --outputs with another output for {role}."
        )
    arrangement = found.arrangement if output == name else _arrangement(tracer.shapes.get(output, ()), cells)
    if role == "hm":
        heat = tracer.heat(name)
        score = None if heat is None else tracer.is_score(heat)
        if heat is None or score is None:
            raise ModelError(
                f'Whether the heatmap "{one_line(output)}" passed a sigmoid is not clear from its operator '
                f"{tracer.operator(heat or name) or 'Input'}: export the model with hm as logits, or behind a Sigmoid."
            )
        start, is_finished = heat, score
        kind = "scores behind a sigmoid" if score else f"logits ({tracer.operator(heat)} makes them)"
        reason = f"{reason}; {kind}"
    elif role == "id":
        start, is_finished = tracer.embedding(name)
        reason = f"{reason}; {'normalized' if is_finished else 'not normalized'}"
    source = tracer.map_of(start, cells) or found
    shape = tracer.shapes[source.name]
    channels = shape[3] if source.is_last else shape[1]
    return Head(role, output, arrangement, 0, channels, source.name, source.is_last, is_finished, reason)


def _arrangement(shape: tuple[int, ...], cells: tuple[int, int]) -> Arrangement:
    """Return how an output of concatenated heads is arranged."""
    if len(shape) == 3:
        return "cells" if shape[1] == cells[0] * cells[1] else "nchw"
    return "nhwc" if shape[1:3] == cells and shape[2:] != cells else "nchw"


def _with_positions(heads: Mapping[Role, Head]) -> dict[Role, Head]:
    """Return concatenated heads with the channels at which they begin."""
    first, placed = 0, {}
    for role in _CONCATENATED:
        placed[role] = replace(heads[role], first=first)
        first += heads[role].channels
    return placed


def _check(tracer: Tracer, heads: Mapping[Role, Head]) -> None:
    """Check the numbers of channels."""
    classes = heads["hm"].channels
    allowed: dict[Role, tuple[tuple[int, ...], str]] = {
        "wh": ((2, 4, 2 * classes), "2 (width, height), 4 (left, top, right, bottom) or 2 for each class"),
        "reg": ((2,), "2 (x, y)"),
        "pool": ((classes,), "as many as hm"),
        "landmarks": (tuple(range(2, 1024, 2)), "2 for each point"),
    }
    for role, (counts, wanted) in allowed.items():
        if role in heads and heads[role].channels not in counts:
            head = heads[role]
            raise ModelError(
                f'The output "{one_line(head.output)}" has {head.channels} channels, but {role} has {wanted}: pass '
                f"--outputs {','.join(f'{each}=...' for each in heads if each != 'pool')}."
            )


def _listed(tracer: Tracer, names: Sequence[str]) -> str:
    """Return names and shapes of outputs for a message."""
    shown = [f'"{one_line(name)}" {"x".join(map(str, tracer.shapes.get(name, ("?",))))}' for name in names[:_SHOWN]]
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(shown) + rest
