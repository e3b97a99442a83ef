"""Strict loading of FairMOT checkpoints: every key must fit, or the error names the ones that do not."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.errors import ModelError
from export.networks import ARCHITECTURES, HeadSizes, Network, build_network

log = logging.getLogger(__name__)

_PARALLEL = "module."  # put before every key by torch's DataParallel
_CLASSIFIER = "base.fc."  # ImageNet classifier of the backbone, present in official files, never used
_NAMED = 6  # keys that an error lists by name


def _read(path: Path) -> Any:
    if not path.is_file():
        raise ModelError(f"There is no checkpoint {path}.")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on bytes that are no pickle the safe loader raises whatever it stumbles over
        raise ModelError(
            f"{path} is not a checkpoint that torch can load safely: save it again as a state dict."
        ) from error


def read_class_names(path: Path) -> list[str]:
    """Return the classes' names that training wrote into a checkpoint; none for other checkpoints.

    Raises:
        ModelError: if the file is missing or unreadable.
    """
    content = _read(path)
    return [str(name) for name in content.get("class_names", ())] if isinstance(content, Mapping) else []


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read the weights of a checkpoint: `{epoch, state_dict, ...}` or a bare state dict.

    A `module.` prefix of every key is taken off and the unused classifier `base.fc.*` is dropped.
    The file is loaded with `weights_only=True`, so nothing in it is executed.

    Raises:
        ModelError: if the file is missing, unreadable or holds no weights.
    """
    content = _read(path)
    if isinstance(content, Mapping):
        content = content.get("state_dict", content)
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise ModelError(f"{path} holds no weights: it needs a state dict, or a dict with the key state_dict.")
    weights: dict[str, Tensor] = {str(key): value for key, value in content.items()}
    if all(key.startswith(_PARALLEL) for key in weights):
        weights = {key.removeprefix(_PARALLEL): value for key, value in weights.items()}
    dropped = [key for key in weights if key.startswith(_CLASSIFIER)]
    if dropped:
        log.info("dropped %s: the backbone's ImageNet classifier, which no output uses", ", ".join(dropped))
    return {key: value for key, value in weights.items() if key not in dropped}


def head_sizes(weights: Mapping[str, Tensor]) -> HeadSizes:
    """Read the sizes of the heads off the shapes of their weights.

    Raises:
        ModelError: if a head is missing or boxes are not given by four distances.
    """
    needed = ("hm.0.weight", "hm.2.weight", "wh.0.weight", "wh.2.weight", "reg.2.weight")
    missing = [key for key in needed if key not in weights]
    if missing:
        raise ModelError(f"The checkpoint is not FairMOT's: it lacks {', '.join(missing)}.")
    hidden, box_hidden = (weights[f"{head}.0.weight"].shape[0] for head in ("hm", "wh"))
    sizes = HeadSizes(
        classes=weights["hm.2.weight"].shape[0],
        box=weights["wh.2.weight"].shape[0],
        embedding=weights["id.2.weight"].shape[0] if "id.2.weight" in weights else 0,
        hidden=hidden,
        box_hidden=0 if box_hidden == hidden else box_hidden,
    )
    if sizes.box != 4:
        raise ModelError(
            f"The checkpoint's wh head has {sizes.box} channels; only boxes as left, top, right, bottom (4) can be "
            "exported, FairMOT's default (train with --ltrb True)."
        )
    return sizes


def _differences(network: Network, weights: Mapping[str, Tensor]) -> list[str]:
    expected = network.state_dict()
    # Checkpoints from before PyTorch 0.4.1 lack the counters that inference never reads.
    missing = [key for key in expected if key not in weights and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in weights if key not in expected]
    misshapen = [
        f"{key} {tuple(weights[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in expected
        if key in weights and weights[key].shape != expected[key].shape
    ]
    groups = (("missing", missing), ("unexpected", unexpected), ("of the wrong shape", misshapen))
    return [f"{len(keys)} {kind}: {_list(keys)}" for kind, keys in groups if keys]


def _list(keys: list[str]) -> str:
    rest = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return ", ".join(keys[:_NAMED]) + rest


def matching_architectures(weights: Mapping[str, Tensor]) -> list[str]:
    """Return the architectures whose keys and shapes are exactly those of `weights`."""
    sizes = head_sizes(weights)
    with torch.device("meta"):
        return [name for name in ARCHITECTURES if not _differences(build_network(name, sizes), weights)]


def load_network(path: Path, architecture: str | None = None) -> tuple[str, Network]:
    """Build the network of a checkpoint and load its weights, ready for inference.

    Args:
        path: the checkpoint.
        architecture: a name in `ARCHITECTURES`; None means recognise it by keys and shapes.

    Returns:
        The architecture's name and the network in evaluation mode.

    Raises:
        ConfigError: if there is no such architecture.
        ModelError: if the file cannot be read or any key is missing, unexpected or misshapen.
    """
    weights = read_state_dict(path)
    if architecture is None:
        fitting = matching_architectures(weights)
        if not fitting:
            raise ModelError(f"{path} fits no known architecture; name the nearest with --arch to see what differs.")
        architecture = fitting[0]
    network = build_network(architecture, head_sizes(weights))
    differences = _differences(network, weights)
    if differences:
        fitting = matching_architectures(weights)
        hint = f" It fits {' or '.join(fitting)}: use --arch {fitting[0]}." if fitting else ""
        raise ModelError(f"{path} does not fit {architecture}; keys {'; '.join(differences)}.{hint}")
    complete: dict[str, Any] = network.state_dict() | weights
    network.load_state_dict(complete)
    return architecture, network.eval()
