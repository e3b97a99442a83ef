"""Initial weights of a training run: those of a checkpoint, or of an exported model whose checkpoint is not at hand."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from fairmot.core.errors import ModelError
from fairmot.core.text import printable
from fairmot.engine.onnx_file import load_onnx, require_finite
from fairmot.export.checkpoint import read_state_dict
from fairmot.export.finite import require_finite_weights
from fairmot.export.networks import Network
from fairmot.export.onnx_model import batch_norm_pairs, fold_batch_norm

log = logging.getLogger(__name__)

_HEADS = {"hm", "wh", "reg", "id"}
_PREFIX = "network."  # of the weights in an exported file
_HALF = ".half"
_NAMED = 3  # weights that an error lists


def initialize(network: Network, path: Path, images: Tensor) -> None:
    """Give a network the weights of a file; heads of another size keep their own.

    An exported model has its BatchNorm folded into the convolutions. It is separated again: the convolutions take the
    folded weights, and mean and variance are measured on `images`, so that the network computes the same, in training
    too as long as batches resemble these images.

    Args:
        network: of the file's architecture, on the device of the images.
        path: a .pth file of FairMOT or of `fairmot train`, or an ONNX file of `fairmot export`.
        images: `(n, 3, h, w)` float32, a batch as in training.

    Raises:
        ModelError: if the file cannot be read or is of another architecture.
    """
    is_exported = path.suffix.lower() == ".onnx"
    weights = _exported_weights(path) if is_exported else read_state_dict(path)
    target = fold_batch_norm(network) if is_exported else network
    _copy(target, weights, path)
    if is_exported:
        _separate_batch_norm(network, target, images)
    require_finite_weights(network, path)


def _exported_weights(path: Path) -> dict[str, Tensor]:
    model = load_onnx(path)
    require_finite(model, path)
    weights = {}
    for tensor in model.graph.initializer:
        if tensor.name.startswith(_PREFIX):
            array = numpy_helper.to_array(tensor).astype(np.float32)
            weights[tensor.name.removeprefix(_PREFIX).removesuffix(_HALF)] = torch.from_numpy(array)
    return weights


def _copy(network: Network, weights: Mapping[str, Tensor], path: Path) -> None:
    """Copy all weights but those of heads that have another size here.

    Layers that no output depends on are absent from an exported file.
    """
    own = network.state_dict()
    same = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    other = [name for name in weights if name not in same and name.partition(".")[0] not in _HEADS]
    if other or not any(name.partition(".")[0] not in _HEADS for name in same):
        shown = ", ".join(other[:_NAMED]) + (f" and {len(other) - _NAMED} more" if len(other) > _NAMED else "")
        raise ModelError(
            f"{path} is of another architecture than the settings name ({shown or 'no weight of it fits'}): give "
            "--settings.architecture as that of the file."
        )
    network.load_state_dict({**own, **same})
    new = sorted({name.partition(".")[0] for name in own if name not in same} & _HEADS)
    log.info("Starts from %s%s", printable(path), f"; new: the heads {', '.join(new)}" if new else "")


def _separate_batch_norm(network: Network, folded: Network, images: Tensor) -> None:
    pairs = batch_norm_pairs(network)
    taken = folded.state_dict()
    paired = {f"{name}.{kind}" for pair in pairs for name in pair for kind in ("weight", "bias")}
    own = network.state_dict()
    network.load_state_dict({name: own[name] if name in paired else taken.get(name, own[name]) for name in own})
    hooks = []
    with torch.no_grad():
        for layer_name, norm_name in pairs:
            layer, norm = network.get_submodule(layer_name), network.get_submodule(norm_name)
            layer.weight.copy_(taken[f"{layer_name}.weight"])  # type: ignore[operator]
            if layer.bias is not None:
                layer.bias.zero_()  # type: ignore[operator]
            shift = taken[f"{layer_name}.bias"].clone()
            hooks.append(norm.register_forward_pre_hook(partial(_measure, shift)))
        was_training = network.training
        network.eval()(images)
        network.train(was_training)
    for hook in hooks:
        hook.remove()


def _measure(shift: Tensor, norm: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
    """Set a BatchNorm so that it adds `shift` alone to inputs of this mean and variance."""
    variance, mean = torch.var_mean(inputs[0].float(), dim=(0, 2, 3), correction=0)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight.copy_((variance + norm.eps).sqrt())
    norm.bias.copy_(shift + mean)
