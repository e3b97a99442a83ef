"""Checks that weights and raw heads of a network are finite, before it is exported.

A network with a NaN would export without an error: its heatmap is NaN before peak suppression and 0 afterwards, in
PyTorch and in ONNX Runtime alike, so that both agree on no detections.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor, nn

from fairmot.core.errors import ModelError
from fairmot.core.text import one_line
from fairmot.export.networks import Network


def require_finite_weights(network: Network, path: Path) -> None:
    """Check that all weights of a network are finite, and that no running variance is negative.

    Args:
        network: with its trained weights.
        path: the checkpoint, for the message.

    Raises:
        ModelError: if a weight is not, naming the first, and how many there are.
    """
    wrong: dict[str, int] = {}
    for name, values in network.state_dict().items():
        count = values.numel() - int(values.isfinite().sum())
        if count:
            wrong[name] = count
        elif name.endswith("running_var") and bool((values < 0).any()):
            raise ModelError(
                f"{path}: the variances in {name} are negative, so the file is damaged: give another checkpoint."
            )
    if wrong:
        first = next(iter(wrong))
        others = f", as are some in {len(wrong) - 1} other layers" if len(wrong) > 1 else ""
        raise ModelError(
            f"{path}: {wrong[first]} of the {network.state_dict()[first].numel()} weights in {first} are not "
            f"finite{others}, so training diverged: give an earlier checkpoint."
        )


def require_finite_heads(network: Network, images: Tensor, path: Path) -> Mapping[str, Tensor]:
    """Run a network and check its raw heads, before sigmoid and peak suppression hide non-finite values.

    Args:
        network: in evaluation mode.
        images: `(n, 3, h, w)` float32, normalized.
        path: the checkpoint or model, for the message.

    Returns:
        The heads.

    Raises:
        ModelError: if one is not finite, naming it and the first layer whose output is not.
    """
    with torch.no_grad():
        heads: dict[str, Tensor] = network(images)
    for name, values in heads.items():
        if not values.isfinite().all():
            layer = _first_layer(network, images)
            raise ModelError(
                f'{path}: the head "{name}" is not finite on the verification image'
                f"{f', from the layer {one_line(layer)} on' if layer else ''}: the model detects nothing, train it "
                "again or give an earlier checkpoint."
            )
    return heads


def _first_layer(network: nn.Module, images: Tensor) -> str:
    """Return the name of the first layer whose output is not finite, "" if there is none."""
    found: list[str] = []

    def watch(name: str) -> object:
        def look(module: nn.Module, inputs: object, output: object) -> None:
            if not found and isinstance(output, Tensor) and not output.isfinite().all():
                found.append(name)

        return look

    with ExitStack() as hooks, torch.no_grad():
        for name, module in network.named_modules():
            if not list(module.children()):
                hooks.callback(module.register_forward_hook(watch(name)).remove)
        network(images)
    return found[0] if found else ""
